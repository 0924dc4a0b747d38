"""Two runs on the same pairs: paired differences, with intervals and a permutation test clustered by query, and the rows that flipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lore_cli.errors import BadInput
from lore_cli.rair.intervals import LEVEL, bca, draw_sums, leave_one_out, swap_sums
from lore_cli.rair.metrics import METRICS, every_metric
from lore_cli.rair.report import plain, slice_order
from lore_cli.rair.tally import Tally
from lore_cli.records import Pair, Verdict, row_of

Joined = tuple[Pair, Verdict | None]


def paired(first: Iterable[Joined], second: Iterable[Joined], one: Tally, other: Tally, flips: list[dict[str, Any]]) -> None:
    """Fill both tallies with the same pairs in the same order, and `flips` with the pairs on which the runs differ in being right.

    Runs in different orders are held in memory until their partner comes. Raises `BadInput` when nothing is there to compare.
    """
    for pair, mine, theirs in _partners(iter(first), iter(second)):
        one.add(pair, mine)
        other.add(pair, theirs)
        given = [verdict.grade if verdict else None for verdict in (mine, theirs)]
        if (given[0] == pair.grade) != (given[1] == pair.grade):
            flips.append({"id": pair.id, "query": pair.query, "item_id": pair.item.id, "subset": row_of(pair).get("subset"), "gold": pair.grade, "a": given[0], "b": given[1]})
    if not one.cell:
        raise BadInput("no gold pairs", where="--gold", hint="an empty benchmark cannot be scored")


def _partners(first: Iterator[Joined], second: Iterator[Joined]) -> Iterator[tuple[Pair, Verdict | None, Verdict | None]]:
    waiting: dict[str, Verdict | None] = {}
    for pair, mine in first:
        while pair.id not in waiting:
            partner, verdict = next(second)  # both sides hold every gold pair exactly once
            waiting[partner.id] = verdict
        yield pair, mine, waiting.pop(pair.id)


def comparison(one: Tally, other: Tally, draws: int, seed: int) -> dict[str, Any]:
    """The document: per slice and metric a, b, difference b - a with bounds, and p of a two-sided permutation test (a and b exchanged query by query)."""
    import numpy

    left, right = one.matrix(), other.matrix()
    names = [()] + sorted((key for key in one.slices if key in other.slices and key[0][0] != "tier"), key=slice_order)
    slices = []
    for key in names:
        rows = numpy.frombuffer(one.slices[key], dtype=numpy.int32) if key else None
        slices.append({"slice": dict(key), **_differences(one.per_query(left, rows), other.per_query(right, rows), draws, seed)})
    return {"comparison": 1, "a": sorted(one.judges), "b": sorted(other.judges), "interval": {"method": "paired BCa bootstrap over queries", "level": LEVEL, "draws": draws, "seed": seed}, "slices": slices}


def _differences(first: Any, second: Any, draws: int, seed: int) -> dict[str, Any]:
    import numpy

    columns = first.shape[1]
    both = numpy.concatenate([first, second], axis=1)

    def difference(sums: Any) -> Any:
        return every_metric(sums[..., columns:]) - every_metric(sums[..., :columns])

    a, b, gap = every_metric(first.sum(0)), every_metric(second.sum(0)), difference(both.sum(0))
    low = high = numpy.full_like(gap, numpy.nan)
    if len(both) > 1:
        low, high = bca(gap, difference(draw_sums(both, draws, seed)), difference(leave_one_out(both)))
    mine, theirs = swap_sums(first, second, draws, seed + 1)
    chance = numpy.abs(every_metric(theirs) - every_metric(mine)) >= numpy.abs(gap) - 1e-12
    p = (chance.sum(0) + 1) / (draws + 1)
    metrics = {
        name: {"a": plain(a[i], 10), "b": plain(b[i], 10), "difference": plain(gap[i], 10), "lo": plain(low[i], 6), "hi": plain(high[i], 6), "p": plain(p[i], 6)}
        for i, name in enumerate(METRICS)
        if not numpy.isnan(gap[i])
    }
    return {"n": int(first[:, :20].sum()), "queries": len(first), "metrics": metrics}
