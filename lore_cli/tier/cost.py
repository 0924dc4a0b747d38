"""What answers take under a policy: milliseconds of a pair and of a request, seconds of a thousand, and how much of it is the model's.

Everything is weighted by traffic and made of the latencies that verdicts carry: measured in this process, amortised over the batch a pair was answered in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lore_cli.errors import require
from lore_cli.judges.plan import TIERS
from lore_cli.records import Verdict, row_of

if TYPE_CHECKING:
    from lore_cli.tier.replay import Request


def answered_by(verdict: Verdict) -> str:
    """`cache`, `student` or `model`: the last station of the verdict's route."""
    return str(row_of(verdict).get("route", "?")).rpartition(" > ")[2].partition(":")[0]


def quantiles(values: Sequence[float], weights: Sequence[float] | None = None) -> dict[str, float] | None:
    """Mean, p50, p95 and p99; None of nothing. weights: how often each value counts; evenly without them."""
    numpy = require("numpy", "report")

    if not len(values):
        return None
    shares = numpy.ones(len(values)) if weights is None else numpy.asarray(weights)
    found = numpy.asarray(values)[(order := numpy.argsort(values))]
    at = numpy.searchsorted(numpy.cumsum(shares[order]) / shares.sum(), [0.5, 0.95, 0.99], side="left")
    p50, p95, p99 = found[numpy.minimum(at, len(found) - 1)]
    return {
        "mean": round(float(numpy.average(values, weights=shares)), 4),
        "p50": round(float(p50), 4),
        "p95": round(float(p95), 4),
        "p99": round(float(p99), 4),
    }


def latency(requests: Sequence[Request], verdicts: dict[str, Verdict]) -> dict[str, Any]:
    """Of the traffic: milliseconds of a pair, and of a request that asks for all its candidates at once."""
    pairs = [(verdicts[pair.id].latency_ms or 0.0, request.weight) for request in requests for pair in request.pairs]
    whole = [(sum(verdicts[pair.id].latency_ms or 0.0 for pair in request.pairs), request.weight) for request in requests]
    return {name: quantiles(*zip(*rows, strict=True)) for name, rows in (("pair", pairs), ("request", whole))}


def cost(requests: Sequence[Request], verdicts: dict[str, Verdict]) -> dict[str, Any]:
    """Seconds of this process for 1,000 pairs and for 1,000 requests of live traffic, against judging all of it with the model.

    The model's rate is measured on the pairs it answered here. model_pairs: pairs of 1,000 requests that the model judges live, whatever one costs.
    Judging the head ahead of time is not in it: that is once per pair and time to live, however often the pair is shown.
    """
    spent: defaultdict[str, float] = defaultdict(float)
    shown: defaultdict[str, float] = defaultdict(float)
    model: list[float] = []
    by_model = 0.0
    for request in requests:
        for pair in request.pairs:
            verdict = verdicts[pair.id]
            spent[request.tier] += request.weight * (verdict.latency_ms or 0.0)
            shown[request.tier] += request.weight
            if answered_by(verdict) == "model":
                by_model += request.weight
                model += [] if verdict.latency_ms is None else [verdict.latency_ms]
    tiered = sum(spent.values()) / sum(shown.values())
    alone = sum(model) / len(model) if model else None
    asked = sum(request.weight for request in requests)
    return {
        "unit": "seconds per 1,000 pairs",
        "tiers": {tier: round(spent[tier] / shown[tier], 4) for tier in TIERS if shown[tier]},
        "tiered": round(tiered, 4),
        "model_alone": round(alone, 4) if alone is not None else None,
        "share_of_model_alone": round(tiered / alone, 4) if alone else None,
        "per_1000_requests": {"seconds": round(sum(spent.values()) / asked, 4), "model_pairs": round(1000 * by_model / asked, 1)},
    }
