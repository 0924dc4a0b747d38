"""`tier:PLAN`: the deployed system, cache, student and model behind one routing policy.

LORE (§ deployment): head queries are answered from verdicts judged offline, middle ones by a small distilled model, the rest by the
language model. Ours: the cuts are measured from the shop's own log (`lore-tier plan`); a head pair that the cache cannot answer goes to the
student; a student that is not sure (top probability under the plan's threshold) hands over to the model. Every verdict says its tier and,
in `route`, why it was answered where it was.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import orjson

from lore_cli.errors import BadInput, Missing, UsageError
from lore_cli.judges import Judge, JudgeSettings, open_judge
from lore_cli.judges.cached import NORMALISATION, Cache, normalise, verdict_of
from lore_cli.records import Pair, Verdict, parse, row_of
from lore_cli.stream import chunks, read_json

Tier = Literal["head", "middle", "tail"]
TIERS: tuple[Tier, ...] = ("head", "middle", "tail")
PLAN_VERSION = 1
_WINDOW_BATCHES = 8  # pairs routed together: enough for full batches in each tier


class TierShare(msgspec.Struct, frozen=True):
    """One tier: how many queries, their traffic, its share of all traffic, and the least and greatest count among them."""

    queries: int
    traffic: int
    share: float
    least_count: int | None
    most_count: int | None


class QueryList(msgspec.Struct, frozen=True):
    """A JSONL file of queries beside the plan (`query`, `count`), most frequent first."""

    path: str
    sha256: str


class Plan(msgspec.Struct, frozen=True):
    """plan.json: which queries are head and middle (all others are tail), and who answers each tier.

    Paths in judge URIs are relative to the plan's folder. threshold: student's least top probability. ttl_s: age at which
    `refresh` judges an entry again; expire_s: age at which it is no longer served. hash: over everything else.
    """

    version: int
    normalisation: str
    log: dict[str, int]
    targets: dict[str, float]
    queries: int
    traffic: int
    tiers: dict[str, TierShare]
    head: QueryList
    middle: QueryList
    cache: str | None
    student: str | None
    tail: str | None
    threshold: float
    ttl_s: float
    expire_s: float
    hash: str = ""

    def content_hash(self) -> str:
        """16 hex digits over all fields but `hash`."""
        content = msgspec.to_builtins(msgspec.structs.replace(self, hash=""))
        return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def load_plan(path: str | Path) -> Plan:
    """Read and check a plan. Raises `Missing` for no such file, `BadInput` for one that was edited, is of another version or is malformed."""
    document = read_json(path, "a tier plan")
    again = "make it with lore-tier plan"
    if isinstance(document, dict) and document.get("version") not in (None, PLAN_VERSION):
        raise BadInput(f"version {document['version']}; this version of lore reads {PLAN_VERSION}", where=str(path), hint=again)
    try:
        plan = msgspec.convert(document, Plan)
    except msgspec.ValidationError as error:
        raise BadInput(f"not a tier plan: {error}", where=str(path), hint=again) from error
    if plan.hash != plan.content_hash():
        raise BadInput("was edited after it was made: its hash does not match its content", where=str(path), field="hash", hint="change a plan by lore-tier plan --force")
    if plan.normalisation != NORMALISATION:
        raise BadInput(f"'{plan.normalisation}'; this version of lore normalises by '{NORMALISATION}'", where=str(path), field="normalisation", hint=again)
    return plan


def listed_queries(plan_path: str | Path, listed: QueryList) -> Iterator[tuple[str, int]]:
    """The (normalised query, count) rows of a plan's list. Raises `Missing`, and `BadInput` when the file is not the one the plan was made with."""
    file = Path(plan_path).resolve().parent / listed.path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Missing(f"{file}: {error.strerror}", hint="it belongs to the plan: keep them together, or make the plan again") from error
    if hashlib.sha256(content).hexdigest() != listed.sha256:
        raise BadInput("is not the list the plan was made with", where=str(file), hint="make the plan again")
    for line in content.splitlines():
        row = orjson.loads(line)
        yield row["query"], row["count"]


def beside(plan_path: str | Path, uri: str) -> str:
    """A judge URI of a plan with its path made absolute; a hub id (`hf:ORG/NAME`) that is no folder beside the plan stays."""
    scheme, _, target = uri.partition(":")
    if scheme in ("http", "https", "rulebook") or not target or Path(target).is_absolute():
        return uri
    resolved = Path(os.path.normpath(Path(plan_path).resolve().parent / target))
    if scheme in ("hf", "vllm") and not resolved.exists():
        return uri
    return f"{scheme}:{resolved}"


class Router:
    """Which tier a query belongs to. Memory: about 100 bytes for each head and middle query."""

    def __init__(self, plan_path: str | Path, plan: Plan) -> None:
        self._tiers: dict[str, Tier] = {query: "head" for query, _ in listed_queries(plan_path, plan.head)}
        self._tiers.update((query, "middle") for query, _ in listed_queries(plan_path, plan.middle))

    def tier(self, query: str) -> Tier:
        """`tail` for every query the plan does not list, never seen ones included."""
        return self._tiers.get(normalise(query), "tail")


