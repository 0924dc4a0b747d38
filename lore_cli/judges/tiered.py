"""`tier:PLAN`: the deployed system, cache, student and model behind one routing policy.

LORE (§ deployment): head queries are answered from verdicts judged offline, middle ones by a small distilled model, the rest by the
language model. Ours: the cuts are measured from the shop's own log (`lore-tier plan`); a head pair that the cache cannot answer goes to the
student; a student that is not sure (top probability under the plan's threshold, or `unsure` by its own) hands over to the model; where the model is late, busy or fails, the
student answers, and the verdict says so. An answer of the cascade always tells its `tier`, `answered_by`, `age_s` and `route`: who was asked, and why.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from lore_cli.errors import UsageError
from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.judges.absent import open_or_wait
from lore_cli.judges.asking import Asking, Busy, Question, Unwanted, question_of
from lore_cli.judges.cached import Cache, answer_of, open_cache
from lore_cli.judges.plan import Router, Tier, beside, load_plan
from lore_cli.judges.recent import Recent
from lore_cli.records import Pair, Verdict, parse, row_of
from lore_cli.stream import chunks

_WINDOW_BATCHES = 8  # pairs routed together: enough for full batches in each tier
_PATIENCE = 5  # deadlines after which a request to a server is given up: what comes late is remembered, what never comes must not hold a thread
_NETWORK_THREADS = 8  # of a model behind a network: pairs of new requests need not wait for the replies to those before


@dataclass(frozen=True, slots=True)
class Live:
    """What holds under traffic and not offline, where every answer is waited for and nothing is remembered.

    deadline_s: how long the model is waited for. most_waiting: pairs that may wait for the model; with more it is busy.
    remembered: answers of the model kept in memory. retry_s: how long a failed pair is not put to the model again.
    """

    deadline_s: float
    most_waiting: int = 1024
    remembered: int = 100_000
    retry_s: float = 30.0


@dataclass(slots=True)
class Routed:
    """A pair on its way: where it belongs, who has answered or failed so far, and why there. answer, failure: rows of verdicts."""

    pair: Pair
    tier: Tier
    route: str = ""
    answer: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    answered_by: str = ""
    fallback: str = ""
    stale: bool = False
    age_s: float = 0.0
    spent_ms: float = 0.0

    def go(self, station: str) -> None:
        """Note who is asked now."""
        self.route = f"{self.route} > {station}" if self.route else station

    def take(self, answer: dict[str, Any], by: str, age_s: float = 0.0) -> None:
        """Take an answer."""
        self.answer, self.answered_by, self.age_s = answer, by, age_s


@dataclass
class TieredJudge:
    """Routes windows of pairs, sends each tier's share to its judge in one go, and answers in the order asked.

    ttl_s: age at which a cached verdict is stale: under traffic it is served still, and the model asked behind the shopper's back for the next time.
    """

    router: Router
    cache: Cache | None
    student: Asking | None
    tail: Asking | None
    threshold: float
    ttl_s: float
    recent: Recent | None
    live: Live | None
    window: int
    samples: int
    plan_hash: str
    name: str
    clock: Callable[[], float] = time.time

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        for window in chunks(pairs, self.window):
            if self.cache is not None:
                self.cache.follow()
            routed = self.begin(window)
            self.finish(routed)
            yield from map(self.verdict, routed)

    def begin(self, pairs: Sequence[Pair]) -> list[Routed]:
        """Route pairs and answer what memory holds: microseconds each. In one thread, which is the one that follows the cache."""
        tiers = {query: self.router.tier(query) for query in {pair.query for pair in pairs}}
        routed = [Routed(pair, tiers[pair.query]) for pair in pairs]
        if self.cache is not None:
            self._look_up(self.cache, [one for one in routed if one.tier == "head"])
        if self.recent is not None:
            for one in routed:
                if one.answer is None or one.stale:
                    self._recall(self.recent, one)
        return routed

    def finish(self, routed: Sequence[Routed], until: float | None = None) -> None:
        """Have student and model answer the rest. Waits for the student, and for the model `until` (`time.monotonic`; the deadline from now). From any thread."""
        if until is None:
            until = time.monotonic() + self.live.deadline_s if self.live else inf
        rest = [one for one in routed if one.answer is None]
        self._ask(self.student, [one for one in rest if one.tier != "tail" or self.tail is None], "student")
        wanting = [one for one in rest if self._goes_on(one)]
        self._ask(self.tail, [one for one in wanting if not self._failed_lately(one)], "model", until)
        left = [one for one in wanting if one.fallback]
        self._ask(self.student, [one for one in left if one.tier == "tail"], "student")
        for one in left:
            if one.tier != "tail" and one.answer is not None:
                one.go("student")  # whose answer was there before the model was asked

    def verdict(self, one: Routed) -> Verdict:
        """What a pair that is through is answered with."""
        found = one.answer or one.failure
        if found is None:
            raise RuntimeError("a pair was routed to nobody")
        row = {**found, "id": one.pair.id, "query": one.pair.query, "judge": self.name, "tier": one.tier, "route": one.route, "latency_ms": one.spent_ms}
        if one.answer is not None:
            row |= {"answered_by": one.answered_by, "age_s": round(one.age_s)}
        if one.stale:
            row["stale"] = True
        if one.fallback and one.answer is not None:
            row["fallback"] = one.fallback
        return parse(Verdict, row)

    def identity(self) -> dict[str, str]:
        """The plan, and what each of the three is."""
        identity = {"judge": "tier", "plan": self.plan_hash}
        if self.cache is not None:
            identity["cache.generation"] = str(self.cache.info.number)
        for name, asking in (("student", self.student), ("tail", self.tail)):
            if asking is not None:
                identity |= {f"{name}.{key}": value for key, value in asking.judge.identity().items()}
        return identity

    def close(self) -> None:
        """Let the threads of student and model end when they have answered what waits."""
        for asking in (self.student, self.tail):
            if asking is not None:
                asking.close()

    def _look_up(self, cache: Cache, head: list[Routed]) -> None:
        started = time.perf_counter()
        for one, found in zip(head, cache.look_up([one.pair for one in head], self.clock()), strict=True):
            if found.entry is None:  # the student answers, and a refresh replaces what is damaged
                one.route = f"cache: {found.reason}"
                continue
            one.go("cache")
            one.take(answer_of(found.entry, one.pair, self.name, self.samples), "cache", found.age_s or 0.0)
            one.stale = one.age_s > self.ttl_s
        _share(head, started)

    def _recall(self, recent: Recent, one: Routed) -> None:
        """Answer from what the model said lately; ask it anew, without waiting, where the cache's answer is stale."""
        question = question_of(one.pair)
        known = recent.get(question)
        if known is None:
            if one.stale and self.tail is not None:
                self.tail.ask([one.pair])[0].add_done_callback(partial(_remember, recent, question))
        elif known.verdict is not None:
            one.stale = False
            one.go("recent")
            one.take(row_of(known.verdict), "model", known.age_s)

    def _goes_on(self, one: Routed) -> bool:
        """Whether the model is to be asked; notes why where the student was."""
        if one.answer is None:
            return True
        scores = one.answer.get("scores")
        top = max(scores.values()) if scores else 1.0
        doubt = f"{top:.2f} is under {self.threshold:g}" if top < self.threshold else "unsure" if one.answer.get("unsure") else ""
        if self.tail is None or not doubt:
            return False
        one.route += f": {doubt}"
        return True

    def _failed_lately(self, one: Routed) -> bool:
        """Whether the model failed for this pair a moment ago, so that it is not asked."""
        known = self.recent.get(question_of(one.pair)) if self.recent is not None else None
        if known is None or known.verdict is not None:
            return False
        one.go(f"model: failed {known.age_s:.0f} s ago")
        one.fallback, one.failure = "model failed", _failed(one.pair, self.name, "the model failed for this pair a moment ago")
        return True

    def _ask(self, asking: Asking | None, group: list[Routed], who: str, until: float = inf) -> None:
        if asking is None or not group:
            return
        started = time.perf_counter()
        answers = asking.ask([one.pair for one in group], until)
        if who == "model" and self.recent is not None:
            for one, answer in zip(group, answers, strict=True):
                answer.add_done_callback(partial(_remember, self.recent, question_of(one.pair)))
        wait(answers, None if until == inf else max(0.0, until - time.monotonic()))
        for one, answer in zip(group, answers, strict=True):
            one.go(who)
            self._take(one, answer, who)
        _share(group, started)

    def _take(self, one: Routed, answer: Future[Verdict], who: str) -> None:
        """Read what came: a verdict, or a failure, which is kept for when nobody answers. Offline, what a judge raises is raised."""
        error = answer.exception() if answer.done() else Unwanted()
        if error is None and answer.result().error is None:
            one.take(row_of(answer.result()), who)
            return
        if error is None:
            trouble, failure = "failed", row_of(answer.result())
        elif isinstance(error, Unwanted):
            trouble, failure = "late", _failed(one.pair, self.name, f"the {who} gave no answer before the deadline")
        elif isinstance(error, Busy):
            trouble, failure = "busy", _failed(one.pair, self.name, f"the {who} is busy: {error}")
        elif self.live is None:
            raise error
        else:
            trouble, failure = "failed", _failed(one.pair, self.name, f"the {who} failed: {error}")
        one.route += f": {trouble}"
        if who == "model":
            one.fallback = f"model {trouble}"
        if who == "model" or one.failure is None:
            one.failure = failure


