"""What needs no draws: an analytic interval of Macro-F1 beside the bootstrap's, the smallest difference a benchmark shows, tests of many slices at once.

Everything is clustered by query, as the bootstrap is: see intervals.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lore_cli.rair.intervals import LEVEL, leave_one_out
from lore_cli.rair.metrics import Sums, macro_f1, ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

POWER = 0.8


def macro_f1_interval(per_query: Array, level: float = LEVEL) -> tuple[float, float, float]:
    """(value, lower, upper) of Macro-F1 by the delta method, with a sandwich variance over queries; bounds are NaN for fewer than two queries.

    F1 of a grade is 2·hits / (support + given), so a query moves it by (2·hits_q - F1·(support_q + given_q)) / (support + given); the mean over the
    grades is the query's influence u, and the variance n/(n-1)·Σu², with Student's t on n-1 degrees. With every row a query of its own this is
    Takahashi et al. 2022 (Applied Intelligence 52), but for n/(n-1) and t, which matter for few queries [ours].
    """
    import numpy
    from scipy.special import stdtrit

    sums, each = Sums(per_query.sum(0)), Sums(per_query)
    value, queries = float(macro_f1(sums)), len(per_query)
    if queries < 2 or numpy.isnan(value):
        return value, numpy.nan, numpy.nan
    moved = ratio(2 * each.hits - numpy.nan_to_num(sums.f1) * (each.support + each.given), sums.support + sums.given)
    influence = numpy.nansum(moved, axis=1) / (~numpy.isnan(sums.f1)).sum()
    reach = float(stdtrit(queries - 1, (1 + level) / 2) * numpy.sqrt(queries / (queries - 1) * (influence**2).sum()))
    return value, value - reach, value + reach


def standard_error(without: Array) -> Array:
    """Jackknife standard error, [statistics], of the leave-one-out estimates [queries, statistics]: √((n-1)/n · Σ(mean - each)²). NaN where fewer than two are defined."""
    import numpy

    known = ~numpy.isnan(without)
    count = known.sum(0)
    mean = ratio(numpy.where(known, without, 0).sum(0), count)
    spread = (numpy.where(known, without - mean, 0) ** 2).sum(0)
    return numpy.where(count > 1, numpy.sqrt(spread * ratio(count - 1, count)), numpy.nan)


def detectable(error: Array, level: float = LEVEL, power: float = POWER) -> Array:
    """The smallest true difference that a test at `level` shows with chance `power`, given the standard error of the difference: (z_level + z_power)·error."""
    from scipy.special import ndtri

    return (ndtri((1 + level) / 2) + ndtri(power)) * error


def against_rest(part: Array, whole: Array, statistic: Callable[[Array], Array]) -> tuple[Array, Array]:
    """(difference, p), each [statistics], of a slice against all other rows; part, whole: sums of the same queries, [queries, columns], zeros where a query has none.

    p: two-sided, of a t test whose error is the jackknife's over queries, with as many degrees as the side of fewer queries has, less one [ours].
    NaN where there is nothing to test: no other rows, one query on a side, no spread.
    """
    import numpy
    from scipy.special import stdtr

    rest = whole - part
    columns = part.shape[1]

    def difference(sums: Array) -> Array:
        return statistic(sums[..., :columns]) - statistic(sums[..., columns:])

    both = numpy.concatenate([part, rest], axis=1)
    gap, error = difference(both.sum(0)), standard_error(difference(leave_one_out(both)))
    degrees = min(int(side.any(1).sum()) for side in (part, rest)) - 1
    if degrees < 1:
        return gap, numpy.full_like(gap, numpy.nan)
    return gap, 2 * stdtr(degrees, -numpy.abs(ratio(gap, error)))


def holm(p: Array) -> Array:
    """p values of several tests, [tests], adjusted so that the chance of any false alarm keeps to the level (Holm 1979); NaN are no tests.

    >>> import numpy
    >>> [float(one) for one in holm(numpy.array([0.01, 0.04, numpy.nan, 0.03]))]
    [0.03, 0.06, nan, 0.06]
    """
    import numpy

    adjusted = numpy.full(len(p), numpy.nan)
    order = [index for index in numpy.argsort(p) if not numpy.isnan(p[index])]
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, float(p[index]) * (len(order) - place)))
        adjusted[index] = highest
    return adjusted
