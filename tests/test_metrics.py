"""Metrics and intervals against independent implementations on randomised inputs, and at the edges."""

from __future__ import annotations

import itertools
import warnings

import numpy
import pytest
from scipy import stats
from sklearn import metrics as sk

from lore_cli.rair import intervals
from lore_cli.rair.metrics import COLUMNS, METRICS, NOT_SHARES, chance_of_any, every_metric, majority_share
from lore_cli.records import GRADES

SHARES = numpy.array([name not in NOT_SHARES for name in METRICS])


def cells(gold: list[str], given: list[str | None]) -> numpy.ndarray:
    """One row of columns per judged pair."""
    values = numpy.zeros((len(gold), len(COLUMNS)))
    for row, (one, other) in enumerate(zip(gold, given, strict=True)):
        values[row, COLUMNS.index(f"{one}>{other or '-'}")] = 1
    return values


def measured(gold: list[str], given: list[str | None]) -> dict[str, float]:
    return dict(zip(METRICS, every_metric(cells(gold, given).sum(0)), strict=True))


def draw(seed: int, rows: int, grades: tuple[str, ...] = GRADES) -> tuple[list[str], list[str]]:
    generator = numpy.random.default_rng(seed)
    gold = generator.choice(grades, rows)
    return list(gold), [one if generator.random() < 0.5 else str(generator.choice(grades)) for one in gold]


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_scikit_learn(seed: int) -> None:
    grades = [GRADES, GRADES, ("L2", "L4"), ("L1", "L3", "L4")][seed % 4]
    gold, given = draw(seed, [7, 50, 400][seed % 3], grades)
    ours = measured(gold, given)
    relevant, judged = [one in ("L3", "L4") for one in gold], [one in ("L3", "L4") for one in given]
    theirs = {
        "acc4": sk.accuracy_score(gold, given),
        "acc2": sk.accuracy_score(relevant, judged),
        "macro_f1": sk.f1_score(gold, given, average="macro"),
        "weighted_f1": sk.f1_score(gold, given, average="weighted"),
        "qwk": sk.cohen_kappa_score(gold, given, weights="quadratic", labels=list(GRADES)),
    }
    precision, recall, f1, _ = sk.precision_recall_fscore_support(gold, given, labels=list(GRADES), zero_division=numpy.nan)
    for index, grade in enumerate(GRADES):
        theirs |= {f"precision_{grade}": precision[index], f"recall_{grade}": recall[index], f"f1_{grade}": f1[index]}
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
    distance = numpy.array([GRADES.index(b) - GRADES.index(a) for a, b in zip(gold, given, strict=True)])
    assert ours["within1"] == pytest.approx((abs(distance) <= 1).mean())
    assert ours["bias"] == pytest.approx(distance.mean())


def test_unjudged_rows_are_no_grade() -> None:
    gold, given = ["L1", "L4", "L4", "L3"], ["L1", "L4", None, None]
    ours = measured(gold, given)
    assert (ours["acc4"], ours["acc4_all"], ours["acc2_all"], ours["coverage"]) == (1, 0.5, 0.5, 0.5)
    assert ours["macro_f1"] == 1
    assert ours["macro_f1_all"] == pytest.approx(sk.f1_score(gold, ["L1", "L4", "?", "?"], labels=["L1", "L3", "L4"], average="macro"))


def test_edges_are_undefined_not_zero() -> None:
    nothing = measured([], [])
    assert all(numpy.isnan(value) for value in nothing.values())
    one_class = measured(["L3"] * 5, ["L3"] * 5)
    assert (one_class["acc4"], one_class["macro_f1"]) == (1, 1)
    assert numpy.isnan(one_class["qwk"]) and numpy.isnan(one_class["f1_L1"]) and numpy.isnan(one_class["adherence"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = measured(["L1", "L2", "L3", "L4"], ["L4"] * 4)
    assert constant["qwk"] == pytest.approx(0) and constant["macro_f1"] == pytest.approx(0.1)


@pytest.mark.parametrize(("draws", "right", "k"), itertools.islice(((n, c, k) for n in range(1, 7) for c in range(n + 1) for k in range(1, n + 1)), 0, None, 3))
def test_chance_of_any_is_exact(draws: int, right: int, k: int) -> None:
    outcomes = [1] * right + [0] * (draws - right)
    chosen = list(itertools.combinations(outcomes, k))
    assert chance_of_any(draws, right, k) == pytest.approx(sum(map(any, chosen)) / len(chosen), abs=1e-12)


def test_majority() -> None:
    assert majority_share(("L1", "L1", "L2"), "L1") == 1
    assert majority_share(("L1", "L2", None, None, None), "L2") == 0.5
    assert majority_share((None, None), "L1") == 0


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
    index, held, runs = list(METRICS).index("acc4"), 0, 300
    generator = numpy.random.default_rng(5)
    for run in range(runs):
        skill = generator.beta(4, 2, 80)
        right = generator.binomial(5, skill)
        per_query = numpy.zeros((80, len(COLUMNS)))
        per_query[:, COLUMNS.index("L4>L4")], per_query[:, COLUMNS.index("L4>L1")] = right, 5 - right
        _, low, high = intervals.bounds(per_query, every_metric, SHARES, 300, run)
        held += low[index] <= 4 / 6 <= high[index]
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
