"""What an operator sees of a cache: the generations kept, which is served, how old its verdicts are, what of the head it holds."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from lore_cli.errors import BadInput, Missing
from lore_cli.judges.cached import open_generation, read_info
from lore_cli.judges.plan import Plan, listed_queries
from lore_cli.tier import cache

_AGES = ((3600, "under 1 h"), (86400, "1 h to 1 day"), (7 * 86400, "1 to 7 days"), (30 * 86400, "7 to 30 days"))
_OLDEST = "30 days and over"
AGE_LABELS = (*(label for _, label in _AGES), _OLDEST)


def age_label(age_s: float) -> str:
    """The bar of the freshness histogram that an age belongs to."""
    return next((label for limit, label in _AGES if age_s < limit), _OLDEST)



def status(folder: Path, plan_path: str | None = None, plan: Plan | None = None, now: float | None = None) -> dict[str, Any]:
    """The state of a cache folder. With a plan: how many head queries have an entry, how many entries are due or expired. Raises `Missing` for no cache."""
    numbers, served = cache.generation_numbers(folder), cache.served_number(folder)
    if not numbers and served is None:
        raise Missing(f"{folder}: no cache", hint="lore-tier refresh makes the first generation")
    document: dict[str, Any] = {
        "cache": str(folder),
        "served": served,
        "generations": [_generation(folder, number, served) for number in numbers],
        "unfinished": [left.name for left in cache.unfinished_folders(folder)],
    }
    if served is not None:
        document["served_state"] = _served(folder, served, plan_path, plan, time.time() if now is None else now)
    return document


def _generation(folder: Path, number: int, served: int | None) -> dict[str, Any]:
    place = cache.generation_folder(folder, number)
    try:
        info = msgspec.to_builtins(read_info(place))
        size = (place / "verdicts.lmdb").stat().st_size
    except (BadInput, Missing, OSError) as error:
        return {"number": number, "served": number == served, "damaged": str(error).splitlines()[0]}
    return {"number": number, "served": number == served, "bytes": size, **{name: info[name] for name in ("entries", "judged", "kept", "failed", "created", "plan", "rulebook", "judge")}}


def _served(folder: Path, number: int, plan_path: str | None, plan: Plan | None, now: float) -> dict[str, Any]:
    try:
        info, store = open_generation(cache.generation_folder(folder, number))
        ages: Counter[str] = Counter()
        grades: Counter[str] = Counter()
        queries: set[str] = set()
        due = expired = 0
        for _, entry in store.entries():
            age = entry.age_s(now)
            ages[age_label(age)] += 1
            grades[entry.verdict.get("grade", "?")] += 1
            queries.add(entry.query)
            due += plan is not None and age > plan.ttl_s
            expired += plan is not None and age > plan.expire_s
    except (BadInput, Missing) as error:
        return {"damaged": str(error).splitlines()[0]}
    state: dict[str, Any] = {
        "entries": info.entries,
        "queries": len(queries),
        "ages": {label: ages[label] for label in AGE_LABELS},
        "grades": dict(sorted(grades.items())),
    }
    if plan is not None and plan_path is not None:
        head = list(listed_queries(plan_path, plan.head))
        held = sum(count for query, count in head if query in queries)
        state |= {
            "head_queries": len(head),
            "head_queries_held": sum(query in queries for query, _ in head),
            "head_traffic_held": round(held / (sum(count for _, count in head) or 1), 4),
            "due": due,
            "expired": expired,
        }
    return state


def table(document: dict[str, Any]) -> str:
    """The state as text."""
    lines = [f"{'':2}{'generation':>10}{'entries':>10}{'judged':>9}{'kept':>9}{'failed':>8}{'MB':>8}  created"]
    for one in document["generations"]:
        mark = "> " if one["served"] else "  "
        if "damaged" in one:
            lines.append(f"{mark}{one['number']:>10}  damaged: {one['damaged']}")
            continue
        created = time.strftime("%Y-%m-%d %H:%M", time.gmtime(one["created"]))
        lines.append(f"{mark}{one['number']:>10}{one['entries']:>10}{one['judged']:>9}{one['kept']:>9}{one['failed']:>8}{one['bytes'] / 1e6:>8.1f}  {created} UTC")
    state = document.get("served_state", {})
    if "damaged" in state:
        lines.append(f"the generation served is damaged: {state['damaged']}")
    for label, count in state.get("ages", {}).items():
        lines.append(f"  {label:<18}{count:>10}  {'█' * round(40 * count / max(1, state['entries']))}")
    if "head_queries" in state:
        lines.append(f"head queries held: {state['head_queries_held']} of {state['head_queries']} ({state['head_traffic_held']:.1%} of the head's traffic); due {state['due']}, expired {state['expired']}")
    if document["unfinished"]:
        lines.append(f"unfinished: {', '.join(document['unfinished'])} (the next refresh takes it up)")
    return "\n".join(lines)
