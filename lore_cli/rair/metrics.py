"""Metrics of a judge, each a pure function of sums over rows.

Every row adds to a few columns (`COLUMNS`): its cell of the confusion matrix, whether it was judged, its samples. A metric reads only the
sums of these columns, so that a slice, a bootstrap draw and a leave-one-out estimate cost one matrix product over queries, however many
rows there are. To add a metric: one function here, its entry in `METRICS`, and a column if it counts something new.

Sums have the shape [..., columns]; metrics return [...]. A metric that is not defined (nothing was sampled, one class only) is NaN here
and null in a report: it is never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lore_cli.records import GRADES, RELEVANT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_SIZE = len(GRADES)
CONFUSION = tuple(f"{gold}>{given}" for gold in GRADES for given in GRADES)
UNJUDGED = tuple(f"{gold}>-" for gold in GRADES)
PARTS = ("reasoned", "adhering", "found", "found_valid", "sampled", "pass_1", "pass_k", "majority", "resampled", "consistent")
COLUMNS: tuple[str, ...] = (*CONFUSION, *UNJUDGED, *PARTS)
"""gold>given: judged rows; gold>-: rows without a grade. reasoned: verdicts with matches; adhering: those whose grade and rules follow from them.
found, found_valid: cited evidence, and that which stands in the item. sampled: rows with samples; pass_1, pass_k, majority: their chances of being right. resampled: rows with two samples
or more; consistent: the chance that two of them are alike."""


@dataclass(frozen=True)
class Sums:
    """Sums of the columns over some rows, [..., columns], with the views that metrics share."""

    values: Array

    @cached_property
    def confusion(self) -> Array:
        """Judged rows by gold and given grade, [..., 4, 4]."""
        return self.values[..., : _SIZE * _SIZE].reshape(*self.values.shape[:-1], _SIZE, _SIZE)

    @cached_property
    def unjudged(self) -> Array:
        """Rows without a grade by gold grade, [..., 4]."""
        return self.values[..., _SIZE * _SIZE : _SIZE * _SIZE + _SIZE]

    @cached_property
    def judged(self) -> Array:
        return self.confusion.sum((-2, -1))

    @cached_property
    def rows(self) -> Array:
        return self.judged + self.unjudged.sum(-1)

    @cached_property
    def hits(self) -> Array:
        """Rows given their gold grade, [..., 4]."""
        return self.confusion.diagonal(axis1=-2, axis2=-1)

    @cached_property
    def support(self) -> Array:
        return self.confusion.sum(-1)

    @cached_property
    def given(self) -> Array:
        return self.confusion.sum(-2)

    @cached_property
    def f1(self) -> Array:
        """F1 per grade, [..., 4]: 2·hits / (support + given), 0 where a grade never comes right, NaN where it does not occur at all."""
        return ratio(2 * self.hits, self.support + self.given)

    def part(self, name: str) -> Array:
        return self.values[..., COLUMNS.index(name)]


def ratio(part: Array, whole: Array) -> Array:
    """part / whole, NaN where whole is 0."""
    import numpy

    whole = numpy.asarray(whole, dtype=float)
    return numpy.divide(part, whole, out=numpy.full(numpy.broadcast(part, whole).shape, numpy.nan), where=whole != 0)


def acc4(sums: Sums) -> Array:
    """Share of judged rows given exactly the gold grade."""
    return ratio(sums.hits.sum(-1), sums.judged)


def acc2(sums: Sums) -> Array:
    """Share of judged rows on the right side of relevance: {L1, L2} against {L3, L4}."""
    return ratio((sums.confusion * _same_side()).sum((-2, -1)), sums.judged)


def macro_f1(sums: Sums) -> Array:
    """Unweighted mean of the F1 of every grade that occurs in gold or verdicts (scikit-learn's default)."""
    return _mean_of_present(sums.f1)


def weighted_f1(sums: Sums) -> Array:
    """Mean F1 weighted by how often the gold has each grade."""
    import numpy

    return ratio((numpy.nan_to_num(sums.f1) * sums.support).sum(-1), sums.judged)


def qwk(sums: Sums) -> Array:
    """Quadratically weighted kappa: 1 - Σ w·observed / Σ w·expected with w = (gold - given)²; undefined when all grades are one and the same."""
    weights = _distance() ** 2
    expected = ratio(sums.support[..., :, None] * sums.given[..., None, :], sums.judged[..., None, None])
    return 1 - ratio((weights * sums.confusion).sum((-2, -1)), (weights * expected).sum((-2, -1)))


def within1(sums: Sums) -> Array:
    """Share of judged rows at most one grade off."""
    return ratio((sums.confusion * (_distance() <= 1)).sum((-2, -1)), sums.judged)


def bias(sums: Sums) -> Array:
    """Mean of given minus gold grade: above 0 the judge is too generous."""
    import numpy

    grades = numpy.arange(_SIZE)
    return ratio((sums.confusion * (grades[None, :] - grades[:, None])).sum((-2, -1)), sums.judged)


def coverage(sums: Sums) -> Array:
    """Share of rows that were given a grade."""
    return ratio(sums.judged, sums.rows)


def acc4_all(sums: Sums) -> Array:
    """acc4 over all rows, one without a grade counted as not right."""
    return ratio(sums.hits.sum(-1), sums.rows)


def acc2_all(sums: Sums) -> Array:
    """acc2 over all rows, one without a grade counted as not right."""
    return ratio((sums.confusion * _same_side()).sum((-2, -1)), sums.rows)


def macro_f1_all(sums: Sums) -> Array:
    """macro_f1 over all rows, one without a grade counted as missed: it lowers recall, not precision."""
    return _mean_of_present(ratio(2 * sums.hits, sums.support + sums.unjudged + sums.given))


def adherence(sums: Sums) -> Array:
    """Rule adherence: share of verdicts with matches whose grade and cited rules follow from those matches."""
    return ratio(sums.part("adhering"), sums.part("reasoned"))


def evidence_validity(sums: Sums) -> Array:
    """Share of cited evidence whose value, or a listed synonym of it, stands in the field of the item it was cited from."""
    return ratio(sums.part("found_valid"), sums.part("found"))


def pass_at_1(sums: Sums) -> Array:
    """Chance that one draw is right: mean share of right draws over rows with samples. A draw that could not be parsed is not right."""
    return ratio(sums.part("pass_1"), sums.part("sampled"))


def pass_at_k(sums: Sums) -> Array:
    """Chance that at least one of k draws is right (unbiased, see `chance_of_any`), over rows with samples."""
    return ratio(sums.part("pass_k"), sums.part("sampled"))


def maj_at_k(sums: Sums) -> Array:
    """Share of rows with samples whose most frequent drawn grade is right; a tie counts for the share of it that is."""
    return ratio(sums.part("majority"), sums.part("sampled"))


def self_consistency(sums: Sums) -> Array:
    """Chance that two draws of a row give the same grade, over rows with two draws or more. A draw that could not be parsed is like no other."""
    return ratio(sums.part("consistent"), sums.part("resampled"))


def _grade_metric(name: str, index: int) -> Callable[[Sums], Array]:
    def precision(sums: Sums) -> Array:
        return ratio(sums.hits[..., index], sums.given[..., index])

    def recall(sums: Sums) -> Array:
        return ratio(sums.hits[..., index], sums.support[..., index])

    def f1(sums: Sums) -> Array:
        return sums.f1[..., index]

    return {"precision": precision, "recall": recall, "f1": f1}[name]


METRICS: dict[str, Callable[[Sums], Array]] = {
    "acc2": acc2, "acc4": acc4, "macro_f1": macro_f1, "weighted_f1": weighted_f1, "qwk": qwk, "within1": within1, "bias": bias,
    "adherence": adherence, "evidence_validity": evidence_validity, "pass_at_1": pass_at_1, "pass_at_k": pass_at_k, "maj_at_k": maj_at_k, "self_consistency": self_consistency,
    "coverage": coverage, "acc2_all": acc2_all, "acc4_all": acc4_all, "macro_f1_all": macro_f1_all,
    **{f"{name}_{grade}": _grade_metric(name, index) for index, grade in enumerate(GRADES) for name in ("precision", "recall", "f1")},
}  # fmt: skip
NOT_SHARES = ("qwk", "bias")
"""Metrics that do not lie in [0, 1]."""


def every_metric(values: Array) -> Array:
    """All metrics of sums [..., columns], as [..., metrics] in the order of `METRICS`."""
    import numpy

    sums = Sums(numpy.asarray(values, dtype=float))
    return numpy.stack([metric(sums) for metric in METRICS.values()], axis=-1)


def chance_of_any(draws: int, right: int, k: int) -> float:
    """pass@k, unbiased: 1 - C(n-c, k) / C(n, k) for c right ones of n draws (Chen et al., arXiv 2107.03374, eq. 1). Needs k <= n.

    >>> chance_of_any(4, 1, 2)
    0.5
    """
    from math import comb

    return 1 - comb(draws - right, k) / comb(draws, k)


def majority_share(samples: tuple[str | None, ...], gold: str) -> float:
    """1 when gold is the most frequent grade drawn, its share of the tie when it is one of several, else 0. Unparseable draws have no vote.

    >>> majority_share(("L4", "L3", "L4", None), "L4"), majority_share(("L4", "L3"), "L3"), majority_share((None,), "L3")
    (1.0, 0.5, 0.0)
    """
    votes = {grade: samples.count(grade) for grade in samples if grade is not None}
    best = [grade for grade, count in votes.items() if count == max(votes.values())]
    return (gold in best) / len(best) if best else 0.0


def alike_share(samples: tuple[str | None, ...]) -> float:
    """Share of the pairs of draws that are of one grade. Needs two draws.

    >>> alike_share(("L4", "L4", "L3")), alike_share(("L4", None)), alike_share((None, None))
    (0.3333333333333333, 0.0, 0.0)
    """
    counts = [samples.count(grade) for grade in GRADES]
    return sum(count * (count - 1) for count in counts) / (len(samples) * (len(samples) - 1))


def _mean_of_present(f1: Array) -> Array:
    import numpy

    present = ~numpy.isnan(f1)
    return ratio(numpy.where(present, f1, 0).sum(-1), present.sum(-1))


def _distance() -> Array:
    import numpy

    grades = numpy.arange(_SIZE)
    return numpy.abs(grades[:, None] - grades[None, :])


def _same_side() -> Array:
    import numpy

    relevant = numpy.array([grade in RELEVANT for grade in GRADES])
    return relevant[:, None] == relevant[None, :]
