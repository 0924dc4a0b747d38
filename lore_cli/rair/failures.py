"""The most informative wrong verdicts of a run: few, different, with their reasoning path.

Ranked [ours] by: the verdict crosses the border of relevance; how many grades it is off; how sure the judge was; whether it gave its reasons.
One a query, spread over subsets, and within a subset over the kinds of confusion, the most frequent kind first.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lore_cli.answer import implied
from lore_cli.records import GRADES, RELEVANT, Pair, Verdict, row_of
from lore_cli.rulebook import Rulebook

_KEPT = 4  # candidates kept per place wanted, since several may belong to one query
_SHOWN = ("id", "title", "category", "brand", "attributes", "price", "caption", "description", "image")

Bucket = tuple[str, str, str]  # subset, gold, given
Told = tuple[Pair, Verdict, Verdict | None]  # the wrong verdict, and that of another run where two are compared


@dataclass
class Failures:
    """Collects wrong verdicts; `chosen()` gives at most `limit` of them."""

    limit: int
    _heaps: dict[Bucket, list[tuple[tuple[Any, ...], Told]]] = field(default_factory=dict)
    _counts: Counter[Bucket] = field(default_factory=Counter)

    def add(self, pair: Pair, verdict: Verdict | None, other: Verdict | None = None) -> None:
        """Consider one row; right and unjudged ones are passed over. other: what another run gave, kept beside it."""
        if verdict is None or verdict.grade is None or verdict.grade == pair.grade or pair.grade is None or not self.limit:
            return
        bucket = (str(row_of(pair).get("subset", "")), pair.grade, verdict.grade)
        self._counts[bucket] += 1
        heap = self._heaps.setdefault(bucket, [])
        entry = (_rank(pair, verdict), (pair, verdict, other))
        if len(heap) < self.limit * _KEPT:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)

    def chosen(self) -> list[Told]:
        """The most informative failures, subsets in turn."""
        queries: set[str] = set()
        chosen: list[Told] = []
        by_subset = [self._in_turn(subset) for subset in sorted({bucket[0] for bucket in self._heaps})]
        for told in _round_robin(by_subset):
            if len(chosen) == self.limit:
                break
            if told[0].query not in queries:
                queries.add(told[0].query)
                chosen.append(told)
        return chosen

    def _in_turn(self, subset: str) -> Iterator[Told]:
        buckets = sorted((bucket for bucket in self._heaps if bucket[0] == subset), key=lambda bucket: (-self._counts[bucket], bucket))
        ranked = [sorted(self._heaps[bucket], key=lambda entry: entry[0], reverse=True) for bucket in buckets]
        return _round_robin([iter([told for _, told in entries]) for entries in ranked])


@dataclass
class Changes:
    """Collects the pairs that only one of two runs, a and b, has right; `document` describes at most `limit` of them, won and lost by b in equal parts."""

    limit: int
    moves: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lost, self._won = Failures(self.limit // 2), Failures(self.limit - self.limit // 2)

    def add(self, pair: Pair, a: Verdict | None, b: Verdict | None) -> None:
        """Consider one row."""
        grades = [(verdict.grade if verdict else None) or "" for verdict in (a, b)]
        if (grades[0] == pair.grade) == (grades[1] == pair.grade):
            return
        self.moves[pair.grade or "", grades[0], grades[1]] += 1
        if grades[0] == pair.grade:
            self._lost.add(pair, b, a)
        else:
            self._won.add(pair, a, b)

    def document(self, rulebook: Rulebook, images: Path, beside: Path) -> dict[str, Any]:
        """For the comparison: `moves`, how often which change of grade made a pair right or wrong, and `changes`, pairs with both verdicts."""
        ordered = sorted(self.moves.items(), key=lambda entry: (-entry[1], entry[0]))
        moves = [{"gold": gold, "a": a or None, "b": b or None, "count": count} for (gold, a, b), count in ordered]
        changes = []
        for pair, a, b in [*self._won.chosen(), *((pair, a, b) for pair, b, a in self._lost.chosen())]:
            sides = {side: given(verdict, rulebook) for side, verdict in (("a", a), ("b", b)) if verdict}
            changes.append(shown_pair(pair, images, beside) | sides)
        return {"moves": moves, "changes": changes}


def described(pair: Pair, verdict: Verdict, rulebook: Rulebook, images: Path, beside: Path) -> dict[str, Any]:
    """A failure as the report holds it: `shown_pair` and `given` in one."""
    return shown_pair(pair, images, beside) | given(verdict, rulebook)


def shown_pair(pair: Pair, images: Path, beside: Path) -> dict[str, Any]:
    """A pair as reports hold it. images: the folder that image paths are relative to; in the result they are relative to `beside`."""
    row, item = row_of(pair), pair.item
    shown = {name: value for name in _SHOWN if (value := getattr(item, name)) not in (None, {}, "")}
    if item.description:
        shown["description"] = item.description[:300]
    if item.image:
        shown["image"] = Path(os.path.relpath(images / item.image, beside)).as_posix()
    entry = {"id": pair.id, "query": pair.query, "subset": row.get("subset"), "criteria": row.get("criteria"), "item": shown, "gold": pair.grade}
    return {name: value for name, value in entry.items() if value is not None}


def given(verdict: Verdict, rulebook: Rulebook) -> dict[str, Any]:
    """A verdict as reports hold it, with what its own matches imply."""
    row = row_of(verdict)
    entry: dict[str, Any] = {"given": verdict.grade}
    entry |= {name: row[name] for name in ("scores", "matches", "rules", "reason", "tier", "judge", "error") if row.get(name)}
    if verdict.matches:
        follows = implied(verdict.matches, rulebook)
        entry["implied"] = {"grade": follows.grade, "rules": list(follows.rules)}
    return {name: value for name, value in entry.items() if value is not None}


def _rank(pair: Pair, verdict: Verdict) -> tuple[Any, ...]:
    crosses = (pair.grade in RELEVANT) != (verdict.grade in RELEVANT)
    distance = abs(GRADES.index(pair.grade) - GRADES.index(verdict.grade))  # type: ignore[arg-type]
    sure = (verdict.scores or {}).get(verdict.grade, 0.0)  # type: ignore[arg-type]
    tie = hashlib.blake2b(pair.id.encode(), digest_size=8).hexdigest()
    return crosses, distance, sure, bool(verdict.matches), tie


def _round_robin(sources: list[Iterator[Told]]) -> Iterator[Told]:
    for group in itertools.zip_longest(*sources):
        yield from (entry for entry in group if entry is not None)
