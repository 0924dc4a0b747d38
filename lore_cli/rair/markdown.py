"""Reports and comparisons as Markdown for a pull request: the tables of the terminal, and what must be known beside them.

Judges, slices and errors are other people's text: what Markdown or HTML would take for more than text is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lore_cli.rair.board import Board
from lore_cli.rair.figures import HEADLINE, title
from lore_cli.rair.notes import comparison_notes, comparison_sides, interval_note, notes, unjudged_note
from lore_cli.rair.sections import Section
from lore_cli.rair.tables import comparison_table, moves_table, slices_table

_ESCAPED = re.compile(r"[\\`*_{}#|~]|(?<=\])\(")
_CODED = re.compile(r"[<>&]|(?<!\w)@")  # an @ in a word, as in Acc@2, calls nobody


def score_markdown(document: Mapping[str, Any]) -> str:
    """A report: what was not judged, the slices, the notes."""
    told = unjudged_note(document)
    warning = [f"> **Note:** {_text(told)}"] if told else []
    heading = ", ".join(document["judges"]) or "no judge"
    return _joined(f"### Relevance of {_text(heading)}", *warning, _table(slices_table(document)), *_listed([interval_note(document), *notes(document)]))


def comparison_markdown(documents: Sequence[Mapping[str, Any]]) -> str:
    """Comparisons of one run with others: differences over all rows, those in slices folded away, what became right or wrong."""
    parts = []
    for document in documents:
        table = comparison_table(document)
        whole, slices = ([row for row in table.rows if (row[0] == "all") == first] for first in (True, False))
        a, b = comparison_sides(document)
        parts += [f"### {_text(b)} against {_text(a)}", _table(Section(table.title, table.columns[1:], [row[1:] for row in whole]))]
        if slices:
            parts.append(_folded(f"{', '.join(map(title, HEADLINE[:3]))} slice by slice", _table(Section(table.title, table.columns, slices, left=2))))
        if document["moves"]:
            moved = moves_table(document["moves"])
            parts.append(_folded(moved.title, _table(moved)))
        parts += _listed([interval_note(document), *comparison_notes(document)])
    return _joined(*parts)


def board_markdown(board: Board) -> str:
    """A board: its blocks, then synthesis and tiers."""
    parts = [f"### {_text(board.title)}", *([_text(board.note)] if board.note else [])]
    for section in (*board.blocks, *(one.section for one in board.tradeoffs), *board.synthesis, *board.tiers):
        parts += [f"**{_text(section.title)}**", _table(section), *_listed(section.notes)]
    return _joined(*parts, *_listed(board.notes))


def _table(section: Section) -> str:
    align = [":--" if place < section.left else "--:" for place in range(len(section.columns))]
    lines = [[_text(text) for text in section.columns], align, *([_text(text) for text in row] for row in section.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{_text(title)}</summary>\n\n{text}\n\n</details>"


def _listed(lines: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {_text(line)}" for line in lines)] if lines else []


def _joined(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


def _text(text: str) -> str:
    """Text as text, on one line: a slice may be called `|` and a judge `<img …>`, and no @name may be told of a pull request."""
    escaped = _ESCAPED.sub(lambda found: f"\\{found[0]}", " ".join(text.split()))
    return _CODED.sub(lambda found: f"&#{ord(found[0])};", escaped)
