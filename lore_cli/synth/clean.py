"""Quality gates over pairs and traces: duplicates, near-duplicates, contamination by a benchmark, length, label balance.

A row is held against the rows kept before it, so the first of several stays and order is kept. Near-duplicates are rows of the same query
(`query_key`) and grade whose items are nearly the same: the same listing with another grade, or another query for it, is a contrast to learn
from, not a repetition [ours].
"""

from __future__ import annotations

import random
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from lore_cli.errors import BadInput
from lore_cli.path.disjoint import KnownPairs, item_words, query_key
from lore_cli.records import GRADES, Trace, change, parse, row_of
from lore_cli.seen import Seen
from lore_cli.similar import Archive, Similar
from lore_cli.stream import content_key, encode

REASONS = ("duplicate", "repeated-id", "benchmark-query", "benchmark-item", "near-duplicate", "too-short", "too-long", "balance")
UNGRADED = "none"


@dataclass(frozen=True, slots=True)
class Gates:
    """What is refused. near: least similarity of near-duplicates, 0 keeps them. shortest, longest: bounds on `size(row)`. balance: the largest share of one grade, 1 for any."""

    near: float = 0.9
    benchmark: KnownPairs | None = None
    shortest: int = 0
    longest: int | None = None
    size: Callable[[Trace], int] = field(default=lambda trace: len(text_of(trace)))
    balance: float = 1.0


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is left out, why, and the id of the row that it repeats."""

    trace: Trace
    reason: str
    of: str | None = None

    def row(self) -> dict[str, Any]:
        """The row as the file of rejected rows holds it."""
        return row_of(self.trace) | {"reason": self.reason} | ({"duplicate_of": self.of} if self.of else {})


@dataclass
class Summary:
    """How many rows were kept and refused, per reason and grade."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, outcome: Trace | Refused) -> None:
        """Count one row."""
        trace, reason = (outcome.trace, outcome.reason) if isinstance(outcome, Refused) else (outcome, "kept")
        self.counts[reason, trace.grade or UNGRADED] += 1

    def document(self) -> dict[str, dict[str, int]]:
        """{`kept` or reason: {grade: rows}}, what occurs alone."""
        return {reason: found for reason in ("kept", *REASONS) if (found := {grade: self.counts[reason, grade] for grade in (*GRADES, UNGRADED) if self.counts[reason, grade]})}

    def share(self, name: str) -> float:
        """What a requirement is about: of `kept` and the reasons the share of all rows, of a grade that of the rows kept. 0 of no rows."""
        kept = {grade: count for (reason, grade), count in self.counts.items() if reason == "kept"}
        if name in kept or name in (*GRADES, UNGRADED):
            return kept.get(name, 0) / max(1, sum(kept.values()))
        return sum(count for (reason, _), count in self.counts.items() if reason == name) / max(1, sum(self.counts.values()))


MEASURES = ("kept", *REASONS, *GRADES, UNGRADED)


def text_of(trace: Trace) -> str:
    """The text whose length counts: prompt and completion, or of a pair query and title."""
    return f"{trace.prompt}\n{trace.completion}" if trace.prompt and trace.completion else f"{trace.query}\n{trace.item.title}"


def cleaned(traces: Iterable[Trace], gates: Gates, seed: int = 0) -> Iterator[Trace | Refused]:
    """Every row, in order: itself where it is kept.

    Memory: about 60 bytes a row kept; with a balance the rows wait on disk until all are counted. Raises `BadInput` for a balance that the grades there cannot have.
    """
    outcomes = map(_Cleaner(gates), traces)
    return _balanced(outcomes, gates.balance, seed) if gates.balance < 1 else outcomes


class _Cleaner:
    """All gates but the balance, applied to one row after another."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._contents, self._ids = Archive(), Seen()
        self._near = Similar(gates.near) if gates.near else None

    def __call__(self, trace: Trace) -> Trace | Refused:
        content = content_key(change(trace, id=None))
        same = self._same(content)
        if same is not None:
            return Refused(trace, "duplicate", same)
        refused = self._held(trace) or self._sized(trace)
        if refused:
            return refused
        group, words = f"{trace.grade} {query_key(trace.query)}", item_words(trace.item)
        near = self._near.find(group, words) if self._near else None
        if near is not None:
            return Refused(trace, "near-duplicate", near)
        if not self._ids.add(trace.id):
            return Refused(trace, "repeated-id", trace.id)
        self._contents.add(content + trace.id.encode(), (_code(content),))
        if self._near:
            self._near.add(trace.id, group, words)
        return trace

    def _same(self, content: bytes) -> str | None:
        records = map(self._contents.record, self._contents.filed(_code(content)))
        return next((record[len(content) :].decode() for record in records if record.startswith(content)), None)

    def _held(self, trace: Trace) -> Refused | None:
        found = self._gates.benchmark.holds(trace) if self._gates.benchmark else None
        return Refused(trace, f"benchmark-{found[0]}", found[1]) if found else None

    def _sized(self, trace: Trace) -> Refused | None:
        shortest, longest = self._gates.shortest, self._gates.longest
        if not shortest and longest is None:
            return None
        size = self._gates.size(trace)
        if size < shortest:
            return Refused(trace, "too-short")
        return Refused(trace, "too-long") if longest is not None and size > longest else None


def _code(content: bytes) -> int:
    return int.from_bytes(content[:8], "big")


def _balanced(outcomes: Iterable[Trace | Refused], share: float, seed: int) -> Iterator[Trace | Refused]:
    """Refuse so many of the rows kept, drawn at random, that no grade has more than `share` of them. Ungraded rows pass and do not count.

    Drawn in one pass after all are counted, each row with probability (still to keep) / (still to come): Knuth, The Art of Computer Programming, volume 2, 3.4.2, algorithm S.
    """
    with tempfile.TemporaryFile() as spool:
        come: Counter[str] = Counter()
        for outcome in outcomes:
            kept = isinstance(outcome, Trace)
            come.update([outcome.grade] if kept and outcome.grade else [])
            spool.write(encode({"row": row_of(outcome)} if kept else {"row": row_of(outcome.trace), "reason": outcome.reason, "of": outcome.of}))
        cap = largest_cap(come, share)
        keep = Counter({grade: min(count, cap) for grade, count in come.items()})
        draw = random.Random(f"{seed}:balance")
        spool.seek(0)
        for line in spool:
            entry = orjson.loads(line)
            trace = parse(Trace, entry["row"])
            if "reason" in entry:
                yield Refused(trace, entry["reason"], entry["of"])
                continue
            chosen = not trace.grade or draw.random() * come[trace.grade] < keep[trace.grade]
            if trace.grade:
                come[trace.grade] -= 1
                keep[trace.grade] -= chosen
            yield trace if chosen else Refused(trace, "balance")


def largest_cap(counts: Counter[str], share: float) -> int:
    """The most rows that a grade may keep so that none has more than `share` of what all keep.

    >>> largest_cap(Counter(L1=10, L2=40, L4=200), 0.5)
    50

    Raises `BadInput` when no number will do: two grades cannot each have at most 0.4.
    """
    cap = bisect_right(range(1, max(counts.values(), default=0) + 1), 0, key=lambda most: most - share * sum(min(count, most) for count in counts.values()) - 1e-9)
    if counts and not cap:
        raise BadInput(f"--balance {share:g} cannot be had: the rows have {len(counts)} grade(s), {', '.join(sorted(counts))}", hint=f"pass at least {1 / len(counts):.2g}, or rows of more grades")
    return cap
