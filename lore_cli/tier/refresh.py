"""Keep the head cache fresh: judge what is new or no longer holds, take over the rest, publish a new generation.

A pair is judged when it is new, older than the time to live, or when its item, the rulebook or the judge changed since. Pairs that are no
longer among the candidates, or whose query left the head, leave the cache. When nothing would change no generation is made. Every
verdict is durable soon after it is given, so that a kill costs at most two seconds of judging. All of this is ours.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lore_cli.errors import BadInput
from lore_cli.judges import Judge
from lore_cli.judges.cached import FORMAT, Entry, GenerationInfo, Store, entry_of, identity_hash, item_hash, key_of, normalise
from lore_cli.judges.plan import Plan, listed_queries
from lore_cli.records import Pair, row_of
from lore_cli.stream import read
from lore_cli.tier import cache

_COMMIT_EVERY, _COMMIT_SECONDS = 256, 2.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How a refresh decides. ttl_s: age at which an entry is judged again. keep: generations kept. max_failed: largest share of failed judgements published."""

    ttl_s: float
    keep: int = 3
    max_failed: float = 0.1


@dataclass(slots=True)
class Summary:
    """What a refresh did. `number`: the generation published, None when none was. `reasons`: why pairs were judged."""

    number: int | None = None
    kept: int = 0
    judged: int = 0
    failed: int = 0
    taken_up: int = 0
    dropped: int = 0
    not_head: int = 0
    repeated: int = 0
    refused: bool = False
    problem: str = ""
    reasons: Counter[str] = field(default_factory=Counter)


def refresh(
    folder: Path,
    plan_path: str,
    plan: Plan,
    pairs: Iterable[Pair],
    judge: Judge,
    rulebook_hash: str,
    policy: Policy,
    *,
    clock: Callable[[], float] = time.time,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Summary:
    """Bring the cache in `folder` up to date. Memory: 50 bytes for each head pair; the pairs to judge wait on disk.

    Raises `Busy` when another refresh runs, `BadInput` when no candidate has a head query, `LoreError` and `Missing` when the disk is full. In
    each case the generation served stays. Too many failures: the same, with `refused` set, and the next run takes up what was judged.
    """
    head = frozenset(query for query, _ in listed_queries(plan_path, plan.head))
    with cache.locked(folder):
        served, left, problem = cache.sources(folder)
        summary = Summary(problem=problem)
        builder = cache.Builder(cache.next_build_folder(folder))
        try:
            census = _Census(head, served, left, judge, rulebook_hash, policy.ttl_s, clock())
            waiting = builder.folder / "waiting.jsonl"
            with open(waiting, "wb") as spool:
                for pair in pairs:
                    census.take(pair, builder, spool.write, summary)
            if not summary.kept and not summary.reasons:
                raise BadInput("no candidate has a head query of the plan", where=str(folder), hint="are these the candidates of the log that the plan was made from?")
            builder.commit()
            summary.dropped = len(served) - census.in_served if served is not None else 0
            for superseded in cache.unfinished_folders(folder):
                if superseded != builder.folder:
                    shutil.rmtree(superseded)
            if served is not None and not (summary.reasons or summary.taken_up or summary.dropped):
                shutil.rmtree(builder.folder)
                return summary
            _judge_waiting(judge, track(read(Pair, [str(waiting)], unique=False)), builder, census, summary, clock)
            waiting.unlink()
        finally:
            builder.close()
        if summary.failed > policy.max_failed * sum(summary.reasons.values()):
            summary.refused = True
            return summary
        info = _description(int(builder.folder.name), plan, rulebook_hash, judge, summary, int(clock()))
        cache.publish(folder, builder.folder, info, policy.keep)
        summary.number = info.number
        return summary


def _description(number: int, plan: Plan, rulebook_hash: str, judge: Judge, summary: Summary, now: int) -> GenerationInfo:
    return GenerationInfo(
        format=FORMAT,
        number=number,
        entries=summary.kept + summary.judged,
        plan=plan.hash,
        rulebook=rulebook_hash,
        judge=judge.identity(),
        expire_s=plan.expire_s,
        created=now,
        judged=summary.judged,
        kept=summary.kept,
        failed=summary.failed,
    )


class _Census:
    """Sorts candidates: still good (taken over), to be judged, not of the head, seen before."""

    def __init__(self, head: frozenset[str], served: Store | None, left: list[Store], judge: Judge, rulebook: str, ttl_s: float, now: float) -> None:
        self.head, self.served, self.left = head, served, left
        self.identity, self.rulebook, self.ttl_s, self.now = identity_hash(judge.identity()), rulebook, ttl_s, now
        self.in_served = 0
        self._seen: set[bytes] = set()

    def take(self, pair: Pair, builder: cache.Builder, wait: Callable[[bytes], object], summary: Summary) -> None:
        query = normalise(pair.query)
        if query not in self.head:
            summary.not_head += 1
            return
        key = key_of(query, pair.item.id)
        if key in self._seen:
            summary.repeated += 1
            return
        self._seen.add(key)
        item = item_hash(pair.item)
        entry, reason = self._served(key, item)
        if reason != "hit":
            better = next((found for store in self.left if self._reason(found := store.get(key), item) == "hit"), None)
            if better is None:
                summary.reasons[reason] += 1
                wait(orjson.dumps(row_of(pair), option=orjson.OPT_APPEND_NEWLINE))
                return
            entry = better
            summary.taken_up += 1
        assert entry is not None
        builder.put(key, entry)
        summary.kept += 1

    def _served(self, key: bytes, item: str) -> tuple[Entry | None, str]:
        try:
            entry = self.served.get(key) if self.served is not None else None
        except BadInput:
            self.in_served += 1
            return None, "damaged"
        self.in_served += entry is not None
        return entry, self._reason(entry, item)

    def _reason(self, entry: Entry | None, item: str) -> str:
        if entry is None:
            return "new"
        reason = entry.stale(item, self.rulebook, self.now, self.ttl_s)
        return "judge changed" if reason == "hit" and entry.judge != self.identity else reason


def _judge_waiting(
    judge: Judge, pairs: Iterable[Any], builder: cache.Builder, census: _Census, summary: Summary, clock: Callable[[], float]
) -> None:
    asked: deque[Pair] = deque()
    last, uncommitted = time.monotonic(), 0

    def remember() -> Iterator[Pair]:
        for pair in pairs:
            asked.append(pair)
            yield pair

    for verdict in judge(remember()):
        pair = asked.popleft()
        if verdict.error is not None:
            summary.failed += 1
            continue
        query = normalise(pair.query)
        builder.put(key_of(query, pair.item.id), entry_of(verdict, query, item_hash(pair.item), census.identity, census.rulebook, clock()))
        summary.judged += 1
        uncommitted += 1
        if uncommitted >= _COMMIT_EVERY or time.monotonic() - last >= _COMMIT_SECONDS:
            builder.commit()
            last, uncommitted = time.monotonic(), 0
    builder.commit()
