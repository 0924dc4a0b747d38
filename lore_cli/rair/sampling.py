"""Which pairs humans should label: a stratified random sample whose budget goes where labels tell most.

What the labels are to estimate is how often a judge is right, so the spread of a stratum is that of right and wrong: sqrt(error (1 - error)).
The error is that of a pilot (human grades that are there already) or the one that the judge expects by its own probabilities; with neither, every
stratum has the same spread and the allocation is proportional. Every row of the sample carries its inclusion probability: weighting by its
inverse undoes the allocation (Horvitz and Thompson 1952).
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lore_cli import stream
from lore_cli.errors import BadInput, UsageError
from lore_cli.rair.build import fraction
from lore_cli.records import Pair, Verdict, row_of

NO_GRADE = "none"
MOST_STRATA = 1000
"""More than this is an id rather than a stratum [ours]."""


class Given(NamedTuple):
    """What a judge gave a pair, and how likely it is wrong by its own probabilities; None where it tells none."""

    grade: str | None = None
    error: float | None = None


def read_given(paths: Sequence[str]) -> dict[str, Given]:
    """Grades and doubts by id of pair, from files of verdicts. Memory: about 200 bytes a verdict. Raises `BadInput` for an id that is there twice."""
    given = {}
    for verdict in stream.read(Verdict, paths):
        share = (verdict.scores or {}).get(verdict.grade) if verdict.grade else None
        given[verdict.id] = Given(verdict.grade, None if share is None else 1 - share)
    return given


def inclusion_of(pair: Pair) -> float:
    """The probability with which a row was drawn: its field `inclusion`, 1 without one. Raises `BadInput` for what is no probability above 0."""
    inclusion = row_of(pair).get("inclusion", 1.0)
    if isinstance(inclusion, bool) or not isinstance(inclusion, int | float) or not 0 < inclusion <= 1:
        raise BadInput(f"found {inclusion!r} (a probability above 0 is needed)", where=f"row '{pair.id}'", field="inclusion")
    return inclusion


@dataclass
class Stratum:
    """Rows alike in the fields of the strata. errors: expected errors of its rows by a pilot or a judge, `known` how many rows tell one."""

    rows: int = 0
    errors: float = 0.0
    known: int = 0
    drawn: int = 0

    @property
    def spread(self) -> float:
        """Standard deviation of right and wrong. One error in two rows is added (Laplace), so that few rows without an error do not pass for none."""
        error = (self.errors + 1) / (self.known + 2)
        return math.sqrt(error * (1 - error))

    @property
    def inclusion(self) -> float:
        """Probability of every row of it to be in the sample."""
        return self.drawn / self.rows

    def document(self) -> dict[str, Any]:
        """For the manifest."""
        return {"rows": self.rows, "drawn": self.drawn, "spread": round(self.spread, 6), "inclusion": round(self.inclusion, 6)}


@dataclass
class Frame:
    """The rows to sample from, by stratum: the values of `fields`, and where there are verdicts the grade given. Memory: about 100 bytes a row."""

    fields: Sequence[str]
    given: Mapping[str, Given] | None = None
    seed: int = 0
    strata: dict[str, Stratum] = field(default_factory=lambda: defaultdict(Stratum))
    judged: int = 0
    _places: list[tuple[str, float]] = field(default_factory=list)

    def add(self, pair: Pair) -> None:
        """Count a row. Raises `BadInput` for a row without a field of the strata, and for more than `MOST_STRATA`."""
        name = self.stratum_of(pair)
        stratum = self.strata[name]
        stratum.rows += 1
        self.judged += pair.id in (self.given or ())
        error = self._given(pair).error
        if error is not None:
            stratum.errors += error
            stratum.known += 1
        self._places.append((name, fraction(f"{self.seed}:label:{pair.id}")))
        if len(self.strata) > MOST_STRATA:
            found = f"{' and '.join(self.fields)} have more than {MOST_STRATA} values"
            raise BadInput(found, where=f"row '{pair.id}'", hint="stratify by fields with few values: --by subset")

    def pilot(self, graded: Iterable[Pair]) -> None:
        """Take the error of each stratum from graded pairs instead of from the judge. A stratum that the pilot has no row of gets the spread of one half.

        Raises `BadInput` when the pilot tells nothing: none of its pairs has a verdict and a stratum of the frame.
        """
        for stratum in self.strata.values():
            stratum.errors, stratum.known = 0.0, 0
        for pair in graded:
            stratum, grade = self.strata.get(self.stratum_of(pair)), self._given(pair).grade
            if stratum is not None and grade is not None:
                stratum.errors += grade != pair.grade
                stratum.known += 1
        if not any(stratum.known for stratum in self.strata.values()):
            reason = "none of its pairs has a verdict and a stratum of the rows to sample"
            raise BadInput(reason, where="--pilot", hint="judge the pilot too (lore-rair run) and pass both --verdicts")

    def _given(self, pair: Pair) -> Given:
        return (self.given or {}).get(pair.id, Given())

    def stratum_of(self, pair: Pair) -> str:
        """`subset=hard, given=L3`; `all` where nothing tells rows apart."""
        row = row_of(pair)
        parts = []
        for name in self.fields:
            value = row.get(name, row["item"].get(name))
            if value is None or isinstance(value, (dict, list)):
                hint = "stratify by a field that every row has, of the row or its item"
                raise BadInput("is needed for the strata, as one value", where=f"row '{pair.id}'", field=name, hint=hint)
            parts.append(f"{name}={value}")
        if self.given is not None:
            parts.append(f"given={self._given(pair).grade or NO_GRADE}")
        return ", ".join(parts) or "all"

    def draw(self, size: int, least: int) -> set[int]:
        """Numbers of the rows of the sample, in the order added; fills in `drawn` of each stratum. The same rows in any order.

        Raises `BadInput` when there are verdicts and none is about a row.
        """
        if self.given is not None and self._places and not self.judged:
            raise BadInput("no row to sample has a verdict there", where="--verdicts", field="id", hint="judge the rows with lore-rair run first")
        for name, drawn in allocate({name: (stratum.rows, stratum.spread) for name, stratum in self.strata.items()}, size, least).items():
            self.strata[name].drawn = drawn
        members: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for number, (name, place) in enumerate(self._places):
            members[name].append((place, number))
        return {number for name, places in members.items() for _, number in heapq.nsmallest(self.strata[name].drawn, places)}


def allocate(strata: Mapping[str, tuple[int, float]], size: int, least: int = 2) -> dict[str, int]:
    """How many of `size` labels each stratum (rows, spread) gets: Neyman's allocation in whole numbers.

    The variance of the estimate falls most by giving the next label to the stratum with the largest rows * spread / sqrt(n (n + 1)), n being what it has
    already (Wright 2012, "The equivalence of Neyman optimum allocation for sampling and equal proportions for apportioning the U.S. House of
    Representatives"). Every stratum gets `least` where it has so many rows: two, so that its variance can be told. Raises
    `UsageError` for fewer labels than that.

    >>> allocate({"easy": (900, 0.1), "hard": (100, 0.5), "tiny": (1, 0.5)}, 20)
    {'easy': 12, 'hard': 7, 'tiny': 1}
    """
    given = {name: min(least, rows) for name, (rows, _) in strata.items()}
    left = min(size, sum(rows for rows, _ in strata.values())) - sum(given.values())
    if left < 0:
        needed = f"{len(strata)} strata need {sum(given.values())} labels, {least} each where they have so many rows"
        raise UsageError(f"--size {size}: {needed}", hint="ask for more, stratify by less, or pass --least 1")
    queue = [(-_gain(*strata[name], given[name]), name) for name in sorted(strata) if given[name] < strata[name][0]]
    heapq.heapify(queue)
    for _ in range(left):
        _, name = heapq.heappop(queue)
        given[name] += 1
        if given[name] < strata[name][0]:
            heapq.heappush(queue, (-_gain(*strata[name], given[name]), name))
    return given


def _gain(rows: int, spread: float, given: int) -> float:
    return math.inf if not given else rows * spread / math.sqrt(given * (given + 1))
