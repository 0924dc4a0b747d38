"""Reports as tables for a terminal. Acc@2 and Macro-F1 always stand side by side: a high one hides a low other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from lore_cli.rair.report import slice_name

HEADLINE = ("acc2", "macro_f1", "acc4", "qwk", "adherence", "evidence_validity", "pass_at_1", "pass_at_k", "maj_at_k", "coverage")
_TITLES = {
    "acc2": "Acc@2", "acc4": "Acc@4", "macro_f1": "Macro-F1", "weighted_f1": "weighted F1", "qwk": "kappa²", "within1": "within 1", "bias": "bias",
    "adherence": "adherence", "evidence_validity": "evidence", "pass_at_1": "pass@1", "pass_at_k": "pass@k", "maj_at_k": "maj@k", "coverage": "coverage",
    "acc2_all": "Acc@2 all", "acc4_all": "Acc@4 all", "macro_f1_all": "Macro-F1 all",
}  # fmt: skip
_PIPE_WIDTH = 160  # columns when the output is no terminal: tables are not folded for a file


def title(metric: str, k: int | None = None) -> str:
    """How a metric is called in a table."""
    return _TITLES.get(metric, metric.replace("_", " ")).replace("@k", f"@{k}" if k else "@k")


def cell(metrics: dict[str, dict[str, float | None]], name: str) -> str:
    """`.845 [.82, .87]`, or a dash for a metric that is not there."""
    measure = metrics.get(name)
    if measure is None or measure["value"] is None:
        return "–"
    if measure["lo"] is None or measure["hi"] is None:
        return short(measure["value"], 3)
    return f"{short(measure['value'], 3)} [{short(measure['lo'], 2)}, {short(measure['hi'], 2)}]"


def short(number: float, digits: int) -> str:
    """A number without its leading zero: `.845`, `1.00`, `-.05`."""
    text = f"{number:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


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


def show_table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO, left: int = 1) -> None:
    """A table; the first `left` columns are text, the others numbers. Where it would not fit, intervals go on a second line."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=file, width=None if file.isatty() else _PIPE_WIDTH, highlight=False, soft_wrap=False)
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    if sum(widths) + 2 * len(widths) > console.width:
        rows = [[text.replace(" [", "\n[") for text in row] for row in rows]
    table = Table(title=Text(heading), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(Text(name), justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    console.print(table)


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
