"""Cut a query log into head, middle and tail.

LORE says which tier is served how; where the cuts lie is ours and is read off the shop's own log: the head is the smallest set of most
frequent queries that holds `head_traffic` of all requests, the tail the least frequent ones that together hold at most `tail_traffic`.
Queries of one count are cut in alphabetical order, so that the same log always gives the same plan.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson

from lore_cli.errors import BadInput, UsageError
from lore_cli.judges.cached import NORMALISATION, normalise
from lore_cli.judges.plan import PLAN_VERSION, TIERS, Plan, QueryList, TierShare
from lore_cli.records import Record, row_of
from lore_cli.stream import chunks, write_bytes_atomic, write_json_atomic

_CHUNK = 200_000
_MOST = 10**15  # 9,000 such rows still add up within 64 bits
_QUERY_COUNT, _PAIR, _COUNTED_PAIR = "query counts", "pairs", "pairs with counts"
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


class LogRow(Record, frozen=True):
    """A row of a query log: a query with its count, or a pair that was shown (its count may be missing: once)."""

    query: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """A log added up: `frame` has columns query (normalised), count; most frequent first. `rows`: log rows read."""

    frame: Any
    rows: int

    @property
    def traffic(self) -> int:
        return int(self.frame["count"].sum() or 0)


def count_queries(rows: Iterable[LogRow]) -> Counted:
    """Add a log up by normalised query. Memory: one row per distinct query, whatever the log's length.

    Query counts are summed. Pairs with counts tell one request once for each item shown, so a query has the largest count among its
    pairs; pairs without counts are counted, one each [ours]. Raises `BadInput` for a missing count or one under 1, for a log that mixes these
    forms, and for one without rows.
    """
    import polars

    total, read, form = polars.DataFrame(schema={"query": polars.String, "count": polars.Int64}), 0, ""
    for chunk in chunks(_checked(rows), _CHUNK):
        forms = {one for _, _, one in chunk} | ({form} if form else set())
        if len(forms) > 1:
            raise BadInput(f"rows of different forms in one log: {', '.join(sorted(forms))}", where="log", hint="plan from one of them")
        form = forms.pop()
        frame = polars.DataFrame({"query": [query for query, _, _ in chunk], "count": [count for _, count, _ in chunk]}, schema=total.schema)
        joined = polars.concat([total, frame]).group_by("query")
        total = joined.agg(polars.col("count").max() if form == _COUNTED_PAIR else polars.col("count").sum())
        read += len(chunk)
    if not read:
        raise BadInput("the log has no rows", hint="give rows of query and count, or pairs")
    return Counted(total.sort(["count", "query"], descending=[True, False]), read)


def _checked(rows: Iterable[LogRow]) -> Iterator[tuple[str, int, str]]:
    for number, row in enumerate(rows, 1):
        query, pair = normalise(row.query), "item" in row_of(row)
        if row.count is None and not pair:
            raise BadInput("required field is missing", where="log row", line=number, field="count", hint="a log has rows of query and count")
        if row.count is not None and not 1 <= row.count <= _MOST:
            raise BadInput(f"{row.count} for query '{row.query}'; 1 to {_MOST} is allowed", where="log row", line=number, field="count")
        if not query:
            raise BadInput("nothing is left of the query after normalisation", where="log row", line=number, field="query")
        yield query, row.count or 1, (_PAIR if row.count is None else _COUNTED_PAIR) if pair else _QUERY_COUNT


def cut(counted: Counted, head_traffic: float, tail_traffic: float, min_count: int) -> dict[str, Any]:
    """The frame of each tier. Queries under `min_count` are never listed by name: they are tail (keeps rare, maybe personal, queries out of caches).

    Raises `UsageError` when the two shares overlap.
    """
    import polars

    if head_traffic + tail_traffic > 1:
        raise UsageError(f"--head-traffic {head_traffic:g} and --tail-traffic {tail_traffic:g} add up to more than 1")
    total = counted.traffic
    frame = counted.frame.with_columns(
        before=(polars.col("count").cum_sum() - polars.col("count")) / total,
        rest=polars.col("count").cum_sum(reverse=True) / total,
    )
    listed = polars.col("count") >= min_count
    in_head = listed & (polars.col("before") < head_traffic - 1e-12)
    in_tail = ~in_head & (~listed | (polars.col("rest") <= tail_traffic + 1e-12))
    parts = {"head": frame.filter(in_head), "middle": frame.filter(~in_head & ~in_tail), "tail": frame.filter(in_tail)}
    return {name: part.select("query", "count") for name, part in parts.items()}


def write_plan(path: str, counted: Counted, targets: dict[str, float], deployment: Deployment) -> Plan:
    """Write plan.json with `plan.head.jsonl` and `plan.middle.jsonl` beside it, the plan last."""
    tiers = cut(counted, targets["head_traffic"], targets["tail_traffic"], int(targets["min_count"]))
    stem = path.removesuffix(".json")
    lists = {name: _write_list(f"{stem}.{name}.jsonl", tiers[name]) for name in ("head", "middle")}
    plan = Plan(
        version=PLAN_VERSION,
        normalisation=NORMALISATION,
        log={"rows": counted.rows},
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
