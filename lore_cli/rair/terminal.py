"""Reports as tables for a terminal. Acc@2 and Macro-F1 always stand side by side: a high one hides a low other."""

from __future__ import annotations

import io
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, TextIO

from lore_cli.rair.board import Board
from lore_cli.rair.figures import HEADLINE, cell, short, title
from lore_cli.rair.report import slice_name
from lore_cli.rair.sections import Section

_PIPE_WIDTH = 160  # columns when the output is no terminal: tables are not folded for a file
_BOARD_WIDTH = 120


def show_report(document: dict[str, Any], file: TextIO) -> None:
    """The slices of a report as a table, then what was not judged."""
    samples = document["samples"]
    present = [name for name in HEADLINE if any(name in entry["metrics"] for entry in document["slices"])]
    if all(entry["metrics"].get("coverage", {}).get("value") == 1 for entry in document["slices"]):
        present.remove("coverage")
    columns = ["slice", "pairs", "queries", *(title(name, samples and samples["k"]) for name in present)]
    rows = [[slice_name(entry["slice"]), str(entry["n"]), str(entry["queries"]), *(cell(entry["metrics"], name) for name in present)] for entry in document["slices"]]
    show_table(", ".join(document["judges"]) or "no judge", columns, rows, file)
    unjudged = document["unjudged"]
    if unjudged["errors"] or unjudged["missing"]:
        print(f"not judged: {unjudged['errors']} errors, {unjudged['missing']} without a verdict; the metrics are over judged pairs, coverage tells how many those are", file=file)
        for entry in document["errors"][:3]:
            print(f"  {entry['count']} × {entry['error']}", file=file)
    interval = document["interval"]
    print(f"[lo, hi]: {interval['level']:.0%} {interval['method']}, {interval['draws']} draws", file=file)


def show_table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO, left: int = 1, pipe_width: int = _PIPE_WIDTH) -> None:
    """A table; the first `left` columns are text, the others numbers. Where it would not fit, intervals go on a second line; a number is never cut or folded.

    pipe_width: columns to keep to when the output is no terminal.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = Console(file=file).width if file.isatty() else pipe_width
    rows = [[printable(text) for text in row] for row in rows]
    if _width(columns, rows) > width:
        rows = [[text.replace(" [", "\n[") for text in row] for row in rows]
    console = Console(file=(drawn := io.StringIO()), width=max(width, _width(columns, rows)), highlight=False, soft_wrap=False, force_terminal=file.isatty())
    table = Table(title=Text(printable(heading)), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(Text(name), justify="left" if index < left else "right", no_wrap=True, overflow="ignore")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    console.print(table)
    file.writelines(f"{line.rstrip()}\n" for line in drawn.getvalue().rstrip().split("\n"))


def printable(text: str) -> str:
    """Text without control characters, which could steer a terminal: each is shown as �."""
    return "".join("\ufffd" if ord(letter) < 32 or 127 <= ord(letter) < 160 else letter for letter in text)


def _width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Columns that a table takes, two between neighbours."""
    from rich.cells import cell_len

    widest = [max(cell_len(line) for row in [columns, *rows] for line in row[index].split("\n")) for index in range(len(columns))]
    return sum(widest) + 2 * (len(widest) - 1)


def stdout() -> TextIO:
    """Standard output as text, as it is now (tests and pipes replace it)."""
    return sys.stdout


def show_comparison(document: dict[str, Any], file: TextIO) -> None:
    """Differences b - a per slice, with interval and p."""
    names = [name for name in HEADLINE if any(name in entry["metrics"] for entry in document["slices"])]
    rows = []
    for entry in document["slices"]:
        for name in names:
            found = entry["metrics"].get(name)
            if found and (not entry["slice"] or name in HEADLINE[:3]):
                bounds = "" if found["lo"] is None else f" [{found['lo']:+.3f}, {found['hi']:+.3f}]"
                rows.append([slice_name(entry["slice"]), title(name), short(found["a"], 3), short(found["b"], 3), f"{found['difference']:+.3f}{bounds}", f"{found['p']:.4f}"])
    a, b = (", ".join(document[side]) or "no judge" for side in "ab")
    show_table(f"a: {a} · b: {b}", ["slice", "metric", "a", "b", "b - a", "p"], rows, file, left=2)
    interval = document["interval"]
    print(f"[lo, hi]: {interval['level']:.0%} {interval['method']}; p: permutation of whole queries; {interval['draws']} draws; not corrected for many slices", file=file)


def show_board(board: Board, file: TextIO) -> None:
    """A block of systems per subset, then synthesis, then tiers."""
    print(printable(board.title), file=file)
    if board.note:
        print(printable(board.note), file=file)
    print(file=file)
    for section in board.blocks:
        _show_section(section, file)
    for note in board.notes:
        print(printable(note), file=file)
    for section in (*board.synthesis, *board.tiers):
        print(file=file)
        _show_section(section, file)


def _show_section(section: Section, file: TextIO) -> None:
    show_table(section.title, section.columns, section.rows, file, section.left, _BOARD_WIDTH)
    for note in section.notes:
        for line in textwrap.wrap(printable(note), _BOARD_WIDTH):
            print(line, file=file)
