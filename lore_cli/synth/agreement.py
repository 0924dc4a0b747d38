"""Two teachers as two annotators (ELLM): both reason about a pair, and it is kept when both come to the same grade.

The first teacher's reasoning is what is learnt; the second one's grade is noted beside it, so that their agreement can be told as Cohen's kappa.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lore_cli.records import Trace, row_of
from lore_cli.synth import Dropped, Stage
from lore_cli.synth.rules import noted


@dataclass(frozen=True, slots=True)
class TwoTeachers:
    """The stage `rules` by two teachers. Each accepts only the human grade where there is one, so what both accept has it."""

    first: Stage
    second: Stage
    name: str = "rules"

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]:
        return [_joined(*rows) for rows in zip(traces, self.first(traces), self.second(traces), strict=True)]

    def identity(self) -> dict[str, str]:
        return {**self.first.identity(), **{f"second_{name}": value for name, value in self.second.identity().items()}}


def _joined(given: Trace, one: Trace | Dropped, other: Trace | Dropped) -> Trace | Dropped:
    """The first teacher's row with the second one's grade beside it. What failed is asked again, whatever the other teacher says."""
    note = _note(one)
    if "first_grade" in _note(other):
        note["second_grade"] = _note(other)["first_grade"]
    dropped = noted(given, note)
    failed = next((row for row in (one, other) if isinstance(row, Dropped) and row.state == "failed"), None)
    if failed:
        return Dropped(dropped, "failed", failed.reason)
    if isinstance(one, Dropped):
        return Dropped(dropped, "rejected", one.reason)
    if isinstance(other, Dropped):
        return Dropped(dropped, "rejected", f"the second teacher disagrees: {other.reason}")
    if one.grade != other.grade:
        return Dropped(dropped, "rejected", f"the second teacher disagrees: it gives {other.grade}, the first {one.grade}")
    return noted(one, note)


def _note(row: Trace | Dropped) -> dict[str, object]:
    return dict(row_of(row.trace if isinstance(row, Dropped) else row).get("synthesis") or {})


def cohen_kappa(pairs: Mapping[tuple[str, str], int]) -> float | None:
    """Agreement of two annotators beyond chance, (observed - expected) / (1 - expected) (Cohen 1960); None without rows or when one grade is all there is.

    >>> cohen_kappa({("L4", "L4"): 2, ("L1", "L1"): 2})
    1.0
    """
    rows = sum(pairs.values())
    if not rows:
        return None
    observed = sum(count for (one, other), count in pairs.items() if one == other) / rows
    grades = {grade for pair in pairs for grade in pair}
    expected = sum(_share(pairs, 0, grade) * _share(pairs, 1, grade) for grade in grades)
    return None if math.isclose(expected, 1) else (observed - expected) / (1 - expected)


def _share(pairs: Mapping[tuple[str, str], int], annotator: int, grade: str) -> float:
    return sum(count for pair, count in pairs.items() if pair[annotator] == grade) / sum(pairs.values())
