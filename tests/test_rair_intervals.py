"""Intervals: against scipy.stats.bootstrap, in coverage, and at the edges."""

from __future__ import annotations

import itertools

import numpy
import pytest
from scipy import stats

from lore_cli.rair import intervals
from lore_cli.rair.metrics import COLUMNS, METRICS, NOT_SHARES, Sums, acc4, every_metric
from lore_cli.records import GRADES
from test_metrics import cells

SHARES = numpy.array([name not in NOT_SHARES for name in METRICS])


def clustered(seed: int, queries: int) -> numpy.ndarray:
    generator = numpy.random.default_rng(seed)
    blocks = []
    for _ in range(queries):
        skill, rows = generator.beta(4, 2), int(generator.integers(1, 7))
        gold = generator.choice(GRADES, rows)
        blocks.append(cells(list(gold), [g if generator.random() < skill else str(generator.choice(GRADES)) for g in gold]).sum(0))
    return numpy.array(blocks)


@pytest.mark.parametrize("name", ["acc4", "macro_f1", "qwk"])
def test_bounds_agree_with_scipy(name: str) -> None:
    """BCa of scipy.stats.bootstrap over the same queries, up to Monte-Carlo error; exactly where the draws are the same."""
    per_query, index = clustered(3, 60), list(METRICS).index(name)
    value, low, high = intervals.bounds(per_query, every_metric, SHARES, 4000, 1)

    def statistic(chosen: numpy.ndarray, axis: int = -1) -> numpy.ndarray:
        return every_metric(per_query[chosen.astype(int)].sum(axis if axis >= 0 else chosen.ndim + axis))[..., index]

    theirs = stats.bootstrap((numpy.arange(60),), statistic, n_resamples=4000, method="BCa", vectorized=True, rng=numpy.random.default_rng(2))
    assert value[index] == statistic(numpy.arange(60))
    assert low[index] == pytest.approx(theirs.confidence_interval.low, abs=0.012)
    assert high[index] == pytest.approx(theirs.confidence_interval.high, abs=0.012)
    same = stats.bootstrap((numpy.arange(60),), statistic, n_resamples=0, method="BCa", bootstrap_result=theirs)
    column = numpy.zeros((1,)) + value[index]
    ours = intervals.bca(column, theirs.bootstrap_distribution[:, None], every_metric(intervals.leave_one_out(per_query))[:, [index]])
    assert (ours[0][0], ours[1][0]) == pytest.approx((same.confidence_interval.low, same.confidence_interval.high), abs=1e-9)


def test_coverage_of_the_intervals() -> None:
    """95 % intervals hold the truth in about 95 % of simulated benchmarks with correlated rows; intervals over rows would not."""
    held, runs = 0, 300
    generator = numpy.random.default_rng(5)
    for run in range(runs):
        skill = generator.beta(4, 2, 80)
        right = generator.binomial(5, skill)
        per_query = numpy.zeros((80, len(COLUMNS)))
        per_query[:, COLUMNS.index("L4>L4")], per_query[:, COLUMNS.index("L4>L1")] = right, 5 - right
        _, low, high = intervals.bounds(per_query, lambda sums: acc4(Sums(sums))[..., None], numpy.array([True]), 300, run)
        held += low[0] <= 4 / 6 <= high[0]
    assert 0.91 <= held / runs <= 0.985


def test_bounds_at_the_edges() -> None:
    perfect = numpy.array([cells(["L4", "L2"], ["L4", "L2"]).sum(0)] * 20)
    value, low, high = intervals.bounds(perfect, every_metric, SHARES, 200, 0)
    at = list(METRICS).index("acc4")
    assert (value[at], high[at]) == (1, 1) and low[at] == pytest.approx(stats.binomtest(20, 20).proportion_ci(0.95, "exact").low)
    bias = list(METRICS).index("bias")
    assert (low[bias], value[bias], high[bias]) == (0, 0, 0)
    value, low, high = intervals.bounds(perfect[:1], every_metric, SHARES, 200, 0)
    assert value[at] == 1 and numpy.isnan(low[at]) and numpy.isnan(high[at])
    value, low, _ = intervals.bounds(perfect[:0], every_metric, SHARES, 200, 0)
    assert numpy.isnan(value).all() and numpy.isnan(low).all()


def test_same_seed_same_bounds() -> None:
    per_query = clustered(1, 30)
    one, other, third = (intervals.bounds(per_query, every_metric, SHARES, 300, seed) for seed in (4, 4, 5))
    assert all(numpy.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))
    assert not numpy.array_equal(one[1], third[1], equal_nan=True)


def test_swap_sums_exchange_whole_queries() -> None:
    first, second = clustered(1, 4), clustered(2, 4)
    mine, theirs = intervals.swap_sums(first, second, 50, 0)
    possible = {tuple(sum((b if bit else a) for a, b, bit in zip(first, second, bits, strict=True))) for bits in itertools.product((0, 1), repeat=4)}
    assert {tuple(row) for row in mine} <= possible and numpy.allclose(mine + theirs, first.sum(0) + second.sum(0))


def test_an_exact_bound_counts_only_the_queries_that_tell() -> None:
    """5 of 30 queries have an L1, all found: the bound of its recall is that of 5 queries, not of 30."""
    per_query = numpy.array([cells(["L1", "L4"], ["L1", "L4"]).sum(0)] * 5 + [cells(["L4"], ["L4"]).sum(0)] * 25)
    value, low, high = intervals.bounds(per_query, every_metric, SHARES, 300, 0)
    at = list(METRICS).index("recall_L1")
    assert (value[at], high[at]) == (1, 1) and low[at] == pytest.approx(stats.binomtest(5, 5).proportion_ci(0.95, "exact").low)


def test_a_share_that_is_always_0_has_an_upper_bound_above_0() -> None:
    """One query in 20 is given an L3 that is none: precision is 0 in every draw that has it, and undefined in the others."""
    per_query = numpy.array([cells(["L4"], ["L3"]).sum(0)] + [cells(["L4"], ["L4"]).sum(0)] * 19)
    value, low, high = intervals.bounds(per_query, every_metric, SHARES, 300, 0)
    at = list(METRICS).index("precision_L3")
    assert (value[at], low[at]) == (0, 0) and high[at] == pytest.approx(0.975)
