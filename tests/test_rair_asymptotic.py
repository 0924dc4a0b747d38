"""What needs no draws: against confidenceinterval and statsmodels where they are installed, against closed forms, and in simulation."""

from __future__ import annotations

import numpy
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix

from lore_cli.rair import asymptotic
from lore_cli.rair.intervals import bounds, leave_one_out
from lore_cli.rair.metrics import COLUMNS, METRICS, Sums, acc4, every_metric, macro_f1
from lore_cli.records import GRADES
from test_metrics import cells, draw
from test_rair_intervals import SHARES, clustered


def takahashi(gold: list[str], given: list[str]) -> float:
    """Standard error of Macro-F1 by the formula for independent rows of Takahashi et al. 2022, section 3.2."""
    shares = confusion_matrix(gold, given, labels=list(GRADES)) / len(gold)
    both = shares.sum(0) + shares.sum(1)
    f1 = 2 * numpy.diag(shares) / both
    off = both - 2 * numpy.diag(shares)
    own = (f1 * off / both**2 * (off / both + f1 / 2)).sum()
    crossed = (shares * numpy.outer(f1 / both, f1 / both) * (1 - numpy.eye(len(f1)))).sum()
    return float(numpy.sqrt(2 * (own + crossed) / len(f1) ** 2 / len(gold)))


@pytest.mark.parametrize("seed", range(6))
def test_every_row_a_query_of_its_own_is_takahashi(seed: int) -> None:
    gold, given = draw(seed, 150 + 40 * seed)
    rows = len(gold)
    _, low, high = asymptotic.macro_f1_interval(cells(gold, given))
    reach = stats.t.ppf(0.975, rows - 1) * numpy.sqrt(rows / (rows - 1)) * takahashi(gold, given)
    assert (high - low) / 2 == pytest.approx(reach, abs=1e-9)


def test_the_bootstrap_agrees_with_confidenceinterval() -> None:
    """Its BCa of Macro-F1 over rows, to Monte-Carlo error. Its analytic interval is wider than the paper's formula and than the truth, so it is no yardstick."""
    package = pytest.importorskip("confidenceinterval", reason="needs the package confidenceinterval: pip install confidenceinterval")
    gold, given = draw(1, 200)
    numbers = [[GRADES.index(grade) for grade in side] for side in (gold, given)]
    theirs, (their_low, their_high) = package.f1_score(*numbers, average="macro", method="bootstrap_bca", n_resamples=400, random_state=numpy.random.default_rng(0))
    value, low, high = (side[list(METRICS).index("macro_f1")] for side in bounds(cells(gold, given), every_metric, SHARES, 2000, 0))
    assert value == pytest.approx(theirs, abs=1e-6)
    assert (low, high) == (pytest.approx(their_low, abs=0.02), pytest.approx(their_high, abs=0.02))


def test_the_influence_is_the_gradient() -> None:
    """The variance is that of a numerical derivative of Macro-F1 by the weight of each query."""
    per_query = clustered(4, 40)
    slopes = []
    for number in range(40):
        weights = numpy.ones((2, 40))
        weights[:, number] += (1e-6, -1e-6)
        slopes.append(numpy.subtract(*(float(macro_f1(Sums(row @ per_query))) for row in weights)) / 2e-6)
    value, low, high = asymptotic.macro_f1_interval(per_query)
    reach = stats.t.ppf(0.975, 39) * numpy.sqrt(40 / 39 * numpy.sum(numpy.square(slopes)))
    assert (low, high) == (pytest.approx(value - reach, abs=1e-7), pytest.approx(value + reach, abs=1e-7))


def test_edges_have_no_interval_and_do_not_fail() -> None:
    one = cells(["L4"], ["L4"])
    assert numpy.isnan(asymptotic.macro_f1_interval(one)[1:]).all() and asymptotic.macro_f1_interval(one)[0] == 1
    assert numpy.isnan(asymptotic.macro_f1_interval(one[:0])).all()
    assert asymptotic.macro_f1_interval(numpy.repeat(one, 5, axis=0)) == (1, 1, 1), "a constant has no variance"
    gap, p = asymptotic.against_rest(one, one, lambda sums: acc4(Sums(sums))[..., None])
    assert numpy.isnan(gap).all() and numpy.isnan(p).all(), "there are no other rows"


def test_the_jackknife_of_a_mean_is_the_textbook_error() -> None:
    values = numpy.random.default_rng(1).normal(size=(30, 1))
    columns = numpy.concatenate([values, numpy.ones((30, 1))], axis=1)
    without = leave_one_out(columns)
    assert asymptotic.standard_error(without[:, :1] / without[:, 1:])[0] == pytest.approx(stats.sem(values[:, 0]), abs=1e-12)
    assert numpy.isnan(asymptotic.standard_error(numpy.full((3, 1), numpy.nan))).all()


def test_a_detectable_difference_is_detected_with_the_stated_chance() -> None:
    size = asymptotic.detectable(numpy.array([0.02]))[0]
    found = numpy.random.default_rng(2).normal(size, 0.02, 20_000)
    assert (numpy.abs(found) > 1.959964 * 0.02).mean() == pytest.approx(0.8, abs=0.01)


def test_slices_that_do_not_differ_are_seldom_called_different_and_others_often() -> None:
    """Queries of a slice and of the rest with the same skill: p below 5 % in about 5 % of runs; with another skill in most."""

    def share_below(skill: float) -> float:
        alarms, generator = 0, numpy.random.default_rng(7)
        for _ in range(400):
            whole = numpy.zeros((120, len(COLUMNS)))
            right = generator.binomial(4, generator.beta(*numpy.where(numpy.arange(120)[:, None] < 40, [8 * skill, 8 * (1 - skill)], [4.8, 3.2]).T))
            whole[:, COLUMNS.index("L4>L4")], whole[:, COLUMNS.index("L4>L1")] = right, 4 - right
            part = numpy.where(numpy.arange(120)[:, None] < 40, whole, 0)
            alarms += asymptotic.against_rest(part, whole, lambda sums: acc4(Sums(sums))[..., None])[1][0] < 0.05
        return alarms / 400

    assert 0.02 <= share_below(0.6) <= 0.08 and share_below(0.8) > 0.8


def test_holm_agrees_with_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="needs the package statsmodels")
    p = numpy.random.default_rng(3).uniform(size=12) ** 3
    assert asymptotic.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1], abs=1e-12)
