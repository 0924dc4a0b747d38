"""Rows for distillation: pairs with what a teacher said of them. No torch here, so that bad rows are told before it loads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from lore_cli.judges.cached import normalise
from lore_cli.records import GRADES, Grade, Item, Match, Record


class Teacher(msgspec.Struct, frozen=True):
    """What the teacher said of a pair; `error` when it said nothing."""

    grade: Grade | None = None
    scores: dict[Grade, float] | None = None
    matches: tuple[Match, ...] | None = None
    judge: str | None = None
    error: str | None = None


class SoftRow(Record, frozen=True):
    """A Pair with its teacher's verdict, as `lore-distill label` writes it."""

    id: str
    query: str
    item: Item
    grade: Grade | None = None
    count: int | None = None
    teacher: Teacher | None = None


def target_of(row: SoftRow, human_weight: float) -> list[float] | None:
    """The distribution to learn: the teacher's, mixed with the human's grade; whichever there is; None when there is neither."""
    human = [float(grade == row.grade) for grade in GRADES] if row.grade else None
    teacher = None
    if row.teacher and row.teacher.scores:
        total = sum(row.teacher.scores.values())
        teacher = [row.teacher.scores.get(grade, 0.0) / total for grade in GRADES] if total > 0 else None
    if teacher is None and row.teacher and row.teacher.grade:
        teacher = [float(grade == row.teacher.grade) for grade in GRADES]
    if human is None or teacher is None:
        return teacher or human
    return [(1 - human_weight) * one + human_weight * other for one, other in zip(teacher, human, strict=True)]


def split(queries: Sequence[str], share: float, seed: int) -> list[bool]:
    """Which rows are held out: whole queries, chosen by a hash of query and seed, so that a query's side does not depend on the other rows."""
    def held(query: str) -> bool:
        digest = hashlib.blake2b(f"{seed}\0{normalise(query)}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") < share * 2**64

    return [held(query) for query in queries]
