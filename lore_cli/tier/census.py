"""Which candidates of the head still have a verdict that holds, which must be judged, and why."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import orjson

from lore_cli.errors import BadInput, LoreError
from lore_cli.judges.cached import Entry, GenerationInfo, Store, item_hash, judge_hash, key_of, normalise, own_identity
from lore_cli.records import Pair, parse, row_of
from lore_cli.rulebook import load_rulebook
from lore_cli.tier.rule_changes import RuleChanges, rule_changes

RULEBOOK_COPY = "rulebook.toml"  # beside a generation: what its verdicts were given under


@dataclass(slots=True)
class Counts:
    """What became of the candidates. reasons: why pairs must be judged. confirmed: kept under an edited rulebook whose changed rules do not touch them.

    oldest: when the oldest verdict kept was given.
    """

    kept: int = 0
    confirmed: int = 0
    taken_up: int = 0
    not_head: int = 0
    repeated: int = 0
    in_served: int = 0
    oldest: int | None = None
    reasons: Counter[str] = field(default_factory=Counter)


class Waiting:
    """Pairs that must be judged, on disk; they come back most traffic first. Memory: 16 bytes a pair. `tell`: called with a row for each."""

    def __init__(self, file: Path, tell: Callable[[dict[str, Any]], object] | None = None) -> None:
        self.path, self._file, self._tell = file, open(file, "w+b"), tell
        self._places, self._traffic = array("q"), array("q")

    def __len__(self) -> int:
        return len(self._places)

    def add(self, pair: Pair, traffic: int, reason: str) -> None:
        self._places.append(self._file.tell())
        self._traffic.append(traffic)
        self._file.write(orjson.dumps(row_of(pair), option=orjson.OPT_APPEND_NEWLINE))
        if self._tell is not None:
            self._tell({"id": pair.id, "query": pair.query, "item_id": pair.item.id, "count": traffic, "reason": reason})

    def __iter__(self) -> Iterator[Pair]:
        self._file.flush()
        for number in sorted(range(len(self)), key=lambda number: -self._traffic[number]):
            self._file.seek(self._places[number])
            yield parse(Pair, orjson.loads(self._file.readline()))

    def close(self) -> None:
        """Close and remove the file, which may be gone with its folder."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Census:
    """Sorts candidates one by one into those whose entry holds and those that wait for the judge."""

    def __init__(
        self, head: Mapping[str, int], served: Store | None, left: Collection[Store], judge: Mapping[str, Any], rulebook: str, ttl_s: float, now: float
    ) -> None:
        """head: query → traffic. left: what killed refreshes judged. judge: its identity. rulebook: its hash."""
        self.head, self.served, self.left = head, served, left
        self.identity, self.judge, self.rulebook, self.ttl_s, self.now = judge, judge_hash(judge), rulebook, ttl_s, now
        self.changes: RuleChanges | None = None
        self.before: GenerationInfo | None = None
        self.counts = Counts()
        self._seen: set[bytes] = set()

    def compare_with(self, info: GenerationInfo, changes: RuleChanges | None) -> None:
        """What made the generation served, so that reasons can be told exactly."""
        self.before, self.changes = info, changes

    def take(self, pair: Pair, keep: Callable[[bytes, Entry], object], waiting: Waiting) -> None:
        """Hand the pair's entry to `keep`, or the pair to `waiting`; pairs of other queries and repeated ones are counted."""
        query, counts = normalise(pair.query), self.counts
        if query not in self.head:
            counts.not_head += 1
            return
        key = key_of(pair.query, pair.item.id)
        if key in self._seen:
            counts.repeated += 1
            return
        self._seen.add(key)
        item = item_hash(pair.item)
        found, reason = self._served(key)
        entry, reason = (None, reason) if found is None else self._held(found, item)
        if entry is None:
            entry = next((held for store in self.left if (other := store.get(key)) and (held := self._held(other, item)[0])), None)
            if entry is None:
                counts.reasons[reason] += 1
                waiting.add(pair, self.head[query], reason)
                return
            counts.taken_up += 1
        counts.kept += 1
        counts.oldest = entry.judged_at if counts.oldest is None else min(counts.oldest, entry.judged_at)
        keep(key, entry)

    def _served(self, key: bytes) -> tuple[Entry | None, str]:
        try:
            entry = self.served.get(key) if self.served is not None else None
        except BadInput:
            self.counts.in_served += 1
            return None, "damaged"
        self.counts.in_served += entry is not None
        return entry, "new"

    def _held(self, entry: Entry, item: str) -> tuple[Entry | None, str]:
        """The entry under today's rulebook, or None and why it does not hold."""
        rule = ""
        if entry.rulebook != self.rulebook and self.changes is not None and entry.rulebook == self.changes.before.hash:
            reach = self.changes.reach(entry.verdict)
            if reach:
                rule = f"rule {', '.join(sorted(reach))} changed"
            elif reach is not None:
                entry = msgspec.structs.replace(entry, rulebook=self.rulebook)
                self.counts.confirmed += 1
        reason: str = entry.stale(item, self.rulebook, self.now, self.ttl_s)
        if reason == "rulebook changed" and rule:
            return None, rule
        if reason == "hit" and entry.judge != self.judge:
            return None, self._judge_change(entry)
        return (entry, "hit") if reason == "hit" else (None, reason)

    def _judge_change(self, entry: Entry) -> str:
        """`judge changed`, with what of its identity where that is known: `judge changed: prompt`."""
        if self.before is None or judge_hash(self.before.judge) != entry.judge:
            return "judge changed"
        one, other = own_identity(self.before.judge), own_identity(self.identity)
        return f"judge changed: {', '.join(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))}"


def changes_since(generation: Path, info: GenerationInfo, rulebook_hash: str, rulebook_file: Path | None) -> RuleChanges | None:
    """What separates the rulebook kept with a generation from today's; None when they are one, or the kept one cannot be read."""
    kept = generation / RULEBOOK_COPY
    if rulebook_file is None or info.rulebook == rulebook_hash or not kept.is_file():
        return None
    try:
        before = load_rulebook(kept)
    except LoreError:
        return None
    return rule_changes(before, load_rulebook(rulebook_file)) if before.hash == info.rulebook else None
