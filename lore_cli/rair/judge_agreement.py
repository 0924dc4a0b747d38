"""How far a judge agrees with humans, beyond chance, and which way it errs: pure functions of the sums that metrics.py defines, so that they have intervals.

Agreement of several human raters, who need not have rated the same pairs, is in agreement.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lore_cli.rair.metrics import Sums, acc2, acc4, bias, qwk, ratio, self_consistency
from lore_cli.records import GRADES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def kappa(sums: Sums) -> Array:
    """Cohen's kappa: (observed - expected agreement) / (1 - expected)."""
    expected = ratio((sums.support * sums.given).sum(-1), sums.judged**2)
    return ratio(acc4(sums) - expected, 1 - expected)


def alpha_nominal(sums: Sums) -> Array:
    """Krippendorff's alpha of two coders, human and judge, for grades without an order."""
    import numpy

    return _alpha(sums, 1 - numpy.eye(len(GRADES)))


def alpha_ordinal(sums: Sums) -> Array:
    """Krippendorff's alpha for ordered grades: two grades are as far apart as there are ratings between them (Krippendorff 2011)."""
    import numpy

    pooled = sums.support + sums.given
    below = numpy.cumsum(pooled, axis=-1) - pooled / 2
    return _alpha(sums, (below[..., :, None] - below[..., None, :]) ** 2)


def _alpha(sums: Sums, distance: Array) -> Array:
    """1 - (n-1)·Σ o·δ / Σ n·n·δ with the coincidences o of the 2·judged ratings and their totals n by grade."""
    import numpy

    coincidences = sums.confusion + numpy.swapaxes(sums.confusion, -1, -2)
    pooled = sums.support + sums.given
    expected = (pooled[..., :, None] * pooled[..., None, :] * distance).sum((-2, -1))
    return 1 - ratio((2 * sums.judged - 1) * (coincidences * distance).sum((-2, -1)), expected)


def overrated(sums: Sums) -> Array:
    """Share of judged rows that were given a better grade than the human's."""
    import numpy

    return ratio(numpy.triu(sums.confusion, 1).sum((-2, -1)), sums.judged)


def underrated(sums: Sums) -> Array:
    """Share of judged rows that were given a worse grade than the human's."""
    import numpy

    return ratio(numpy.tril(sums.confusion, -1).sum((-2, -1)), sums.judged)


def _bias_at(index: int) -> Callable[[Sums], Array]:
    def bias_at(sums: Sums) -> Array:
        import numpy

        return ratio((sums.confusion[..., index, :] * (numpy.arange(len(GRADES)) - index)).sum(-1), sums.support[..., index])

    return bias_at


AGREEMENT: dict[str, Callable[[Sums], Array]] = {
    "acc4": acc4, "acc2": acc2, "kappa": kappa, "qwk": qwk, "alpha_nominal": alpha_nominal, "alpha_ordinal": alpha_ordinal, "bias": bias, "overrated": overrated,
    "underrated": underrated, **{f"bias_{grade}": _bias_at(index) for index, grade in enumerate(GRADES)}, "self_consistency": self_consistency,
}  # fmt: skip
SHARES = ("acc4", "acc2", "overrated", "underrated", "self_consistency")


def every(values: Array) -> Array:
    """All of `AGREEMENT` from sums [..., columns], as [..., measures]."""
    import numpy

    sums = Sums(numpy.asarray(values, dtype=float))
    return numpy.stack([measure(sums) for measure in AGREEMENT.values()], axis=-1)
