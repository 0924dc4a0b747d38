"""Runs on the same pairs: paired differences, with intervals and a permutation test clustered by query, McNemar's test, and the rows that flipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lore_cli.rair import asymptotic
from lore_cli.rair.failures import Changes
from lore_cli.rair.intervals import LEVEL, bca, draw_sums, leave_one_out, swap_sums
from lore_cli.rair.metrics import METRICS, every_metric
from lore_cli.rair.report import TESTED, plain, slice_order
from lore_cli.rair.tally import Tally
from lore_cli.records import GRADES, RELEVANT, Pair, Verdict, row_of

Joined = tuple[Pair, Verdict | None]


def paired(runs: Sequence[Iterable[Joined]], tallies: Sequence[Tally], flips: list[dict[str, Any]], changes: Sequence[Changes] = ()) -> None:
    """Fill the tallies, one a run, with the same pairs in the same order, and `flips` with the pairs on which another run differs from the first in being right.

    changes: one for each run but the first, where such pairs are to be described. Runs in different orders are held in memory until their partners come.
    """
    for pair, verdicts in _partners([iter(run) for run in runs]):
        for tally, verdict in zip(tallies, verdicts, strict=True):
            tally.add(pair, verdict)
        first, *others = [verdict.grade if verdict else None for verdict in verdicts]
        for number, given in enumerate(others, 1):
            if (first == pair.grade) != (given == pair.grade):
                row = {"id": pair.id, "query": pair.query, "item_id": pair.item.id, "subset": row_of(pair).get("subset"), "gold": pair.grade, "a": first, "b": given}
                flips.append(row if len(others) == 1 else row | {"run": number})
        for change, verdict in zip(changes, verdicts[1:], strict=False):
            change.add(pair, verdicts[0], verdict)


def _partners(runs: Sequence[Iterator[Joined]]) -> Iterator[tuple[Pair, list[Verdict | None]]]:
    first, *others = runs
    waiting: list[dict[str, Verdict | None]] = [{} for _ in others]
    for pair, mine in first:
        verdicts = [mine]
        for other, kept in zip(others, waiting, strict=True):
            while pair.id not in kept:
                partner, verdict = next(other)  # every run holds every gold pair exactly once
                kept[partner.id] = verdict
            verdicts.append(kept.pop(pair.id))
        yield pair, verdicts


def comparisons(tallies: Sequence[Tally], draws: int, seed: int) -> list[dict[str, Any]]:
    """A document for each run but the first, which is a: `comparison` with p_holm beside p.

    p_holm: for all rows corrected for the number of runs; in slices for the number of slices and runs; always metric by metric.
    """
    documents = [comparison(tallies[0], other, draws, seed) for other in tallies[1:]]
    for whole in (True, False):
        entries = [entry for document in documents for entry in document["slices"] if (not entry["slice"]) == whole]
        for name in METRICS:
            _correct([entry["metrics"][name] for entry in entries if name in entry["metrics"]])
    return documents


def _correct(tests: list[dict[str, Any]]) -> None:
    import numpy

    for test, p in zip(tests, asymptotic.holm(numpy.array([test["p"] for test in tests])), strict=True):
        test["p_holm"] = plain(p, 6)


def comparison(one: Tally, other: Tally, draws: int, seed: int) -> dict[str, Any]:
    """Per slice and metric a, b, difference b - a with bounds, and p of a two-sided permutation test (a and b exchanged query by query).

    mcnemar: rows that only a or only b has right, by grade (acc4) and by side of relevance (acc2), with the exact p, which takes rows as independent.
    detectable: the smallest true difference that this comparison would show.
    """
    import numpy

    left, right = one.matrix(), other.matrix()
    names = [()] + sorted((key for key in one.slices if key in other.slices and key[0][0] != "tier"), key=slice_order)
    slices = []
    for key in names:
        rows = numpy.frombuffer(one.slices[key], dtype=numpy.int32) if key else None
        found = _differences(one.per_query(left, rows), other.per_query(right, rows), draws, seed)
        slices.append({"slice": dict(key), **found, "mcnemar": {name: _mcnemar(one, other, rows, same) for name, same in _RIGHT.items()}})
    return {"comparison": 1, "a": sorted(one.judges), "b": sorted(other.judges), "interval": {"method": "paired BCa bootstrap over queries", "level": LEVEL, "draws": draws, "seed": seed}, "slices": slices}


def _differences(first: Any, second: Any, draws: int, seed: int) -> dict[str, Any]:
    import numpy

    columns = first.shape[1]
    both = numpy.concatenate([first, second], axis=1)

    def difference(sums: Any) -> Any:
        return every_metric(sums[..., columns:]) - every_metric(sums[..., :columns])

    a, b, gap = every_metric(first.sum(0)), every_metric(second.sum(0)), difference(both.sum(0))
    low = high = numpy.full_like(gap, numpy.nan)
    without = difference(leave_one_out(both))
    if len(both) > 1:
        low, high = bca(gap, difference(draw_sums(both, draws, seed)), without)
    mine, theirs = swap_sums(first, second, draws, seed + 1)
    chance = numpy.abs(every_metric(theirs) - every_metric(mine)) >= numpy.abs(gap) - 1e-12
    p = (chance.sum(0) + 1) / (draws + 1)
    metrics = {
        name: {"a": plain(a[i], 10), "b": plain(b[i], 10), "difference": plain(gap[i], 10), "lo": plain(low[i], 6), "hi": plain(high[i], 6), "p": plain(p[i], 6)}
        for i, name in enumerate(METRICS)
        if not numpy.isnan(gap[i])
    }
    sizes = dict(zip(METRICS, asymptotic.detectable(asymptotic.standard_error(without)), strict=True))
    return {"n": int(first[:, :20].sum()), "queries": len(first), "metrics": metrics, "detectable": {name: plain(sizes[name], 6) for name in TESTED}}


_RIGHT = {
    "acc4": [gold == given for gold in GRADES for given in GRADES] + [False] * len(GRADES),
    "acc2": [(gold in RELEVANT) == (given in RELEVANT) for gold in GRADES for given in GRADES] + [False] * len(GRADES),
}  # by cell of a tally: whether the row is right


def _mcnemar(one: Tally, other: Tally, rows: Any, right: list[bool]) -> dict[str, Any]:
    """Exact McNemar test (binomial, two-sided) of the rows on which only one run is right."""
    import numpy
    from scipy.special import bdtr

    known = numpy.array(right)
    a, b = (known[numpy.frombuffer(tally.cell, dtype=numpy.int8)[slice(None) if rows is None else rows]] for tally in (one, other))
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))) if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": plain(p, 6)}
