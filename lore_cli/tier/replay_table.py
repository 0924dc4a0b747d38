"""A replay's report as text, and several plans side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lore_cli.tier.replay import PAGES


def table(document: Mapping[str, Any]) -> str:
    """The report of one plan."""
    lines = [f"{'tier':<8}{'traffic':>9}{'pairs':>8}{'ms/pair':>10}{'acc4':>8}{'acc2':>8}  answered by"]
    for tier in document["tiers"]:
        latency, gold = tier["latency_ms"], tier["against_gold"]
        who = ", ".join(f"{name} {count}" for name, count in tier["answered_by"].items()) or "-"
        lines.append(
            f"{tier['tier']:<8}{tier['traffic_share']:>8.1%} {tier['pairs']:>7}{latency['mean'] if latency else 0:>10.3f}{_number(gold['acc4'])}{_number(gold['acc2'])}  {who}"
        )
    lines.append(f"{'page':<10}{'items':>7}{'Query GoodRate':>26}{'Item GoodRate':>26}")
    for name in PAGES:
        cells = document["goodrate"][name]
        lines.append(f"{name:<10}{cells['shown']:>7.1f}" + "".join(_interval(cells[unit]).rjust(26) for unit in ("query", "item")))
    cost, hit, whole = document["cost"], document["cache"]["hit_rate"], document["latency_ms"]["request"]
    against = f", {cost['share_of_model_alone']:.1%} of the model alone" if cost["share_of_model_alone"] is not None else ""
    lines.append(f"cache hits {'-' if hit is None else f'{hit:.1%}'} of the head's traffic; {cost['tiered']:.3f} s for 1,000 pairs{against}")
    each = cost["per_1000_requests"]
    lines.append(
        f"a request takes {whole['p50']:.2f} ms (p95 {whole['p95']:.2f}, p99 {whole['p99']:.2f}); 1,000 take {each['seconds']:.2f} s and {each['model_pairs']:.0f} pairs of the model"
    )
    return "\n".join(lines)


def side_by_side(documents: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each plan, by its path."""
    width = max(len(path) for path in documents) + 2
    lines = [f"{'plan':<{width}}{'head':>7}{'hits':>8}{'s/1,000 pairs':>15}{'model pairs':>13}{'p99 ms':>9}  Item GoodRate, filtered"]
    for path, one in documents.items():
        head, hit, cost = one["tiers"][0]["traffic_share"], one["cache"]["hit_rate"], one["cost"]
        cells = f"{head:>7.1%}{'-' if hit is None else f'{hit:.1%}':>8}{cost['tiered']:>15.3f}{cost['per_1000_requests']['model_pairs']:>13.0f}{one['latency_ms']['request']['p99']:>9.2f}"
        lines.append(f"{path:<{width}}{cells}  {_interval(one['goodrate']['filtered']['item'])}")
    return "\n".join(lines)


def _interval(cell: Mapping[str, float]) -> str:
    return f"{cell['value']:.3f} [{cell['lo']:.3f}, {cell['hi']:.3f}]"


def _number(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:.3f}':>8}"
