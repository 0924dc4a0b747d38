"""Replay a query log through a policy: traffic per tier, cache hits and freshness, page quality, cost.

GoodRate after LORE's two definitions. *Query GoodRate*: share of requests whose result page is good; a page is good when at least
80 % of the items it shows are L3 or L4 [ours; the paper's bar is not public]. *Item GoodRate*: mean share of shown items graded L3 or L4,
weighted by traffic. Four pages are compared, all made of the same graded candidates: the engine's own order, the same items
re-ranked by the verdicts' expected grade, the re-ranked page without what was judged L1 or L2 (an empty page counts as bad in both), and
the ideal: the page of relevant items alone, which no judge can better.
Intervals: bootstrap over queries, since the items of one query stand or fall together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lore_cli.errors import BadInput, require
from lore_cli.judges.cached import normalise
from lore_cli.judges.plan import TIERS, Plan, Router
from lore_cli.path.lexical import overlap
from lore_cli.records import GRADES, RELEVANT, Pair, Verdict, row_of
from lore_cli.tier import cost
from lore_cli.tier.log import Counted
from lore_cli.tier.status import AGE_LABELS, age_label

PAGES = ("engine", "reranked", "filtered", "ideal")
_UNJUDGED = 2.5  # where an item whose verdict failed ranks: after the relevant ones, before the irrelevant ones
_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """How a page is made and judged. size: items shown. good_share: least share of relevant ones on a good page."""

    size: int = 10
    good_share: float = 0.8


@dataclass(slots=True)
class Request:
    """A query of the log with its traffic (requests; scaled up when only a sample of its tier is replayed) and its candidates."""

    query: str
    tier: str
    weight: float
    pairs: list[Pair]


@dataclass(frozen=True, slots=True)
class Ground:
    """What every plan is replayed on. gold, reference: grades by (normalised query, item id). per_tier: see `requests_of`."""

    counted: Counted
    candidates: Sequence[Pair]
    gold: dict[tuple[str, str], str]
    reference: dict[tuple[str, str], str]
    page: Page
    per_tier: int
    seed: int


def requests_of(counted: Counted, router: Router, candidates: Iterable[Pair], per_tier: int, seed: int) -> list[Request]:
    """The log's queries that have candidates. per_tier: replay at most so many queries of each tier, drawn by `seed` (0: all of them).

    A sampled tier's weights are scaled so that it keeps its traffic. Raises `BadInput` when no candidate belongs to the log.
    """
    numpy = require("numpy", "report")

    counts = dict(counted.frame.iter_rows())
    found: dict[str, Request] = {}
    for pair in candidates:
        query = normalise(pair.query)
        if query in counts:
            found.setdefault(query, Request(query, router.tier(query), float(counts[query]), [])).pairs.append(pair)
    if not found:
        raise BadInput("no candidate belongs to a query of the log", field="query", hint="give the candidates that were retrieved for this log's queries")
    chosen = []
    draw = numpy.random.default_rng(seed)
    for tier in TIERS:
        members = sorted((request for request in found.values() if request.tier == tier), key=lambda request: request.query)
        if per_tier and len(members) > per_tier:
            sample = [members[index] for index in sorted(draw.choice(len(members), per_tier, replace=False))]
            scale = sum(request.weight for request in members) / sum(request.weight for request in sample)
            for request in sample:
                request.weight *= scale
            members = sample
        chosen += members
    return chosen


def gold_grades(pairs: Iterable[Pair]) -> dict[tuple[str, str], str]:
    """(normalised query, item id) → grade, the first given. Raises `BadInput` when there is none."""
    gold: dict[tuple[str, str], str] = {}
    for pair in pairs:
        if pair.grade is not None:
            gold.setdefault((normalise(pair.query), pair.item.id), pair.grade)
    if not gold:
        raise BadInput("no row has a grade", field="grade", hint="--gold takes pairs with human grades")
    return gold


def recorded_grades(verdicts: Iterable[Verdict]) -> dict[tuple[str, str], str]:
    """(normalised query, item id) → grade of recorded verdicts, failed ones left out."""
    return {(normalise(verdict.query), verdict.item_id): verdict.grade for verdict in verdicts if verdict.grade is not None}


def report(
    requests: Sequence[Request], verdicts: dict[str, Verdict], gold: dict[tuple[str, str], str], plan: Plan, counted: Counted, page: Page, seed: int, reference: dict[tuple[str, str], str]
) -> dict[str, Any]:
    """The replay's report. verdicts: by pair id. reference: the tail model's recorded grades by (normalised query, item id); may be empty."""
    total = counted.traffic
    graded = [request for request in requests if any((request.query, pair.item.id) in gold for pair in request.pairs)]
    return {
        "plan": plan.hash,
        "page": {"size": page.size, "good_share": page.good_share},
        "log": {"requests": total, "queries": counted.frame.height},
        "replayed": {
            "queries": len(requests),
            "pairs": sum(len(request.pairs) for request in requests),
            "traffic_share": _share(sum(request.weight for request in requests), total),
            "graded_queries": len(graded),
            "graded_traffic_share": _share(sum(request.weight for request in graded), total),
        },
        "tiers": [_tier(name, [request for request in requests if request.tier == name], verdicts, gold, reference, plan) for name in TIERS],
        "cache": _cache(requests, verdicts),
        "goodrate": _goodrate(graded, verdicts, gold, page, seed),
        "latency_ms": cost.latency(requests, verdicts),
        "cost": cost.cost(requests, verdicts),
    }


def engine_order(pairs: Sequence[Pair]) -> list[Pair]:
    """The engine's page: by the candidates' `rank` where every one has it, else by lexical overlap, best first; ties by item id."""
    ranks = [row_of(pair).get("rank") for pair in pairs]
    if all(isinstance(rank, (int, float)) for rank in ranks):
        return [pair for _, _, pair in sorted(zip(ranks, (pair.item.id for pair in pairs), pairs, strict=True), key=lambda part: part[:2])]
    return sorted(pairs, key=lambda pair: (-overlap(pair.query, pair.item), pair.item.id))


def expected_grade(verdict: Verdict) -> float:
    """Mean grade in 1..4 under the verdict's scores, or its grade; a failed verdict gives the neutral rank between L2 and L3."""
    if verdict.scores:
        return sum(verdict.scores.get(grade, 0.0) * number for number, grade in enumerate(GRADES, 1))
    return float(GRADES.index(verdict.grade) + 1) if verdict.grade else _UNJUDGED