def _remember(recent: Recent, question: Question, answer: Future[Verdict]) -> None:
    """Keep what the model answered, be it late or not; that it was not asked is no answer."""
    error = answer.exception()
    if not isinstance(error, (Busy, Unwanted)):
        recent.put(question, None if error or answer.result().error else answer.result())


def _failed(pair: Pair, judge: str, error: str) -> dict[str, Any]:
    return {"id": pair.id, "query": pair.query, "item_id": pair.item.id, "judge": judge, "error": error}


def _share(group: Sequence[Routed], started: float) -> None:
    """Add each one's equal share of the time spent since `started`: latency amortised over the batch."""
    if group:
        spent = (time.perf_counter() - started) * 1000 / len(group)
        for one in group:
            one.spent_ms += spent


def open(
    target: str, settings: JudgeSettings, live: Live | None = None, cache: str | None = None, student: str | None = None, tail: str | None = None
) -> TieredJudge:  # fmt: skip
    """The deployed system of a plan. cache, student, tail: in place of those the plan names. Raises `UsageError` when there is neither student nor tail judge.

    What is loaded then is not looked through by the garbage collector any more: with torch it takes 0.16 s [measured], in the middle of some answer.
    """
    plan = load_plan(target)
    folder = cache or (beside(target, f"cache:{plan.cache}").partition(":")[2] if plan.cache else None)
    student, tail = (given or (beside(target, named) if named else None) for given, named in ((student, plan.student), (tail, plan.tail)))
    if student is None and tail is None:
        raise UsageError(f"{target} names neither a student nor a tail judge", hint="make the plan again with --student URI, --tail URI or both")
    window = settings.batch_size * (1 if live else _WINDOW_BATCHES)
    system = TieredJudge(
        router=Router(target, plan),
        cache=open_cache(folder, settings.rulebook.hash, plan.expire_s) if folder else None,
        student=_asking(student, settings, live, window, tail is not None),
        tail=_asking(tail, settings, live, window, student is not None, live.most_waiting if live else inf),
        threshold=plan.threshold,
        ttl_s=plan.ttl_s,
        recent=Recent(live.remembered, plan.expire_s, live.retry_s, time.time) if live and tail else None,
        live=live,
        window=window,
        samples=settings.samples,
        plan_hash=plan.hash,
        name=f"tier:{Path(target).name}",
    )
    gc.unfreeze()  # a system that was replaced may have left something
    gc.collect()
    gc.freeze()
    return system


def _asking(uri: str | None, settings: JudgeSettings, live: Live | None, window: int, may_wait: bool, most_waiting: float = inf) -> Asking | None:
    """How a judge is asked. may_wait: under traffic the system starts without it, when it is a server that is down and another can answer."""
    if uri is None:
        return None
    if live is None:
        return Asking(open_judge(uri, settings), window)
    served = uri.startswith(("http://", "https://"))
    settings = replace(settings, timeout_s=min(settings.timeout_s, _PATIENCE * live.deadline_s))
    judge = open_or_wait(uri, settings, live.retry_s) if served and may_wait else open_judge(uri, settings)
    return Asking(judge, window, _NETWORK_THREADS if served else 1, most_waiting)
