"""Intervals clustered by query: the pairs of one query stand or fall together, so queries are drawn, not rows.

The bootstrap works on per-query sums (see metrics.py): a draw is a weighted sum of them, whatever the number of rows. Bounds are bias-corrected and
accelerated (BCa; Efron 1987, as scipy.stats.bootstrap computes them), because Macro-F1 of a small sample is biased downwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

LEVEL = 0.95
_BLOCK = 8_000_000  # how often each query is drawn, so many at a time: 64 MB


def draw_sums(per_query: Array, draws: int, seed: int) -> Array:
    """`draws` bootstrap sums, [draws, columns], of per-query sums [queries, columns]: as many queries drawn with replacement as there are."""
    import numpy

    queries = len(per_query)
    generator = numpy.random.default_rng(seed)
    used = numpy.flatnonzero(per_query.any(0))  # most columns are empty: do not multiply zeros
    sums = numpy.zeros((draws, per_query.shape[1]))
    counted = per_query[:, used]
    block = max(1, min(draws, _BLOCK // max(queries, 1)))
    times = numpy.empty((block, queries))
    for first in range(0, draws, block):
        count = min(block, draws - first)
        for row in range(count):
            times[row] = numpy.bincount(generator.integers(queries, size=queries, dtype=numpy.int32), minlength=queries)
        sums[first : first + count, used] = times[:count] @ counted
    return sums


def swap_sums(first: Array, second: Array, draws: int, seed: int) -> tuple[Array, Array]:
    """Sums of two runs, [draws, columns] each, after exchanging their results for every query by a coin flip: the paired, clustered permutation test."""
    import numpy

    generator = numpy.random.default_rng(seed)
    gap, change = second - first, numpy.zeros((draws, first.shape[1]))
    block = max(1, _BLOCK // max(len(first), 1))
    for start in range(0, draws, block):
        change[start : start + block] = generator.integers(0, 2, size=(min(block, draws - start), len(first)), dtype=numpy.int8).astype(float) @ gap
    return first.sum(0) + change, second.sum(0) - change


def leave_one_out(per_query: Array) -> Array:
    """Sums without each query in turn, [queries, columns]."""
    return per_query.sum(0) - per_query


def bounds(per_query: Array, statistic: Callable[[Array], Array], shares: Array, draws: int, seed: int, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """(value, lower, upper), each [statistics], of `statistic`, which maps sums [..., columns] to [..., statistics]. shares: which of them are shares.

    NaN where there is no answer: no query at all; bounds of a single query; a statistic that is undefined.
    """
    import numpy

    value = statistic(per_query.sum(0))
    if len(per_query) < 2:
        return value, numpy.full_like(value, numpy.nan), numpy.full_like(value, numpy.nan)
    drawn = statistic(draw_sums(per_query, draws, seed))
    without = statistic(leave_one_out(per_query))
    low, high = bca(value, drawn, without, level)
    telling = (~numpy.isnan(statistic(per_query))).sum(0)
    return value, *_one_sided(value, low, high, shares & _constant(drawn), telling, level)


def bca(value: Array, drawn: Array, without: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """BCa bounds, [statistics], from the estimate, the bootstrap draws [draws, statistics] and the leave-one-out estimates [clusters, statistics].

    Draws in which a statistic is undefined are left out. Where the draws lie all on one side of the estimate the correction is undefined
    and plain percentiles are given.
    """
    import numpy
    from scipy.special import ndtr, ndtri

    low, high = numpy.full_like(value, numpy.nan), numpy.full_like(value, numpy.nan)
    tail = numpy.array([(1 - level) / 2, 1 - (1 - level) / 2])
    for index in range(len(value)):
        column = drawn[:, index][~numpy.isnan(drawn[:, index])]
        if numpy.isnan(value[index]) or not len(column):
            continue
        below = ((column < value[index]).mean() + (column <= value[index]).mean()) / 2
        at = tail
        if 0 < below < 1:
            bias = ndtri(below)
            skew = _acceleration(without[:, index])
            shifted = bias + ndtri(tail)
            at = ndtr(bias + shifted / (1 - skew * shifted))
        low[index], high[index] = numpy.quantile(column, at)
    return low, high


def _acceleration(without: Array) -> float:
    """Skewness of the leave-one-out estimates / 6: Σd³ / (6 (Σd²)^1.5) with d their mean minus each."""
    import numpy

    known = without[~numpy.isnan(without)]
    gaps = known.mean() - known if len(known) else known
    spread = float((gaps**2).sum())
    return float((gaps**3).sum() / (6 * spread**1.5)) if spread > 1e-30 else 0.0


def _constant(drawn: Array) -> Array:
    """Which statistics are the same in every draw in which they are defined."""
    import numpy

    known = ~numpy.isnan(drawn)
    return known.any(0) & (numpy.where(known, drawn, -numpy.inf).max(0) == numpy.where(known, drawn, numpy.inf).min(0))


def _one_sided(value: Array, low: Array, high: Array, constant: Array, queries: Array, level: float) -> tuple[Array, Array]:
    """Where every draw of a share is 1 (or 0) resampling sees no variation; the exact binomial bound over queries is given instead [ours].

    With all n queries right, the share of queries that are is at least ((1 - level) / 2)^(1/n) at this level (Clopper-Pearson).
    queries: n for each statistic, the queries on which it is defined by themselves.
    """
    import numpy

    reach = ((1 - level) / 2) ** (1 / numpy.maximum(queries, 1))
    return numpy.where(constant & (value == 1), reach, low), numpy.where(constant & (value == 0), 1 - reach, high)