def weighted_interval(values: Any, weights: Any, seed: int) -> tuple[Any, Any, Any]:
    """Weighted column means of `values` (queries × measures), and the 2.5 % and 97.5 % bounds of a bootstrap over its rows (1,000 draws)."""
    numpy = require("numpy", "report")

    draw, rows = numpy.random.default_rng(seed), len(weights)
    weighted = values * weights[:, None]
    means = []
    for _ in range(0, _DRAWS, 50):
        times = draw.multinomial(rows, numpy.full(rows, 1 / rows), size=50)
        means.append((times @ weighted) / (times @ weights)[:, None])
    low, high = numpy.quantile(numpy.concatenate(means), [0.025, 0.975], axis=0)
    return weighted.sum(0) / weights.sum(), low, high


def _goodrate(graded: Sequence[Request], verdicts: dict[str, Verdict], gold: dict[tuple[str, str], str], page: Page, seed: int) -> dict[str, Any]:
    """Query and Item GoodRate of the four pages, how many items the mean page shows, and what the others gain over the first, in points and relative."""
    numpy = require("numpy", "report")

    if not graded:
        raise BadInput("no candidate of the log's queries has a grade in --gold", field="grade", hint="--gold must grade the candidates' (query, item) pairs")
    rows, lengths = [], []
    for request in graded:
        shown = engine_order([pair for pair in request.pairs if (request.query, pair.item.id) in gold])
        good = {pair.id: gold[request.query, pair.item.id] in RELEVANT for pair in shown}
        ranked = sorted(shown, key=lambda pair: -expected_grade(verdicts[pair.id]))
        filtered = [pair for pair in ranked if verdicts[pair.id].grade in RELEVANT or verdicts[pair.id].grade is None]
        ideal = [pair for pair in shown if good[pair.id]]
        orders = [order[: page.size] for order in (shown, ranked, filtered, ideal)]
        rows.append([part for order in orders for part in _page_values([good[pair.id] for pair in order], page)])
        lengths.append([len(order) for order in orders])
    values, weights = numpy.array(rows, dtype=float), numpy.array([request.weight for request in graded])
    gains = values[:, 2:] - numpy.tile(values[:, :2], len(PAGES) - 1)
    mean, low, high = weighted_interval(numpy.concatenate([values, gains], axis=1), weights, seed)
    cells = [{"value": round(float(mean[i]), 4), "lo": round(float(low[i]), 4), "hi": round(float(high[i]), 4)} for i in range(len(mean))]
    pairs = [dict(zip(("query", "item"), cells[i : i + 2], strict=True)) for i in range(0, len(cells), 2)]
    items = numpy.average(lengths, axis=0, weights=weights)
    rates: dict[str, Any] = {name: {"shown": round(float(count), 2), **pair} for name, count, pair in zip(PAGES, items, pairs, strict=False)}
    for name, gain in zip(PAGES[1:], pairs[len(PAGES) :], strict=True):
        relative = {unit: round(gain[unit]["value"] / rates["engine"][unit]["value"], 4) if rates["engine"][unit]["value"] else None for unit in gain}
        rates[name] = {**rates[name], "gain": gain, "relative_gain": relative}
    return rates


