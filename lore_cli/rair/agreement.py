"""How far raters agree beyond chance, on grades that have an order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lore_cli.records import GRADES, Grade


def krippendorff_alpha(units: Iterable[Sequence[Grade]], ordinal: bool = True) -> float | None:
    """Krippendorff's alpha: 1 - observed / expected disagreement. units: the grades that each pair got, in any order; a pair with fewer than two says nothing.

    Any number of raters, who need not have rated the same pairs (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"). ordinal: grades further apart
    disagree more. None without a pair of two grades, and when one grade is all there is: chance could not disagree either.

    >>> krippendorff_alpha([["L4", "L4"], ["L1", "L1"], ["L2"]])
    1.0
    """
    size = len(GRADES)
    together = [[0.0] * size for _ in range(size)]
    for grades in units:
        counts = [grades.count(grade) for grade in GRADES]
        for one, first in enumerate(counts):
            for other, second in enumerate(counts):
                if len(grades) > 1:
                    together[one][other] += first * (second - (one == other)) / (len(grades) - 1)
    totals = [sum(row) for row in together]
    rated = sum(totals)
    distance = [[_distance(one, other, totals) if ordinal else float(one != other) for other in range(size)] for one in range(size)]
    places = [(one, other) for one in range(size) for other in range(size)]
    observed = sum(together[one][other] * distance[one][other] for one, other in places)
    expected = sum(totals[one] * totals[other] * distance[one][other] for one, other in places)
    return 1 - (rated - 1) * observed / expected if expected else None


def _distance(one: int, other: int, totals: Sequence[float]) -> float:
    """Square of the ratings between two grades, half of their own included: Krippendorff's distance for ordinal data."""
    low, high = sorted((one, other))
    return (sum(totals[low : high + 1]) - (totals[low] + totals[high]) / 2) ** 2
