"""Labelled pairs ready for training: texts, targets, and epochs of batches that keep the items of a query together."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from lore_cli.errors import BadInput
from lore_cli.judges.cached import normalise
from lore_cli.judges.student import STATES_SEEN, Reader
from lore_cli.records import GRADES, Pair
from lore_cli.train.losses import NOT_ASKED, Targets
from lore_cli.train.soft import SoftRow, target_of

_GROUP = 8  # items of one query kept together, so that the margin loss has pairs to compare
_POOL = 16  # batches sorted by length together


@dataclass(slots=True)
class Examples:
    """The rows that have a target. texts: as the student reads them; human, teacher: (rows,) grade numbers or -1; skipped: rows that nobody graded."""

    rows: list[SoftRow]
    texts: list[tuple[str, str]]
    targets: Targets
    human: torch.Tensor
    teacher: torch.Tensor
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.rows)


def prepare(rows: Iterable[SoftRow], reader: Reader, human_weight: float) -> Examples:
    """Texts and targets of the rows. Rows with neither a teacher's nor a human grade are skipped and counted. Raises `BadInput` when none is left."""
    dimensions = {name: number for number, name in enumerate(reader.rulebook.dimensions)}
    kept, targets, states, queries = [], [], [], []
    numbers: dict[str, int] = {}
    skipped = 0
    for row in rows:
        target = target_of(row, human_weight)
        if target is None:
            skipped += 1
            continue
        kept.append(row)
        targets.append(target)
        seen = [NOT_ASKED] * len(dimensions)
        for match in (row.said.matches or ()) if row.said else ():
            if match.attribute in dimensions and match.state in STATES_SEEN:
                seen[dimensions[match.attribute]] = STATES_SEEN.index(match.state)
        states.append(seen)
        queries.append(numbers.setdefault(normalise(row.query), len(numbers)))
    if not kept:
        raise BadInput("no row has a teacher's verdict or a human grade", field="teacher", hint="make them with lore-distill label")
    return Examples(
        kept,
        [reader.texts(Pair(row.id, row.query, row.item)) for row in kept],
        Targets(torch.tensor(targets), torch.tensor(states), torch.tensor(queries)),
        human=torch.tensor([GRADES.index(row.grade) if row.grade else -1 for row in kept]),
        teacher=torch.tensor([GRADES.index(row.said.grade) if row.said and row.said.grade else -1 for row in kept]),
        skipped=skipped,
    )


def batches(lengths: Sequence[int], query: Sequence[int], size: int, rng: random.Random) -> list[list[int]]:
    """One epoch of row numbers: up to eight rows of a query stay together, batches hold rows of similar length, all in random order."""
    by_query: dict[int, list[int]] = {}
    for row in rng.sample(range(len(lengths)), len(lengths)):
        by_query.setdefault(query[row], []).append(row)
    groups = [rows[start : start + _GROUP] for rows in by_query.values() for start in range(0, len(rows), _GROUP)]
    rng.shuffle(groups)
    made: list[list[int]] = []
    pool: list[list[int]] = []
    for number, group in enumerate(groups, 1):
        pool.append(group)
        if sum(map(len, pool)) >= size * _POOL or number == len(groups):
            pool.sort(key=lambda rows: max(lengths[row] for row in rows))
            flat = [row for rows in pool for row in rows]
            made += [flat[start : start + size] for start in range(0, len(flat), size)]
            pool = []
    rng.shuffle(made)
    return made
