"""Metrics against scikit-learn on randomised inputs, and at the edges."""

from __future__ import annotations

import itertools
import warnings

import numpy
import pytest
from sklearn import metrics as sk

from lore_cli.rair.metrics import COLUMNS, METRICS, chance_of_any, every_metric, majority_share
from lore_cli.records import GRADES


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
