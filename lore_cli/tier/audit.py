"""How far the cache is from what the judge would say today: a sample of its entries, drawn as the traffic asks for them, judged again.

A draw takes a query by its traffic in the plan and one of its entries evenly. Draws are with replacement, so that each is an independent request and the
interval is that of a binomial share (Wilson's, 95 %). An entry drawn often is judged once.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lore_cli.errors import BadInput, require
from lore_cli.judges import Judge
from lore_cli.judges.cached import Entry, Store, item_hash, key_of
from lore_cli.records import RELEVANT, Pair


@dataclass(slots=True)
class Audit:
    """What came of the draws: compared, or not for one of `reasons`; of those compared, how many changed grade, and how many their side of relevance."""

    drawn: int
    distinct: int = 0
    compared: int = 0
    other_grade: int = 0
    other_side: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, Any]:
        """The audit as JSON."""
        return {
            "drawn": self.drawn,
            "distinct": self.distinct,
            "compared": self.compared,
            "not_compared": dict(sorted(self.reasons.items())),
            "disagreement": {name: _share(number, self.compared) for name, number in (("grade", self.other_grade), ("side", self.other_side))},
        }


def audit(
    store: Store, head: Mapping[str, int], pairs: Iterable[Pair], judge: Judge, draws: int, seed: int, track: Callable[[Iterable[Any]], Iterable[Any]] = iter
) -> Audit:
    """Judge a traffic-weighted sample of the entries again. head: query → traffic. pairs: the candidates, which hold the items' content.

    Memory: 50 bytes for each entry. Raises `BadInput` when no entry belongs to the head.
    """
    times = _drawn(store, head, draws, seed)
    found = Audit(draws, len(times))
    absent = set(times)
    asked: deque[tuple[Entry, int]] = deque()

    def sampled() -> Iterator[Pair]:
        for pair in pairs:
            key = key_of(pair.query, pair.item.id)
            if key not in absent:
                continue
            absent.remove(key)
            entry = store.get(key)
            if entry is None or entry.item != item_hash(pair.item):
                found.reasons["item changed"] += times[key]
                continue
            asked.append((entry, times[key]))
            yield pair

    for verdict in judge(track(sampled())):
        entry, number = asked.popleft()
        if verdict.error is not None:
            found.reasons["not judged"] += number
            continue
        before = entry.verdict.get("grade")
        found.compared += number
        found.other_grade += number * (before != verdict.grade)
        found.other_side += number * ((before in RELEVANT) != (verdict.grade in RELEVANT))
    if absent:
        found.reasons["no longer a candidate"] += sum(times[key] for key in absent)
    return found


def _drawn(store: Store, head: Mapping[str, int], draws: int, seed: int) -> dict[bytes, int]:
    """{key: how often it was drawn}."""
    numpy = require("numpy", "report")

    places = {query: place for place, query in enumerate(head)}
    keys, owners = [], []
    for key, entry in store.entries():
        if entry.query in places:
            keys.append(key)
            owners.append(places[entry.query])
    if not keys:
        raise BadInput("no entry of the cache has a head query of the plan", where=str(store.file), hint="is this the plan that the cache was refreshed by?")
    owner = numpy.array(owners)
    weights = numpy.array(list(head.values()), dtype=float)[owner] / numpy.bincount(owner)[owner]
    drawn = numpy.random.default_rng(seed).choice(len(keys), draws, p=weights / weights.sum())
    return {keys[place]: int(number) for place, number in zip(*numpy.unique(drawn, return_counts=True), strict=True)}


def _share(part: int, whole: int) -> dict[str, float] | None:
    """A share with Wilson's 95 % interval; None of nothing.

    >>> _share(0, 100)
    {'value': 0.0, 'lo': 0.0, 'hi': 0.037}
    """
    if not whole:
        return None
    z, share = 1.96, part / whole
    centre = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z * math.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole)) / (1 + z * z / whole)
    return {"value": round(share, 4), "lo": round(max(0.0, centre - half), 4), "hi": round(min(1.0, centre + half), 4)}


def text(found: Mapping[str, Any]) -> str:
    """The audit in one line."""
    missed = "".join(f", {number} {reason}" for reason, number in found["not_compared"].items())
    if not found["compared"]:
        return f"audit: of {found['drawn']} requests drawn none could be compared{missed}"
    grade, side = (f"{share['value']:.1%} [{share['lo']:.1%}, {share['hi']:.1%}]" for share in (found["disagreement"][name] for name in ("grade", "side")))
    return f"audit: {found['drawn']} requests drawn ({found['distinct']} pairs{missed}): the judge gives another grade for {grade}, the other side of relevance for {side}"
