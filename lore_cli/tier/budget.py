"""Where to cut: what each size of the head costs to keep fresh, how fast requests are then answered, and how well.

One refresh judges every pair of the head once per time to live; the tail is judged as it comes. Speed and quality of the tiers are those that a
replay measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lore_cli.errors import BadInput, UsageError
from lore_cli.tier.log import Counted

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # heads that the table shows beside the one chosen


@dataclass(frozen=True, slots=True)
class Economy:
    """What answers cost. pairs_per_query: candidates judged for each head query. seconds, price: of the model, for 1,000 pairs; None: not told.

    ms, quality: by tier (head, middle, tail), milliseconds a pair and share on the right side of relevance (acc2); empty: not measured.
    """

    pairs_per_query: int
    seconds: float | None
    price: float | None
    ms: Mapping[str, float]
    quality: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Budget:
    """The most one refresh may take: pairs, hours of the model, money; None for no limit."""

    pairs: int | None = None
    hours: float | None = None
    money: float | None = None


def measured(document: Any, pairs_per_query: int, seconds: float | None, price: float | None) -> Economy:
    """An economy with the speeds and qualities of a report of `lore-tier replay`. Raises `BadInput` when it is none."""
    try:
        tiers = document["tiers"]
        ms = {tier["tier"]: tier["latency_ms"]["mean"] for tier in tiers if tier["latency_ms"]}
        quality = {tier["tier"]: tier["against_gold"]["acc2"] for tier in tiers if tier["against_gold"]["acc2"] is not None}
        alone = document["cost"]["model_alone"]
    except (KeyError, TypeError) as error:
        raise BadInput(f"not a report of lore-tier replay: no {error}", field="--measured", hint="lore-tier replay … -o FILE") from error
    return Economy(pairs_per_query, alone if seconds is None else seconds, price, ms, quality)


def head_for_budget(counted: Counted, budget: Budget, economy: Economy, min_count: int) -> float:
    """The share of traffic of the largest head that the budget keeps fresh.

    Raises `UsageError` when the budget needs a rate that is not told, or is too small for one query.
    """
    limits = [] if budget.pairs is None else [float(budget.pairs)]
    for limit, rate, name, option in (
        (None if budget.hours is None else budget.hours * 3600, economy.seconds, "--budget-hours", "--seconds or --measured"),
        (budget.money, economy.price, "--budget-money", "--price"),
    ):
        if limit is not None and not rate:
            raise UsageError(f"{name} needs what 1,000 pairs take", hint=f"pass {option}")
        if limit is not None:
            limits.append(1000 * limit / rate)
    queries = int(min(limits) / economy.pairs_per_query + 1e-9)
    if not queries:
        raise UsageError(
            f"the budget is {min(limits):.0f} pairs, one query has {economy.pairs_per_query}", hint="give more, or pass a smaller --pairs-per-query"
        )
    counts = counted.frame["count"]
    queries = min(queries, int((counts >= min_count).sum()))
    return int(counts.head(queries).sum()) / counted.traffic


def head_for_latency(target_ms: float, economy: Economy, tail_traffic: float) -> float:
    """The smallest head share with which the mean pair takes `target_ms`. Raises `UsageError` when no cut does that, or nothing was measured."""
    if not {"head", "middle", "tail"} <= economy.ms.keys():
        raise UsageError("--target-ms needs the milliseconds of each tier", hint="pass --measured REPLAY.json, a report of lore-tier replay")
    head, middle, tail = (economy.ms[name] for name in ("head", "middle", "tail"))
    least = tail_traffic * tail + (1 - tail_traffic) * min(head, middle)
    if target_ms < least:
        raise UsageError(
            f"--target-ms {target_ms:g}: no cut is faster than {least:.3f} ms with --tail-traffic {tail_traffic:g}",
            hint="lower --tail-traffic, or measure a faster student",
        )
    slow = tail_traffic * tail + (1 - tail_traffic) * middle
    return 0.0 if slow <= target_ms or middle <= head else (slow - target_ms) / (middle - head)


def cuts(counted: Counted, chosen: float, tail_traffic: float, economy: Economy) -> list[dict[str, Any]]:
    """A row for each head share worth seeing, the chosen one among them.

    queries; pairs, hours and money of a refresh; ms and quality of the mean pair. None: not known.
    """
    return [_row(counted, share, min(tail_traffic, 1 - share), economy) | {"chosen": share == chosen} for share in sorted({*SHARES, chosen})]


def _row(counted: Counted, share: float, tail: float, economy: Economy) -> dict[str, Any]:
    counts = counted.frame["count"]
    before = counts.cum_sum() - counts
    queries = int((before < (share - 1e-12) * counted.traffic).sum())
    pairs = queries * economy.pairs_per_query
    shares = {"head": share, "middle": 1 - share - tail, "tail": tail}
    return {
        "head_traffic": share,
        "queries": queries,
        "pairs": pairs,
        "hours": None if economy.seconds is None else pairs * economy.seconds / 3.6e6,
        "money": None if economy.price is None else pairs * economy.price / 1000,
        "ms": _mean(shares, economy.ms),
        "quality": _mean(shares, economy.quality),
    }


def _mean(shares: Mapping[str, float], values: Mapping[str, float]) -> float | None:
    known = all(name in values for name, share in shares.items() if share > 0)
    return math.fsum(share * values[name] for name, share in shares.items() if share > 0) if known else None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The cuts as text."""
    lines = [f"{'':2}{'head traffic':>12}{'queries':>10}{'pairs':>12}{'hours':>9}{'money':>9}{'ms/pair':>9}{'acc2':>8}"]
    for row in rows:
        cells = "".join(
            f"{'-' if row[name] is None else format(row[name], form):>{width}}"
            for name, form, width in (("hours", ".2f", 9), ("money", ".2f", 9), ("ms", ".2f", 9), ("quality", ".3f", 8))
        )
        lines.append(f"{'> ' if row['chosen'] else '  '}{row['head_traffic']:>12.1%}{row['queries']:>10}{row['pairs']:>12}{cells}")
    return "\n".join(lines)
