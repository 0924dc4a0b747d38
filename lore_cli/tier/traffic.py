"""How a log's traffic is spread over its queries, and what of tomorrow's it tells.

Intervals say what chance alone does to a log of this size when requests come independently; days and campaigns move a shop's traffic more than that,
which `churn` against an earlier plan shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lore_cli.errors import require
from lore_cli.tier.log import Counted

_DRAWS = 1_000
_FEWEST = 50  # queries that a power law is fitted to, at the least [ours]
_STARTS = 60  # least counts tried


def curve(counted: Counted, seed: int) -> list[dict[str, Any]]:
    """Share of the traffic that the k most frequent queries hold, for k = 1, 2, 5, 10 …

    With 95 % intervals: a bootstrap of the requests, 1,000 multinomial draws.
    """
    numpy = require("numpy", "report")

    counts, total = counted.frame["count"].to_numpy(), counted.traffic
    sizes = [size for power in range(10) for size in (10**power, 2 * 10**power, 5 * 10**power) if size < len(counts)] + [len(counts)]
    summed = numpy.cumsum(counts)[numpy.array(sizes) - 1]
    between = numpy.diff(summed, prepend=0) / total
    draws = numpy.random.default_rng(seed).multinomial(total, between, size=_DRAWS).cumsum(axis=1) / total
    low, high = numpy.quantile(draws, [0.025, 0.975], axis=0)
    return [
        {"queries": size, "share": float(share), "lo": float(lo), "hi": float(hi)} for size, share, lo, hi in zip(sizes, summed / total, low, high, strict=True)
    ]


def never_seen(counted: Counted) -> dict[str, Any]:
    """Share of tomorrow's requests whose query this log does not hold: Good-Turing's N1 / N, with Esty's 95 % interval (Annals of Statistics 11(3), 1983).

    `singletons` 0 in a log without one: it was cut at some count, or is too small to tell.
    """
    counts, total = counted.frame["count"], counted.traffic
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    half = 1.96 * math.sqrt(max(0.0, once * (1 - once / total) + 2 * twice)) / total
    share = once / total
    return {"share": share, "lo": max(0.0, share - half), "hi": min(1.0, share + half), "singletons": once}


def zipf(counted: Counted) -> dict[str, Any] | None:
    """The power law of the counts, p(x) ~ x^-alpha from some least count on; None for fewer than 50 queries or equal counts.

    By maximum likelihood, the least count by the smallest Kolmogorov-Smirnov distance (Clauset, Shalizi, Newman, SIAM Review 51(4), 2009).
    `exponent`: Zipf's, of count against rank, 1 / (alpha - 1).
    """
    numpy = require("numpy", "report")

    values, times = numpy.unique(counted.frame["count"].to_numpy(), return_counts=True)
    above = times[::-1].cumsum()[::-1]
    starts = numpy.flatnonzero((above >= _FEWEST) & (numpy.arange(len(values)) < len(values) - 1))
    fits = (
        [_fit(values[start:], times[start:]) for start in starts[numpy.unique(numpy.linspace(0, len(starts) - 1, _STARTS).astype(int))]] if len(starts) else []
    )
    if not fits:
        return None
    best = min(fits, key=lambda fit: fit["distance"])
    half = 1.96 * (best["alpha"] - 1) / math.sqrt(best["queries"])
    exponent = {"exponent": 1 / (best["alpha"] - 1), "lo": 1 / (best["alpha"] - 1 + half), "hi": 1 / max(1e-9, best["alpha"] - 1 - half)}
    return exponent | best


def _fit(values: Any, times: Any) -> dict[str, Any]:
    """The discrete power law of counts from `values[0]` on: alpha that maximises the likelihood, and the distance of its distribution function."""
    numpy, optimize, zeta = require("numpy", "report"), require("scipy.optimize", "report"), require("scipy.special", "report").zeta

    least, queries = float(values[0]), int(times.sum())
    logs = float((times * numpy.log(values)).sum())
    alpha = float(optimize.minimize_scalar(lambda a: queries * math.log(zeta(a, least)) + a * logs, bounds=(1.0001, 8.0), method="bounded").x)
    fitted = 1 - zeta(alpha, values + 1.0) / zeta(alpha, least)
    return {"alpha": alpha, "least_count": int(values[0]), "queries": queries, "distance": float(numpy.abs(times.cumsum() / queries - fitted).max())}


def churn(counted: Counted, head: Mapping[str, int], previous_head: Mapping[str, int], previous_middle: Mapping[str, int]) -> dict[str, Any]:
    """What moved since an earlier plan. head: today's, with counts.

    kept_traffic: share of today's head traffic whose queries were head before. new_traffic: share of all of today's requests whose query the
    earlier plan did not list: new ones, and those that were tail.
    """
    kept = head.keys() & previous_head.keys()
    listed = sum(count for query, count in counted.frame.iter_rows() if query in previous_head or query in previous_middle)
    return {
        "entered": len(head) - len(kept),
        "left": len(previous_head) - len(kept),
        "stayed": len(kept),
        "kept_traffic": sum(head[query] for query in kept) / (sum(head.values()) or 1),
        "new_traffic": 1 - listed / counted.traffic,
    }


def text(document: Mapping[str, Any]) -> str:
    """The figures in words."""
    unseen, law, moved = document["never_seen"], document["zipf"], document.get("churn")
    lines = [
        f"never-seen queries: {unseen['share']:.1%} [{unseen['lo']:.1%}, {unseen['hi']:.1%}] of the requests to come"
        if unseen["singletons"]
        else "never-seen queries: not to be told, since no query of this log came once"
    ]
    if law is None:
        lines.append("Zipf's law: too few queries, or counts that are all equal")
    else:
        lines.append(
            f"Zipf exponent {law['exponent']:.2f} [{law['lo']:.2f}, {law['hi']:.2f}] for the {law['queries']} queries with a count of {law['least_count']} and more"
        )
    if moved is not None:
        lines.append(
            f"head since the earlier plan: {moved['stayed']} stayed ({moved['kept_traffic']:.1%} of its traffic), {moved['entered']} entered, {moved['left']} left; "
            f"{moved['new_traffic']:.1%} of all requests are for queries it did not list"
        )
    return "\n".join(lines)
