"""Rows of a scored run in columns, and their sums per query for any slice.

A row takes about 20 bytes, and 12 more for everything that it has beside a grade (matches, samples), so a million verdicts need well under a gigabyte; items and reasonings are read and let go.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lore_cli.answer import Answer, adheres
from lore_cli.errors import BadInput
from lore_cli.path.quoted import evidence_holds
from lore_cli.rair.calibration import Calibration
from lore_cli.rair.metrics import COLUMNS, alike_share, chance_of_any, majority_share
from lore_cli.records import GRADES, Pair, Verdict, row_of
from lore_cli.rulebook import Rulebook
from lore_cli.values import fold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Slice = tuple[tuple[str, str], ...]  # (field, value) pairs; empty for all rows
_GIVEN = len(GRADES) ** 2
_CELL = {(gold, given): i * len(GRADES) + j for i, gold in enumerate(GRADES) for j, given in enumerate(GRADES)} | {(gold, None): _GIVEN + i for i, gold in enumerate(GRADES)}
_OWN_PARTS = ("reasoned", "adhering", "found", "found_valid", "majority", "resampled", "consistent")


class Sparse:
    """A column that most rows do not have: the rows that do, and their values; the others are 0."""

    def __init__(self) -> None:
        self.rows, self.values = array("i"), array("d")

    def set(self, row: int, value: float) -> None:
        self.rows.append(row)
        self.values.append(value)

    def dense(self, rows: int) -> Array:
        """The column, [rows]."""
        import numpy

        column = numpy.zeros(rows)
        column[numpy.frombuffer(self.rows, dtype=numpy.int32)] = numpy.frombuffer(self.values, dtype=float)
        return column


@dataclass
class Tally:
    """What scoring keeps of each row. `by`: fields of the gold rows, or of their items, to slice by."""

    rulebook: Rulebook
    by: Sequence[str] = ("subset", "criteria")
    cell: array[int] = field(default_factory=lambda: array("b"))
    query: array[int] = field(default_factory=lambda: array("i"))
    parts: dict[str, Sparse] = field(default_factory=lambda: {name: Sparse() for name in _OWN_PARTS})
    draws: Sparse = field(default_factory=Sparse)
    right: Sparse = field(default_factory=Sparse)
    latency: array[float] = field(default_factory=lambda: array("d"))  # ms; NaN where the verdict does not tell
    calibration: Calibration = field(default_factory=Calibration)
    slices: dict[Slice, array[int]] = field(default_factory=dict)
    queries: dict[str, int] = field(default_factory=dict)
    judges: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    first_missing: str | None = None
    untiered: set[str] = field(default_factory=set)  # judges of verdicts that name no tier
    _adheres: dict[Any, bool] = field(default_factory=dict)

    def add(self, pair: Pair, verdict: Verdict | None) -> None:
        """Count one gold pair and its verdict (None: it was not judged)."""
        number = len(self.cell)
        given = verdict.grade if verdict else None
        self.cell.append(_CELL[pair.grade, given])  # type: ignore[index]
        self.query.append(self.queries.setdefault(fold(pair.query), len(self.queries)))
        self.latency.append(verdict.latency_ms if verdict and given and verdict.latency_ms is not None else math.nan)
        for key in self._slices_of(pair, verdict):
            self.slices.setdefault(key, array("i")).append(number)
        if verdict is None:
            self.missing += 1
            self.first_missing = self.first_missing or pair.id
            return
        self.judges[verdict.judge] += 1
        if verdict.tier is None:
            self.untiered.add(verdict.judge)
        if verdict.error:
            self.errors[verdict.error.split("\n", 1)[0][:200]] += 1
        if verdict.matches and given:
            self._add_reasoning(number, pair, verdict)
        if verdict.samples:
            self._add_samples(number, pair, verdict.samples)
        if verdict.scores and given:
            self.calibration.add(pair, verdict)

    def _add_reasoning(self, number: int, pair: Pair, verdict: Verdict) -> None:
        valid = [evidence_holds(match, pair.item, self.rulebook) for match in verdict.matches or () if match.found]
        for name, value in (("reasoned", 1), ("adhering", self.adheres(verdict)), ("found", len(valid)), ("found_valid", sum(valid))):
            self.parts[name].set(number, value)

    def _add_samples(self, number: int, pair: Pair, samples: tuple[str | None, ...]) -> None:
        self.draws.set(number, len(samples))
        self.right.set(number, samples.count(pair.grade))
        self.parts["majority"].set(number, majority_share(samples, pair.grade or ""))
        if len(samples) > 1:
            self.parts["resampled"].set(number, 1)
            self.parts["consistent"].set(number, alike_share(samples))

    def check(self, partial: bool, where: str = "") -> None:
        """Raise `BadInput`, naming `where`, for no pairs at all, for verdicts of several runs, and unless `partial` for pairs without a verdict."""
        if not self.cell:
            raise BadInput("no gold pairs", where="--gold", hint="an empty benchmark cannot be scored")
        if len(self.untiered) > 1:
            raise BadInput(f"verdicts of {len(self.untiered)} judges ({', '.join(sorted(self.untiered))})", where=where, field="judge", hint="give one run at a time; the verdicts of a tiered run name their tier")
        if self.missing and not partial:
            found = f"{self.missing} of {len(self.cell)} gold pairs have no verdict (the first: '{self.first_missing}')"
            raise BadInput(found, where=where, field="id", hint="finish the run (lore-rair run --resume), or pass --partial to count them as unjudged")

    def adheres(self, verdict: Verdict | None) -> bool:
        """Whether the verdict's grade and rules follow from its matches; kept per distinct reasoning, of which there are few."""
        if verdict is None or not verdict.matches or verdict.grade is None:
            return False
        reasoning = tuple((match.attribute, match.need if match.attribute == "category" else "", match.state) for match in verdict.matches)
        key = (reasoning, verdict.rules, verdict.grade)
        if key not in self._adheres:
            self._adheres[key] = adheres(Answer(verdict.matches, verdict.rules or (), verdict.grade), self.rulebook)
        return self._adheres[key]

    def _slices_of(self, pair: Pair, verdict: Verdict | None) -> Iterable[Slice]:
        row = row_of(pair)
        for name in self.by:
            value = row.get(name, row["item"].get(name))
            for part in value if isinstance(value, list) else [value]:
                if part is not None:
                    yield (("criterion" if name == "criteria" else name, str(part)),)
        if verdict and verdict.tier:
            yield (("tier", verdict.tier),)

    @property
    def unparseable(self) -> int:
        """Verdicts whose error is that the reply could not be read (`unparseable: …`, as language judges write it)."""
        return sum(count for error, count in self.errors.items() if error.startswith("unparseable"))

    @property
    def k(self) -> int:
        """Draws that every sampled row has: the k of pass@k; 0 when nothing was sampled."""
        return int(min(self.draws.values, default=0))

    def matrix(self) -> Array:
        """The rows, [rows, columns] without the confusion cells: what `per_query` sums."""
        import numpy

        rows = len(self.cell)
        draws, right = numpy.frombuffer(self.draws.values), numpy.frombuffer(self.right.values)
        counts, which = numpy.unique(numpy.stack([draws, right]), axis=1, return_inverse=True)
        any_right = numpy.array([chance_of_any(int(n), int(c), self.k) for n, c in counts.T])
        columns = {name: part.dense(rows) for name, part in self.parts.items()}
        for name, values in (("sampled", 1.0), ("pass_1", right / draws), ("pass_k", any_right[which.reshape(-1)])):
            columns[name] = numpy.zeros(rows)
            columns[name][numpy.frombuffer(self.draws.rows, dtype=numpy.int32)] = values
        return numpy.stack([columns[name] for name in COLUMNS[_GIVEN + len(GRADES) :]], axis=1)

    def latency_ms(self, rows: Array | None = None) -> dict[str, float] | None:
        """Mean and median time of the judged rows that tell theirs, and how many they are; None when none does."""
        import numpy

        values = numpy.frombuffer(self.latency, dtype=float)
        values = values if rows is None else values[rows]
        known = values[~numpy.isnan(values)]
        return {"mean": round(math.fsum(known) / len(known), 4), "median": round(float(numpy.median(known)), 4), "rows": len(known)} if len(known) else None

    def per_query(self, matrix: Array, rows: Array | None = None, every: bool = False) -> Array:
        """Sums of the columns for each query of some rows (None: all), [queries, columns], queries in alphabetical order so that the order of the rows does not matter.

        every: queries that have none of the rows, too, with zeros.
        """
        import numpy

        names = list(self.queries)
        rank = numpy.empty(len(names), dtype=numpy.int64)
        rank[sorted(range(len(names)), key=names.__getitem__)] = numpy.arange(len(names))
        cell, query = numpy.frombuffer(self.cell, dtype=numpy.int8).astype(numpy.int64), rank[numpy.frombuffer(self.query, dtype=numpy.int32)]
        if rows is not None:
            cell, query, matrix = cell[rows], query[rows], matrix[rows]
        present, which = (numpy.arange(len(names)), query) if every else numpy.unique(query, return_inverse=True)
        cells = _GIVEN + len(GRADES)
        counts = numpy.bincount(which * cells + cell, minlength=len(present) * cells).reshape(len(present), cells)
        parts = [numpy.bincount(which, weights=matrix[:, index], minlength=len(present)) for index in range(matrix.shape[1])]
        return numpy.concatenate([counts, numpy.stack(parts, axis=1)], axis=1).astype(float)
