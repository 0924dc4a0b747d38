"""Prediction-powered estimates: what humans would say of many pairs, from a judge's verdicts on all of them and human grades of a few.

The judge's mean is corrected by its mean error on the graded pairs, weighted by how much the judge tells (PPI++; Angelopoulos et al. 2023,
arXiv 2301.09633 and 2311.01453). Ours: both sums are by query, so that a query which has graded and other pairs counts as one cluster; graded pairs
drawn with unequal probability (`inclusion`, as lore-rair sample writes it) are weighted by its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lore_cli.rair.intervals import LEVEL
from lore_cli.rair.metrics import ratio
from lore_cli.rair.sampling import inclusion_of
from lore_cli.records import GRADES, RELEVANT, Pair, Verdict
from lore_cli.values import fold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

RATES = ("relevant", "grade", *GRADES)
"""What is estimated: the share of pairs that are L3 or L4, the mean grade (L1 is 0, L4 is 3), the share of each grade."""


def rates(grades: dict[str, float]) -> list[float]:
    """`RATES` of one pair, from the probability of each grade.

    >>> rates({"L4": 1.0})
    [1.0, 3.0, 0.0, 0.0, 0.0, 1.0]
    """
    shares = [grades.get(grade, 0.0) for grade in GRADES]
    relevant = sum(share for grade, share in zip(GRADES, shares, strict=True) if grade in RELEVANT)
    return [relevant, sum(index * share for index, share in enumerate(shares)), *shares]


@dataclass
class Powered:
    """Sums per query: of the human grades and the verdicts on graded pairs, and of the verdicts on all others. A pair without a grade from the judge counts as zeros in its place, graded or not."""

    labelled: dict[str, list[float]] = field(default_factory=dict)  # query → weight, human rates, judge's rates
    unlabelled: dict[str, list[float]] = field(default_factory=dict)  # query → pairs, judge's rates

    def add_labelled(self, pair: Pair, verdict: Verdict | None) -> None:
        """A graded pair with its verdict. Raises `BadInput` for an `inclusion` that is no probability."""
        inclusion = inclusion_of(pair)
        values = [1.0, *rates({pair.grade: 1.0}), *_judged(verdict)]  # type: ignore[dict-item]
        _add(self.labelled, pair.query, [value / inclusion for value in values])

    def add_unlabelled(self, verdict: Verdict) -> None:
        """A verdict on any pair of those that the estimate is about."""
        _add(self.unlabelled, verdict.query, [1.0, *_judged(verdict)])

    def estimates(self, level: float = LEVEL) -> dict[str, dict[str, Any]]:
        """{rate: powered, labels alone, verdicts alone (of the pairs that have one), weight}; bounds are NaN for fewer than two queries with human grades."""
        import numpy

        queries = sorted(self.labelled.keys() | self.unlabelled.keys())
        size = len(RATES)
        labelled = numpy.array([self.labelled.get(query, [0.0] * (1 + 2 * size)) for query in queries])
        unlabelled = numpy.array([self.unlabelled.get(query, [0.0] * (1 + size)) for query in queries])
        human, judge, others = labelled[:, 1 : 1 + size], labelled[:, 1 + size :], unlabelled[:, 1:]
        judged = others[:, [RATES.index(grade) for grade in GRADES]].sum()
        found = {}
        for index, name in enumerate(RATES):
            columns = (human[:, index], judge[:, index], labelled[:, 0], others[:, index], unlabelled[:, 0])
            powered = powered_mean(*columns, degrees=len(self.labelled) - 1, level=level)
            alone = powered_mean(*columns, degrees=len(self.labelled) - 1, level=level, weight=0.0)
            found[name] = {"powered": powered[:3], "labels": alone[:3], "verdicts": float(ratio(others[:, index].sum(), judged)), "weight": powered[3]}
        return found


def powered_mean(
    human: Array, judge: Array, weights: Array, others: Array, counts: Array, *, degrees: int, level: float = LEVEL, weight: float | None = None
) -> tuple[float, float, float, float]:
    """(estimate, lower, upper, weight) of a mean over pairs from sums per query, [queries] each, zeros where a query has no such pairs.

    human, judge, weights: over graded pairs, the human values, the judge's and how much the pairs count; others, counts: the judge's values and the
    number of all pairs. The estimate is H + weight·(O - J) with H, J, O the means; the weight in [0, 1] that has the least variance is taken when none is
    given (PPI++, eq. 6). The variance is that of the queries' influences, with Student's t on `degrees`.
    """
    import numpy
    from scipy.special import stdtrit

    total, all_pairs, queries = weights.sum(), counts.sum(), len(weights)
    means = human.sum() / total, judge.sum() / total, others.sum() / all_pairs
    direct = (human - means[0] * weights) / total
    gap = (judge - means[1] * weights) / total - (others - means[2] * counts) / all_pairs
    if weight is None:
        spread = float((gap**2).sum())
        weight = float(numpy.clip((direct * gap).sum() / spread, 0, 1)) if spread > 0 else 0.0
    value = float(means[0] + weight * (means[2] - means[1]))
    if degrees < 1:
        return value, numpy.nan, numpy.nan, weight
    error = numpy.sqrt(queries / (queries - 1) * ((direct - weight * gap) ** 2).sum())
    reach = float(stdtrit(degrees, (1 + level) / 2) * error)
    return value, value - reach, value + reach, weight


def _judged(verdict: Verdict | None) -> list[float]:
    """The judge's rates: by its probabilities where it tells them, else by its grade; zeros without either."""
    if verdict is None or verdict.grade is None:
        return [0.0] * len(RATES)
    return rates(dict(verdict.scores) if verdict.scores else {verdict.grade: 1.0})


def _add(sums: dict[str, list[float]], query: str, values: list[float]) -> None:
    key = fold(query)
    before = sums.get(key)
    sums[key] = values if before is None else [one + other for one, other in zip(before, values, strict=True)]
