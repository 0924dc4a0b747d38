"""Geometry of the drawings on pages: pure functions from numbers to coordinates; the templates write the SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lore_cli.rair.figures import Measure, short
from lore_cli.rair.tradeoff import Tradeoff

WIDTH, ROW, TOP, BOTTOM = 340, 24, 10, 26
_LETTER = 7.2  # mean width of a letter at the labels' size
_LONGEST_LABEL = 130
_NEAR, _LINE = 100.0, 13.0  # names of dots closer than this stand below each other, so far apart
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Mark:
    """One row: a dot at the value, a line over its interval (None: not known). x None: not measured."""

    label: str
    text: str
    y: float
    x: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, `width` by `height` units, with vertical grid lines at `ticks` (x, text) between y 0 and `floor`."""

    title: str
    width: float
    height: float
    left: float
    right: float
    floor: float
    ticks: Sequence[tuple[float, str]]
    marks: Sequence[Mark]


def interval_chart(title: str, rows: Sequence[tuple[str, Measure | None]], ticks: Sequence[float] = TICKS, sign: bool = False) -> Chart:
    """Values with their intervals, one row each, from the first to the last of `ticks`: by default shares in 0..1, on the same scale in every chart."""
    left = min(_LONGEST_LABEL, 12 + _LETTER * max((len(name) for name, _ in rows), default=0))
    right = WIDTH - 44.0

    def at(number: float | None) -> float | None:
        if number is None:
            return None
        return round(left + (right - left) * min(max((number - ticks[0]) / (ticks[-1] - ticks[0]), 0.0), 1.0), 2)

    marks = []
    for index, (name, measure) in enumerate(rows):
        y = TOP + ROW * (index + 0.5)
        label = name if len(name) * _LETTER <= _LONGEST_LABEL else f"{name[: int(_LONGEST_LABEL / _LETTER) - 1]}…"
        if measure is None or measure["value"] is None:
            marks.append(Mark(label, "–", y))
        else:
            marks.append(Mark(label, short(measure["value"], 3, sign), y, at(measure["value"]), at(measure["lo"]), at(measure["hi"])))
    floor = TOP + ROW * len(rows)
    return Chart(title, WIDTH, floor + BOTTOM, left, right, floor, [(at(tick) or 0.0, f"{tick:g}") for tick in ticks], marks)


def difference_chart(title: str, rows: Sequence[tuple[str, Measure | None]]) -> Chart:
    """Differences with their intervals around zero, on a scale that holds all of them."""
    most = max((abs(bound) for _, measure in rows if measure for bound in measure.values() if bound is not None), default=0.0)
    half = next((size for size in (0.05, 0.1, 0.2, 0.5) if most <= size), 1.0)
    return interval_chart(title, rows, (-half, -half / 2, 0.0, half / 2, half), sign=True)


def calibration_chart(bins: Sequence[Mapping[str, Any]], side: float = 220.0, margin: float = 34.0) -> dict[str, Any]:
    """Points (mean probability, share right) in a square; the larger the dot, the more verdicts. Perfect probabilities lie on the diagonal."""
    most = max((place["rows"] for place in bins), default=1)

    def at(sure: float, right: float) -> tuple[float, float]:
        return round(margin + side * sure, 2), round(8 + side * (1 - right), 2)

    points = [(*at(place["sure"], place["right"]), round(3 + 6 * (place["rows"] / most) ** 0.5, 2), place["rows"]) for place in bins]
    return {"width": side + margin + 12, "height": side + 42, "side": side, "margin": margin, "points": points, "ticks": [(tick, *at(tick, tick)) for tick in TICKS]}


@dataclass(frozen=True, slots=True)
class Spot:
    """A system in the plane: a dot at (x, y), a line over the interval of its quality from `low` to `high`, its name beside at (`label_x`, `label_y`)."""

    name: str
    x: float
    y: float
    low: float | None
    high: float | None
    front: bool
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Plane:
    """Quality upwards in 0..1, what is spent to the right on a logarithmic scale. front: corners of the line through the Pareto front."""

    title: str
    unit: str
    width: float
    height: float
    left: float
    right: float
    floor: float
    columns: Sequence[tuple[float, str]]
    lines: Sequence[tuple[float, str]]
    spots: Sequence[Spot]
    front: str


def tradeoff_plane(found: Tradeoff) -> Plane:
    """The plane of a trade-off. A system that spends nothing stands on the left edge, a decade below the cheapest other, marked 0."""
    width, height, left, floor, right = 360.0, 264.0, 34.0, 220.0, 344.0
    positive = [point.spent for point in found.points if point.spent > 0] or [1.0]
    free = len(positive) < len(found.points)
    low, high = math.floor(math.log10(min(positive))) - free, math.ceil(math.log10(max(positive)))
    high += low == high

    def across(spent: float) -> float:
        return round(left + (right - left) * ((math.log10(spent) if spent > 0 else low) - low) / (high - low), 2)

    def up(share: float | None) -> float | None:
        return None if share is None else round(floor - (floor - TOP) * min(max(share, 0.0), 1.0), 2)

    spots: list[Spot] = []
    for point in sorted(found.points, key=lambda point: -point.quality["value"]):  # type: ignore[operator]
        x, y = across(point.spent), up(point.quality["value"]) or 0.0
        beside, anchor = (-9.0, "end") if x > (left + right) / 2 else (9.0, "start")
        near = [spot.label_y for spot in spots if spot.anchor == anchor and abs(spot.x - x) < _NEAR]
        label_y = max([y, *(above + _LINE for above in near)])
        spots.append(Spot(point.name, x, y, up(point.quality["lo"]), up(point.quality["hi"]), point.beaten_by is None, x + beside, label_y, anchor))
    spots.sort(key=lambda spot: (spot.x, spot.y))
    corners = [spot for spot in spots if spot.front]
    steps = [f"{spot.x},{before.y} {spot.x},{spot.y}" for before, spot in itertools.pairwise(corners)]
    columns = [(across(10.0**power), "0" if free and power == low else f"{10.0**power:,g}") for power in range(low, high + 1)]
    lines = [(up(tick) or 0.0, f"{tick:g}") for tick in TICKS]
    return Plane(found.title, found.unit, width, height, left, right, floor, columns, lines, spots, " ".join([f"{corners[0].x},{corners[0].y}", *steps]))
