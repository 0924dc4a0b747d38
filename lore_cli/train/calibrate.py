"""What held-out rows say of a student: how its probabilities are to be read, how it decides, and from where on it is sure."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
import numpy

from lore_cli.judges.calibrated import Calibration, Curve
from lore_cli.records import GRADES

Method = Literal["temperature", "isotonic"]
METHODS: tuple[Method, ...] = ("temperature", "isotonic")
Decide = Literal["likeliest", "macro-f1"]
DECISIONS: tuple[Decide, ...] = ("likeliest", "macro-f1")
CONFIDENCE = 0.95  # with which the target error holds
NEVER = 1.01  # no probability reaches it
_LEAST_ROWS = 50  # for a curve of its own: with fewer, isotonic regression learns the rows by heart [ours]
_STRENGTHS = numpy.linspace(0, 1.5, 16)  # how far rare grades are favoured: 0 not at all, 1 as if all were equally frequent


def fit(logits: Any, target: Any, reference: Any, method: Method, decide: Decide, target_error: float | None) -> Calibration:
    """Of held-out rows. logits, target: (rows, 4); reference: (rows,) grade numbers, -1 where there is none. Without rows nothing is calibrated."""
    if not len(logits):
        return Calibration(threshold=0.0 if target_error is None else NEVER)
    made = Calibration(temperature=fit_temperature(logits, target))
    if method == "isotonic":
        made = msgspec.structs.replace(made, curves=fit_curves(made.probabilities(logits), target))
    found, known = made.probabilities(logits), reference >= 0
    if decide == "macro-f1":
        made = msgspec.structs.replace(made, decision=fit_decision(found[known], reference[known]))
    if target_error is None:
        return made
    given = made.grades(found)
    sure = found[numpy.arange(len(given)), given]
    return msgspec.structs.replace(made, threshold=fit_threshold(sure[known], (given != reference)[known], target_error))


def fit_temperature(logits: Any, target: Any) -> float:
    """The T in [0.05, 20] that minimises the cross-entropy of softmax(logits ÷ T) against the target; 1 without rows."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if not len(logits):
        return 1.0

    def cost(log_temperature: float) -> float:
        return float(-(target * log_softmax(logits / math.exp(log_temperature), axis=1)).sum(1).mean())

    return float(math.exp(minimize_scalar(cost, bounds=(math.log(0.05), math.log(20)), method="bounded").x))


def fit_curves(probabilities: Any, target: Any) -> tuple[Curve, ...]:
    """Isotonic regression of each grade's target on its probability; the identity with fewer than 50 rows."""
    from sklearn.isotonic import IsotonicRegression

    if len(probabilities) < _LEAST_ROWS:
        return (Curve((0.0, 1.0), (0.0, 1.0)),) * len(GRADES)
    curves = []
    for place in range(len(GRADES)):
        regression = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(probabilities[:, place], target[:, place])
        curves.append(Curve(tuple(regression.X_thresholds_.tolist()), tuple(regression.y_thresholds_.tolist())))
    return tuple(curves)


def fit_decision(probabilities: Any, reference: Any) -> tuple[float, ...]:
    """Factors (share of the grade)^−s with the s in [0, 1.5] of best Macro-F1 (logit adjustment: Menon et al., arXiv 2007.07314); a grade that is not there keeps 1."""
    from sklearn.metrics import f1_score

    shares = numpy.bincount(reference, minlength=len(GRADES)) / max(len(reference), 1)
    factors = [numpy.where(shares > 0, numpy.maximum(shares, 1e-9) ** -strength, 1.0) for strength in _STRENGTHS]
    best = max(factors, key=lambda factor: f1_score(reference, (probabilities * factor).argmax(1), average="macro") if len(reference) else 0.0)
    return tuple((best / best.max()).tolist())


def fit_threshold(sure: Any, wrong: Any, target_error: float) -> float:
    """The least probability from which on answers err at most so often, with 95 % confidence (Geifman & El-Yaniv, arXiv 1705.08500, with a Clopper-Pearson bound).

    `NEVER` where the rows cannot show it: with none wrong among n, the bound is 1 − 0.05^(1/n), so an error of 5 % takes 59 rows.
    """
    from scipy.stats import beta

    order = numpy.argsort(-sure, kind="stable")
    kept = numpy.arange(1, len(sure) + 1)
    errors = numpy.cumsum(wrong[order])
    bound = beta.ppf(CONFIDENCE, errors + 1, numpy.maximum(kept - errors, 1e-9))
    last = numpy.append(numpy.diff(sure[order]) != 0, True)  # a threshold keeps all rows of one probability or none
    fits = numpy.flatnonzero((bound <= target_error) & last) if len(sure) else numpy.empty(0, dtype=int)
    return float(sure[order][fits[-1]]) if len(fits) else NEVER
