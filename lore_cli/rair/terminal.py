"""Reports as tables for a terminal. Acc@2 and Macro-F1 always stand side by side: a high one hides a low other."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, TextIO

from lore_cli.rair.board import Board
from lore_cli.rair.notes import comparison_notes, comparison_sides, interval_note, notes, unjudged_note
from lore_cli.rair.sections import Section
from lore_cli.rair.tables import comparison_table, slices_table

_PIPE_WIDTH = 160  # columns when the output is no terminal: tables are not folded for a file
_BOARD_WIDTH = 120
_GAP = 2


def show_report(document: dict[str, Any], file: TextIO) -> None:
    """The slices of a report as a table, then what was not judged."""
    table = slices_table(document)
    show_table(", ".join(document["judges"]) or "no judge", table.columns, table.rows, file)
    if told := unjudged_note(document):
        print(told, file=file)
        for entry in document["errors"][:3]:
            print(f"  {entry['count']} × {entry['error']}", file=file)
    print(interval_note(document), file=file)
    _show_notes(notes(document), file)


def show_table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO, left: int = 1, pipe_width: int = _PIPE_WIDTH) -> None:
    """A table; the first `left` columns are text, the others numbers. Where it would not fit, intervals go on a second line; a number is never cut or folded.

    pipe_width: columns to keep to when the output is no terminal.
    """
    width = shutil.get_terminal_size((pipe_width, 24)).columns if file.isatty() else pipe_width
    columns, *rows = [[printable(text) for text in row] for row in (columns, *rows)]
    stacked = sum(_widths(columns, rows)) + _GAP * (len(columns) - 1) > width
    lines = [list(columns), *(line for row in rows for line in (_stacked(row) if stacked else [row]))]
    widths = _widths(columns, lines)
    rule = "─" * (sum(widths) + _GAP * (len(columns) - 1))
    drawn = [_aligned(line, widths, left) for line in lines]
    print("\n".join([printable(heading), drawn[0], rule, *drawn[1:]]), file=file)


def _stacked(row: Sequence[str]) -> list[list[str]]:
    """A row as two lines, values above their intervals; as one where no cell has an interval."""
    parts = [text.partition(" [") for text in row]
    values = [value for value, _, _ in parts]
    return [values, [f"[{interval}" if separator else "" for _, separator, interval in parts]] if any(separator for _, separator, _ in parts) else [values]


def _aligned(line: Sequence[str], widths: Sequence[int], left: int) -> str:
    from rich.cells import cell_len

    padded = [text + " " * (width - cell_len(text)) if index < left else " " * (width - cell_len(text)) + text for index, (text, width) in enumerate(zip(line, widths, strict=True))]
    return (" " * _GAP).join(padded).rstrip()


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Columns of the terminal that each column of the table takes; a Chinese character takes two."""
    from rich.cells import cell_len

    return [max(cell_len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]


def printable(text: str) -> str:
    """Text without control characters, which could steer a terminal: each is shown as �."""
    return "".join("\ufffd" if ord(letter) < 32 or 127 <= ord(letter) < 160 else letter for letter in text)


def stdout() -> TextIO:
    """Standard output as text, as it is now (tests and pipes replace it)."""
    return sys.stdout


def show_comparison(document: dict[str, Any], file: TextIO) -> None:
    """Differences b - a per slice, with interval and p."""
    table, (a, b) = comparison_table(document), comparison_sides(document)
    show_table(f"a: {a} · b: {b}", table.columns, table.rows, file, table.left)
    print(interval_note(document), file=file)
    _show_notes(comparison_notes(document), file)


def show_board(board: Board, file: TextIO) -> None:
    """A block of systems per subset, then synthesis, then tiers."""
    print(printable(board.title), file=file)
    if board.note:
        print(printable(board.note), file=file)
    for section in board.blocks:
        print(file=file)
        show_section(section, file)
    print(file=file)
    _show_notes(board.notes, file)
    for section in (*(one.section for one in board.tradeoffs), *board.synthesis, *board.tiers):
        print(file=file)
        show_section(section, file)


def show_sections(sections: Sequence[Section], file: TextIO) -> None:
    """Tables one below the other, with an empty line between them."""
    for number, section in enumerate(sections):
        if number:
            print(file=file)
        show_section(section, file)


def show_section(section: Section, file: TextIO) -> None:
    """A table and its notes."""
    show_table(section.title, section.columns, section.rows, file, section.left, _BOARD_WIDTH)
    _show_notes(section.notes, file)


def _show_notes(notes: Sequence[str], file: TextIO) -> None:
    for note in notes:
        for line in textwrap.wrap(printable(note), _BOARD_WIDTH):
            print(line, file=file)
