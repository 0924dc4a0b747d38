"""Rows for distillation: pairs with what a teacher said of them. No torch here, so that bad rows are told before it loads."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import msgspec

from lore_cli.judges.cached import normalise
from lore_cli.records import GRADES, Grade, Item, Match, Record


class Weights(msgspec.Struct, frozen=True):
    """Weights of the losses (losses.py); `human`: share of the target that a human grade takes beside the teacher's."""

    distribution: float
    ordinal: float
    margin: float
    states: float
    human: float


PRESETS: Mapping[str, Weights] = {
    "lore": Weights(distribution=1.0, ordinal=0.0, margin=0.3, states=0.2, human=0.3),
    # its loss is the margins alone; margins do not tell grades, so a little of the distribution is ours
    "walmart": Weights(distribution=0.1, ordinal=0.0, margin=1.0, states=0.0, human=0.0),
    # both of its dimensions: score distribution and what the reasoning says of each attribute
    "mkd": Weights(distribution=1.0, ordinal=0.0, margin=0.0, states=1.0, human=0.0),
}
"""What each takes of its paper: walmart (arXiv 2505.07105) the margins and teacher labels alone, mkd (ELLM-MKD, arXiv 2411.13045) distribution and attribute heads."""


class Teacher(msgspec.Struct, frozen=True):
    """What the teacher said of a pair; `error` when it said nothing. Scores need not sum to 1, but each is a finite number of at least 0."""

    grade: Grade | None = None
    scores: dict[Grade, float] | None = None
    matches: tuple[Match, ...] | None = None
    judge: str | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        for grade, score in (self.scores or {}).items():
            if not (math.isfinite(score) and score >= 0):
                raise ValueError(f"score {score} for {grade}; a finite number of at least 0 is needed")


class SoftRow(Record, frozen=True):
    """A Pair with its teacher's verdict, as `lore-distill label` writes it."""

    id: str
    query: str
    item: Item
    grade: Grade | None = None
    count: int | None = None
    teacher: Teacher | None = None

    @property
    def said(self) -> Teacher | None:
        """The teacher's verdict; None where it failed, whatever else stands there."""
        return None if self.teacher is None or self.teacher.error is not None else self.teacher


def target_of(row: SoftRow, human_weight: float) -> list[float] | None:
    """The distribution to learn: the teacher's, mixed with the human's grade; whichever there is; None when there is neither."""
    human = [float(grade == row.grade) for grade in GRADES] if row.grade else None
    teacher = None
    if row.said and row.said.scores:
        total = sum(row.said.scores.values())
        teacher = [row.said.scores.get(grade, 0.0) / total for grade in GRADES] if total > 0 else None
    if teacher is None and row.said and row.said.grade:
        teacher = [float(grade == row.said.grade) for grade in GRADES]
    if human is None or teacher is None:
        return teacher or human
    return [(1 - human_weight) * one + human_weight * other for one, other in zip(teacher, human, strict=True)]


def split(queries: Sequence[str], share: float, seed: int) -> list[bool]:
    """Which rows are held out: whole queries, chosen by a hash of query and seed, so that a query's side does not depend on the other rows."""
    def held(query: str) -> bool:
        digest = hashlib.blake2b(f"{seed}\0{normalise(query)}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") < share * 2**64

    return [held(query) for query in queries]