@dataclass
class _Routed:
    """A pair on its way: where it belongs, what has been answered, and why there."""

    pair: Pair
    tier: Tier
    route: str = ""
    verdict: Verdict | None = None
    spent_ms: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class TieredJudge:
    """Routes windows of pairs, sends each tier's share to its judge in one go, and answers in the order asked."""

    router: Router
    cache: Cache | None
    student: Judge | None
    tail: Judge | None
    threshold: float
    window: int
    samples: int
    plan_hash: str
    name: str
    clock: Callable[[], float] = time.time

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        for window in chunks(pairs, self.window):
            yield from self._window(window)

    def _window(self, pairs: list[Pair]) -> Iterator[Verdict]:
        routed = [_Routed(pair, self.router.tier(pair.query)) for pair in pairs]
        if self.cache is not None:
            self._look_up([one for one in routed if one.tier == "head"])
        to_student = [one for one in routed if one.verdict is None and (one.tier != "tail" or self.tail is None)]
        to_model = [one for one in routed if one.verdict is None and one.tier == "tail" and self.tail is not None]
        if self.student is not None:
            self._ask(self.student, to_student, "student")
            if self.tail is not None:
                to_model += [one for one in to_student if self._unsure(one)]
        else:
            to_model += to_student
        if self.tail is not None:
            self._ask(self.tail, to_model, "model")
        for one in routed:
            yield self._answer(one)

    def _look_up(self, head: list[_Routed]) -> None:
        assert self.cache is not None
        self.cache.follow()
        started, now = time.perf_counter(), self.clock()
        for one in head:
            found = self.cache.look_up(one.pair, now)
            if found.entry is None:
                one.route = f"cache: {found.reason}"
                continue
            repeated = {"samples": [found.entry.verdict.get("grade")] * self.samples} if self.samples else {}
            one.verdict = verdict_of(found.entry, one.pair, self.name, **repeated)
            one.route, one.extra = "cache", {"age_s": round(found.age_s or 0.0)}
        _share(head, started)

    def _unsure(self, one: _Routed) -> bool:
        """Whether the student's answer goes on to the model; notes why."""
        verdict = one.verdict
        if verdict is None or verdict.error:
            one.route += ": failed"
            return True
        top = max(verdict.scores.values()) if verdict.scores else 1.0
        if top >= self.threshold:
            return False
        one.route += f": {top:.2f} is under {self.threshold:g}"
        return True

    def _ask(self, judge: Judge, group: list[_Routed], who: str) -> None:
        if not group:
            return
        started = time.perf_counter()
        for one, verdict in zip(group, judge(one.pair for one in group), strict=True):
            one.verdict = verdict
            one.route = f"{one.route} > {who}" if one.route else who
        _share(group, started)

    def _answer(self, one: _Routed) -> Verdict:
        if one.verdict is None:
            raise RuntimeError("a pair was routed to nobody")
        row = {**row_of(one.verdict), "judge": self.name, "tier": one.tier, "route": one.route, **one.extra, "latency_ms": one.spent_ms}
        return parse(Verdict, row)

    def identity(self) -> dict[str, str]:
        """The plan, and what each of the three is."""
        identity = {"judge": "tier", "plan": self.plan_hash}
        if self.cache is not None:
            identity["cache.generation"] = str(self.cache.info.number)
        for name, judge in (("student", self.student), ("tail", self.tail)):
            if judge is not None:
                identity |= {f"{name}.{key}": value for key, value in judge.identity().items()}
        return identity


def _share(group: list[_Routed], started: float) -> None:
    """Add each one's equal share of the time spent since `started`: latency amortised over the batch."""
    if group:
        spent = (time.perf_counter() - started) * 1000 / len(group)
        for one in group:
            one.spent_ms += spent


def open(target: str, settings: JudgeSettings) -> TieredJudge:
    """The deployed system of a plan. Raises `UsageError` when the plan names neither a student nor a tail judge."""
    plan = load_plan(target)
    if plan.student is None and plan.tail is None:
        raise UsageError(f"{target} names neither a student nor a tail judge", hint="make the plan again with --student URI, --tail URI or both")
    cache = Cache(beside(target, f"cache:{plan.cache}").partition(":")[2], settings.rulebook.hash, plan.expire_s) if plan.cache else None
    return TieredJudge(
        router=Router(target, plan),
        cache=cache,
        student=open_judge(beside(target, plan.student), settings) if plan.student else None,
        tail=open_judge(beside(target, plan.tail), settings) if plan.tail else None,
        threshold=plan.threshold,
        window=settings.batch_size * _WINDOW_BATCHES,
        samples=settings.samples,
        plan_hash=plan.hash,
        name=f"tier:{Path(target).name}",
    )
