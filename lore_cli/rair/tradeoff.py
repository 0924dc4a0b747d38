"""What quality costs: Macro-F1 of every system against its time or money a pair, and who is beaten by whom.

A system is on the Pareto front when no other is at least as good for at most as much, and better in one of the two. The front is drawn through the
values; where intervals overlap, so may the order be another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lore_cli import stream
from lore_cli.errors import BadInput, UsageError
from lore_cli.files import manifest_path
from lore_cli.manifest import sha256_of
from lore_cli.rair.figures import Measure, measured, milliseconds
from lore_cli.rair.sections import Section

METRIC = "macro_f1"
PAIRS = 1000
"""Cost is told for so many pairs."""


@dataclass(frozen=True, slots=True)
class Point:
    """A system. beaten_by: the first other that is as good and as cheap, and better in one; None on the front."""

    name: str
    spent: float
    quality: Measure
    beaten_by: str | None = None


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """Points, cheapest first. unit: what is spent, `ms/pair`."""

    title: str
    unit: str
    points: Sequence[Point]

    @property
    def section(self) -> Section:
        """The same as a table."""
        rows = []
        for point in self.points:
            rows.append([point.name, milliseconds(point.spent), measured(point.quality), f"beaten by {point.beaten_by}" if point.beaten_by else "on it"])
        return Section(self.title, ["system", self.unit, "Macro-F1", "Pareto front"], rows)


def tradeoff(title: str, unit: str, found: Mapping[str, tuple[float | None, Measure | None]]) -> Tradeoff | None:
    """Of {system: (what it spends, its quality)} those that tell both; None for fewer than two, which trade nothing."""
    known = [(name, spent, quality) for name, (spent, quality) in found.items() if spent is not None and quality is not None and quality["value"] is not None]
    known.sort(key=lambda entry: (entry[1], -entry[2]["value"], entry[0]))  # type: ignore[operator]
    points: list[Point] = []
    for name, spent, quality in known:
        beaten_by = next((other for other, cost, theirs in known if _beats((cost, theirs["value"]), (spent, quality["value"]))), None)
        points.append(Point(name, spent, quality, beaten_by))
    return Tradeoff(title, unit, points) if len(points) > 1 else None


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether one (spent, quality) is as cheap and as good as the other, and not the same."""
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def run_cost(verdicts: Sequence[str]) -> dict[str, Any] | None:
    """What the runs that wrote these files of verdicts cost, by their manifests: `per_1000` pairs and the `pairs` that were paid for.

    None unless each has a manifest with a cost that is about the file as it is. Rows taken over by --resume and replies from a cache were paid for
    elsewhere: with either, nothing is told.
    """
    cost, pairs = 0.0, 0
    for path in verdicts:
        if not manifest_path(path).is_file():
            return None
        manifest = stream.read_json(manifest_path(path), "a manifest of lore-rair run")
        counts = manifest.get("counts", {}) if isinstance(manifest, dict) else {}
        usage = counts.get("usage", {})
        if "cost" not in usage or usage.get("cached") or counts.get("reused") or manifest["output"]["sha256"] != sha256_of(path):
            return None
        cost, pairs = cost + usage["cost"], pairs + counts["written"]
    return {"per_1000": round(PAIRS * cost / pairs, 6), "pairs": pairs} if pairs else None


def read_costs(texts: Sequence[str]) -> dict[str, float]:
    """`NAME=NUMBER` options. Raises `UsageError` for another form."""
    costs = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            costs[name.strip()] = float(number)
        except ValueError:
            name = ""
        if not name.strip() or not 0 <= costs[name.strip()] < float("inf"):
            reason = f"--cost '{text}' is not of the form NAME=NUMBER, the number being 0 or more"
            raise UsageError(reason, hint=f"say what {PAIRS:,} pairs cost, for example rl=0.42")
    return costs


def report_files(path: str) -> list[tuple[str, str]]:
    """(name, file) of the reports that a path stands for: a file, a directory's report.json, or else every report in it.

    A report.json is named after its directory, any other after itself. Raises `BadInput` for a directory without a report.
    """
    place = Path(path)
    if not place.is_dir():
        return [(place.resolve().parent.name if place.name == "report.json" else place.stem, path)]
    if (place / "report.json").is_file():
        return [(place.resolve().name, str(place / "report.json"))]
    found = [(file.stem, str(file)) for file in sorted(place.glob("*.json")) if _is_report(file)]
    if not found:
        raise BadInput("no report of lore-rair score is in it", where=path, hint="write one with lore-rair score --json DIR/report.json")
    return found


def _is_report(file: Path) -> bool:
    document = stream.read_json(file, "a report")
    return isinstance(document, dict) and "report" in document and "slices" in document