def _page_values(good: Sequence[bool], page: Page) -> tuple[float, float]:
    """(1 when the page is good, share of its items that are)."""
    share = sum(good) / len(good) if good else 0.0
    return float(bool(good) and share >= page.good_share), share


def _tier(
    name: str, requests: Sequence[Request], verdicts: dict[str, Verdict], gold: dict[tuple[str, str], str], reference: dict[tuple[str, str], str], plan: Plan
) -> dict[str, Any]:
    judged = [(request.query, pair, verdicts[pair.id]) for request in requests for pair in request.pairs]
    return {
        "tier": name,
        "queries": plan.tiers[name].queries,
        "traffic_share": plan.tiers[name].share,
        "replayed_queries": len(requests),
        "pairs": len(judged),
        "failed": sum(verdict.error is not None for _, _, verdict in judged),
        "answered_by": dict(sorted(Counter(cost.answered_by(verdict) for _, _, verdict in judged).items())),
        "latency_ms": cost.quantiles([verdict.latency_ms for _, _, verdict in judged if verdict.latency_ms is not None]),
        "against_gold": _agreement([(verdict.grade, gold.get((query, pair.item.id))) for query, pair, verdict in judged]),
        "against_model": _agreement([(verdict.grade, reference.get((query, pair.item.id))) for query, pair, verdict in judged]),
    }


def _agreement(grades: Sequence[tuple[str | None, str | None]]) -> dict[str, Any]:
    """Share of rows with the same grade (acc4) and on the same side of relevance (acc2), where both are known."""
    known = [(one, other) for one, other in grades if one and other]
    if not known:
        return {"pairs": 0, "acc2": None, "acc4": None}
    acc2 = sum((one in RELEVANT) == (other in RELEVANT) for one, other in known) / len(known)
    return {"pairs": len(known), "acc2": round(acc2, 4), "acc4": round(sum(one == other for one, other in known) / len(known), 4)}


def _cache(requests: Sequence[Request], verdicts: dict[str, Verdict]) -> dict[str, Any]:
    """Of the head's traffic (each request shows all its candidates): share answered by the cache, why not, and how old the answers are."""
    hits = asked = 0.0
    misses: Counter[str] = Counter()
    ages: Counter[str] = Counter()
    for request in (request for request in requests if request.tier == "head"):
        for pair in request.pairs:
            row = row_of(verdicts[pair.id])
            asked += request.weight
            if row["route"] == "cache":
                hits += request.weight
                ages[age_label(row["age_s"])] += 1
            else:
                first = row["route"].partition(" > ")[0]
                misses[first.removeprefix("cache: ") if first.startswith("cache") else "no cache in the plan"] += 1
    return {"hit_rate": _share(hits, asked), "misses": dict(sorted(misses.items())), "ages": {label: ages[label] for label in AGE_LABELS}}


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
