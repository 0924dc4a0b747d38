"""Keep the head cache fresh: judge what is new or no longer holds, take over the rest, check the outcome, publish a new generation.

A pair is judged when it is new, older than the time to live, or when its item, a rule that its verdict rests on, or the judge changed since
(census.py). The budget goes to the pairs with the most traffic; what it does not reach keeps its old entry, which a reader serves only while
it holds. Pairs that are no longer among the candidates, or whose query left the head, leave the cache. When nothing would change no
generation is made. Every verdict is durable soon after it is given, so that a kill costs at most two seconds of judging. All of this is ours.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lore_cli.errors import BadInput
from lore_cli.judges import Judge
from lore_cli.judges.cached import FORMAT, Entry, GenerationInfo, Store, entry_of, item_hash, key_of, normalise, open_store, read_info
from lore_cli.judges.plan import Plan, listed_queries
from lore_cli.models.metered import LIMIT_REACHED
from lore_cli.records import Pair, Verdict
from lore_cli.tier import cache
from lore_cli.tier.census import RULEBOOK_COPY, Census, Counts, Waiting, changes_since
from lore_cli.tier.validation import Comparison, Limits, compare

_COMMIT_EVERY, _COMMIT_SECONDS = 256, 2.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How a refresh decides. ttl_s: age at which an entry is judged again. keep: generations kept. max_failed: largest share of failed judgements published.

    max_pairs, max_seconds: the budget of judging; None for no limit. limits: what a generation is held against before it is published.
    """

    ttl_s: float
    keep: int = 3
    max_failed: float = 0.1
    max_pairs: int | None = None
    max_seconds: float | None = None
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a cache should hold: the head of a plan, judged by a judge under a rulebook.

    rulebook_file: where the rulebook was read from; without it every edit of the rulebook makes every entry stale.
    """

    plan_path: str
    plan: Plan
    judge: Judge
    rulebook_hash: str
    rulebook_file: Path | None = None


@dataclass(slots=True)
class Summary(Counts):
    """What a refresh did, and what its census counted. `number`: the generation published, None when none was. `refused`: why it was not published.

    postponed: due, but beyond the budget.
    """

    number: int | None = None
    judged: int = 0
    failed: int = 0
    postponed: int = 0
    dropped: int = 0
    refused: str = ""
    problem: str = ""
    comparison: Comparison | None = None


def refresh(
    folder: Path,
    wanted: Wanted,
    pairs: Iterable[Pair],
    policy: Policy,
    *,
    clock: Callable[[], float] = time.time,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Summary:
    """Bring the cache in `folder` up to date. Memory: 100 bytes for each head pair, more where the ids of items are long; the pairs to judge wait on disk.

    Raises `Busy` when another refresh runs, `BadInput` when no candidate has a head query, `LoreError` and `Missing` when the disk is full. In each
    case the generation served stays. Too many failures, or an implausible outcome: the same, with `refused` set, and the next run takes up what
    was judged.
    """
    until = None if policy.max_seconds is None else time.monotonic() + policy.max_seconds
    with cache.locked(folder):
        served, left, problem = cache.sources(folder)
        builder = cache.Builder(cache.next_build_folder(folder))
        waiting = Waiting(builder.folder / "waiting.jsonl")
        try:
            census = _census(folder, wanted, pairs, policy.ttl_s, served, left, clock(), builder.put, waiting)
            summary = _summary(census, served, problem)
            builder.commit()
            for superseded in cache.unfinished_folders(folder):
                if superseded != builder.folder:
                    shutil.rmtree(superseded)
            if served is not None and not (summary.reasons or summary.taken_up or summary.dropped or summary.confirmed):
                shutil.rmtree(builder.folder)
                return summary
            budget = _Budget(policy.max_pairs, until)
            carried = _judge(wanted.judge, track(budget.limit(waiting)), budget, waiting, builder, census, summary, clock)
        finally:
            builder.close()
            waiting.close()
        summary.refused = _refusal(served, builder.folder, summary, policy)
        if summary.refused:
            return summary
        if wanted.rulebook_file is not None:
            shutil.copyfile(wanted.rulebook_file, builder.folder / RULEBOOK_COPY)
        info = _description(int(builder.folder.name), wanted, summary, carried, int(clock()))
        cache.publish(folder, builder.folder, info, policy.keep)
        summary.number = info.number
        return summary


def due(
    folder: Path, wanted: Wanted, pairs: Iterable[Pair], ttl_s: float, tell: Callable[[dict[str, Any]], object], clock: Callable[[], float] = time.time
) -> Summary:
    """What a refresh would judge, and why; nothing is judged or changed. `tell` gets a row for each such pair."""
    served, left, problem = cache.sources(folder)
    with tempfile.TemporaryDirectory(prefix=".lore-") as temporary:
        waiting = Waiting(Path(temporary, "waiting.jsonl"), tell)
        try:
            census = _census(folder, wanted, pairs, ttl_s, served, left, clock(), lambda key, entry: None, waiting)
        finally:
            waiting.close()
    return _summary(census, served, problem)


def _census(
    folder: Path,
    wanted: Wanted,
    pairs: Iterable[Pair],
    ttl_s: float,
    served: Store | None,
    left: list[Store],
    now: float,
    keep: Callable[[bytes, Entry], object],
    waiting: Waiting,
) -> Census:
    """Every candidate counted. Raises `BadInput` when none has a head query."""
    head = dict(listed_queries(wanted.plan_path, wanted.plan.head))
    census = Census(head, served, left, wanted.judge.identity(), wanted.rulebook_hash, ttl_s, now)
    if served is not None:
        info = read_info(folder / "current")
        census.compare_with(info, changes_since(folder / "current", info, wanted.rulebook_hash, wanted.rulebook_file))
    for pair in pairs:
        census.take(pair, keep, waiting)
    if not census.counts.kept and not census.counts.reasons:
        raise BadInput("no candidate has a head query of the plan", where=str(folder), hint="are these the candidates of the log that the plan was made from?")
    return census


def _summary(census: Census, served: Store | None, problem: str) -> Summary:
    counted = {each.name: getattr(census.counts, each.name) for each in fields(census.counts)}
    dropped = len(served) - census.counts.in_served if served is not None else 0
    return Summary(**counted, problem=problem, dropped=dropped)


class _Budget:
    """Lets pairs through until the budget is spent; `given` says how many."""

    def __init__(self, max_pairs: int | None, until: float | None) -> None:
        self._most, self._until, self.given = max_pairs, until, 0

    def limit(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        for pair in pairs:
            if self.given == self._most or (self._until is not None and time.monotonic() >= self._until):
                return
            self.given += 1
            yield pair


def _judge(
    judge: Judge, pairs: Iterable[Pair], budget: _Budget, waiting: Waiting, builder: cache.Builder, census: Census, summary: Summary, clock: Callable[[], float]
) -> int:
    """Judge what the budget allows; the rest keep the entries they had. Returns how many did."""
    asked: deque[Pair] = deque()
    unanswered: set[bytes] = set()
    last, uncommitted = time.monotonic(), 0

    def remember() -> Iterator[Pair]:
        for pair in pairs:
            asked.append(pair)
            yield pair

    for verdict in judge(remember()):
        pair = asked.popleft()
        key = key_of(pair.query, pair.item.id)
        if verdict.error is not None:
            unanswered.add(key)
            _count_failure(verdict, summary)
            continue
        builder.put(key, entry_of(verdict, normalise(pair.query), item_hash(pair.item), census.judge, census.rulebook, clock()))
        summary.judged += 1
        uncommitted += 1
        if uncommitted >= _COMMIT_EVERY or time.monotonic() - last >= _COMMIT_SECONDS:
            builder.commit()
            last, uncommitted = time.monotonic(), 0
    summary.postponed += len(waiting) - budget.given
    carried = 0
    for number, pair in enumerate(waiting if summary.failed or summary.postponed else ()):
        key = key_of(pair.query, pair.item.id)
        if number >= budget.given or key in unanswered:
            carried += _carry(census.served, key, builder)
    builder.commit()
    return carried


def _count_failure(verdict: Verdict, summary: Summary) -> None:
    if LIMIT_REACHED in str(verdict.error):
        summary.postponed += 1
    else:
        summary.failed += 1


def _carry(served: Store | None, key: bytes, builder: cache.Builder) -> bool:
    """Take a pair's old entry along, if there is one: a reader decides whether it may still be served."""
    with contextlib.suppress(BadInput):
        entry = served.get(key) if served is not None else None
        if entry is not None:
            builder.put(key, entry)
            return True
    return False


def _refusal(served: Store | None, build: Path, summary: Summary, policy: Policy) -> str:
    """Why a finished build must not be published, or ''."""
    if summary.failed > policy.max_failed * (summary.failed + summary.judged):
        return f"{summary.failed} of {summary.failed + summary.judged} judgements failed"
    summary.comparison = compare(served, open_store(build / "verdicts.lmdb"))
    return summary.comparison.problem(policy.limits)


def _description(number: int, wanted: Wanted, summary: Summary, carried: int, now: int) -> GenerationInfo:
    return GenerationInfo(
        format=FORMAT,
        number=number,
        entries=summary.kept + summary.judged + carried,
        plan=wanted.plan.hash,
        rulebook=wanted.rulebook_hash,
        judge=wanted.judge.identity(),
        expire_s=wanted.plan.expire_s,
        created=now,
        judged=summary.judged,
        kept=summary.kept,
        failed=summary.failed,
        postponed=summary.postponed,
    )
