"""The tables of reports and comparisons, as text that the terminal, the page and the summary in Markdown show alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lore_cli.rair.figures import HEADLINE, cell, headline, milliseconds, short, title
from lore_cli.rair.report import slice_name
from lore_cli.rair.sections import Section


def slices_table(document: Mapping[str, Any]) -> Section:
    """A row a slice of a report, with the headline metrics, and the mean time of a verdict where times were taken."""
    entries, samples = document["slices"], document["samples"]
    present = headline(document)
    timed = any(entry.get("latency_ms") for entry in entries)
    columns = ["slice", "pairs", "queries", *(title(name, samples and samples["k"]) for name in present), *(["ms/pair"] if timed else [])]
    rows = []
    for entry in entries:
        latency = entry.get("latency_ms")
        row = [slice_name(entry["slice"]), f"{entry['n']:,}", f"{entry['queries']:,}", *(cell(entry["metrics"], name) for name in present)]
        rows.append(row + ([milliseconds(latency["mean"] if latency else None)] if timed else []))
    return Section("Metrics and their intervals", columns, rows)


def calibration_table(calibration: Mapping[str, Any]) -> Section:
    """How often verdicts of each probability were right."""
    rows = []
    for place in calibration["bins"]:
        rows.append([f"{place['from']:.1f} to {place['to']:.1f}", f"{place['rows']:,}", short(place["sure"], 3), short(place["right"], 3)])
    return Section("Probability of the grade given, and how often it was right", ["probability", "verdicts", "mean", "right"], rows)


def comparison_table(document: Mapping[str, Any]) -> Section:
    """Differences b - a per slice and metric, with interval and p: every headline metric over all rows, three of them in slices."""
    rows = []
    for entry in document["slices"]:
        for name in HEADLINE:
            found = entry["metrics"].get(name)
            if found and (not entry["slice"] or name in HEADLINE[:3]):
                bounds = "" if found["lo"] is None else f" [{found['lo']:+.3f}, {found['hi']:+.3f}]"
                figures = [short(found["a"], 3), short(found["b"], 3), f"{found['difference']:+.3f}{bounds}", f"{found['p']:.4f}", f"{found['p_holm']:.4f}"]
                rows.append([slice_name(entry["slice"]), title(name), *figures])
    return Section("Differences and their intervals", ["slice", "metric", "a", "b", "b - a", "p", "p (Holm)"], rows, left=2)


def moves_table(moves: Sequence[Mapping[str, Any]]) -> Section:
    """Which changes of grade made pairs right or wrong, the most frequent first."""
    rows = []
    for move in moves:
        became = "right" if move["b"] == move["gold"] else "wrong"
        rows.append([became, move["gold"], move["a"] or "no grade", move["b"] or "no grade", f"{move['count']:,}"])
    return Section("What became right or wrong", ["became", "human", "a", "b", "pairs"], rows, left=4)
