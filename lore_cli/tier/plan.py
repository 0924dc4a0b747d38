"""Cut a query log into head, middle and tail.

LORE says which tier is served how; where the cuts lie is ours and is read off the shop's own log: the head is the smallest set of most
frequent queries that holds `head_traffic` of all requests, the tail the least frequent ones that together hold at most `tail_traffic`.
Queries of one count are cut in alphabetical order, so that the same log always gives the same plan.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson

from lore_cli.errors import UsageError
from lore_cli.judges.cached import NORMALISATION
from lore_cli.judges.plan import PLAN_VERSION, TIERS, Plan, QueryList, TierShare
from lore_cli.stream import write_bytes_atomic, write_json_atomic
from lore_cli.tier.log import Counted
from lore_cli.tier.personal import KINDS, personal

_PATH_SCHEMES = ("cache", "student", "replay", "hf", "vllm", "tier")


@dataclass(frozen=True, slots=True)
class Deployment:
    """Who answers: a cache folder and judge URIs as typed (paths relative to the working directory), and their limits."""

    cache: str | None
    student: str | None
    tail: str | None
    threshold: float
    ttl_s: float
    expire_s: float


def cut(counted: Counted, head_traffic: float, tail_traffic: float, min_count: int) -> dict[str, Any]:
    """The frame of each tier. Queries under `min_count` and personal ones (personal.py) are never listed by name: they are tail, and stay out of caches.

    Raises `UsageError` when the two shares overlap.
    """
    import polars

    if head_traffic + tail_traffic > 1:
        raise UsageError(f"--head-traffic {head_traffic:g} and --tail-traffic {tail_traffic:g} add up to more than 1")
    total = counted.traffic
    frame = counted.frame.with_columns(
        before=(polars.col("count").cum_sum() - polars.col("count")) / total,
        rest=polars.col("count").cum_sum(reverse=True) / total,
        personal=polars.Series([personal(query) if count >= min_count else None for query, count in counted.frame.iter_rows()], dtype=polars.String),
    )
    listed = (polars.col("count") >= min_count) & polars.col("personal").is_null()
    in_head = listed & (polars.col("before") < head_traffic - 1e-12)
    in_tail = ~in_head & (~listed | (polars.col("rest") <= tail_traffic + 1e-12))
    parts = {"head": frame.filter(in_head), "middle": frame.filter(~in_head & ~in_tail), "tail": frame.filter(in_tail)}
    return {name: part.select("query", "count", "personal") for name, part in parts.items()}


def write_plan(path: str, counted: Counted, targets: dict[str, float], deployment: Deployment) -> Plan:
    """Write plan.json with `plan.head.jsonl` and `plan.middle.jsonl` beside it, the plan last."""
    tiers = cut(counted, targets["head_traffic"], targets["tail_traffic"], int(targets["min_count"]))
    left_out = tiers["tail"]["personal"].drop_nulls().value_counts()
    stem = path.removesuffix(".json")
    lists = {name: _write_list(f"{stem}.{name}.jsonl", tiers[name].select("query", "count")) for name in ("head", "middle")}
    plan = Plan(
        version=PLAN_VERSION,
        normalisation=NORMALISATION,
        log={"rows": counted.rows, **dict.fromkeys(KINDS, 0), **dict(left_out.iter_rows())},
        targets=targets,
        queries=counted.frame.height,
        traffic=counted.traffic,
        tiers={name: _share(tiers[name], counted.traffic) for name in TIERS},
        head=lists["head"],
        middle=lists["middle"],
        cache=_relative(path, f"cache:{deployment.cache}").partition(":")[2] if deployment.cache else None,
        student=_relative(path, deployment.student),
        tail=_relative(path, deployment.tail),
        threshold=deployment.threshold,
        ttl_s=deployment.ttl_s,
        expire_s=deployment.expire_s,
    )
    plan = msgspec.convert(msgspec.to_builtins(plan), Plan)  # whole numbers become floats where the type says so, as when read back
    plan = msgspec.structs.replace(plan, hash=plan.content_hash())
    write_json_atomic(path, msgspec.to_builtins(plan))
    return plan


def table(plan: Plan) -> str:
    """The tiers as text, one line each."""
    lines = [f"{'tier':<8}{'queries':>12}{'traffic':>14}{'share':>9}{'counts':>20}  answered by"]
    by = {
        "head": f"cache {plan.cache}" if plan.cache else plan.student or plan.tail or "-",
        "middle": plan.student or plan.tail or "-",
        "tail": plan.tail or plan.student or "-",
    }
    for name in TIERS:
        tier = plan.tiers[name]
        counts = "-" if tier.least_count is None else f"{tier.most_count} to {tier.least_count}"
        lines.append(f"{name:<8}{tier.queries:>12}{tier.traffic:>14}{tier.share:>8.1%} {counts:>20}  {by[name]}")
    left_out = ", ".join(f"{plan.log[kind]} {kind}" for kind in KINDS if plan.log.get(kind))
    if left_out:
        lines.append(f"warning: queries that look personal are left out of plan and cache: {left_out}")
    return "\n".join(lines)


def _write_list(path: str, frame: Any) -> QueryList:
    content = b"".join(orjson.dumps({"query": query, "count": count}) + b"\n" for query, count in frame.iter_rows())
    write_bytes_atomic(path, content)
    return QueryList(Path(path).name, hashlib.sha256(content).hexdigest())


def _share(frame: Any, total: int) -> TierShare:
    traffic = int(frame["count"].sum() or 0)
    least, most = (int(frame["count"].min()), int(frame["count"].max())) if frame.height else (None, None)
    return TierShare(frame.height, traffic, round(traffic / total, 6), least, most)


def _relative(plan_path: str, uri: str | None) -> str | None:
    """A judge URI as the plan keeps it: a path as typed is relative to the working directory, in the plan to the plan's folder."""
    scheme, _, target = (uri or "").partition(":")
    hub_id = scheme in ("hf", "vllm") and not Path(target).exists()
    if uri is None or scheme not in _PATH_SCHEMES or "://" in target or Path(target).is_absolute() or hub_id:
        return uri
    return f"{scheme}:{os.path.relpath(target, Path(plan_path).resolve().parent)}"
