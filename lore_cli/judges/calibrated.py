"""From a student's logits to probabilities that mean what they say, to a grade, and to whether it is sure of it.

Fitted on held-out rows by train/calibrate.py and kept in student.json, so that every copy of a student answers alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lore_cli.records import GRADES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class Curve(msgspec.Struct, frozen=True):
    """A non-decreasing map of probabilities: straight lines between the points (given, right), flat outside them."""

    given: tuple[float, ...]
    right: tuple[float, ...]


class Calibration(msgspec.Struct, frozen=True):
    """temperature: divides the logits (Guo et al., arXiv 1706.04599). curves: then one for each grade, and the four add up to 1 again (isotonic, one
    grade against the rest: Zadrozny & Elkan 2002). decision: the grade is the one of greatest decision × probability; all 1 means the likeliest.
    threshold: the student is sure from this probability of its grade on; 0: always.
    """

    temperature: float = 1.0
    curves: tuple[Curve, ...] | None = None
    decision: tuple[float, ...] = (1.0,) * len(GRADES)
    threshold: float = 0.0

    def probabilities(self, logits: Array) -> Array:
        """(rows, 4) float64 → (rows, 4), each row adding up to 1; NaN rows stay NaN."""
        import numpy

        scaled = logits / self.temperature
        powers = numpy.exp(scaled - scaled.max(axis=1, keepdims=True))
        found = powers / powers.sum(axis=1, keepdims=True)
        if self.curves is None:
            return found
        mapped = numpy.stack([numpy.interp(found[:, place], curve.given, curve.right) for place, curve in enumerate(self.curves)], axis=1)
        total = mapped.sum(axis=1, keepdims=True)
        return numpy.divide(mapped, total, out=found, where=total > 0)  # where every curve says never, the temperature alone has the word

    def grades(self, probabilities: Array) -> Array:
        """Grade numbers, (rows, 4) → (rows,)."""
        import numpy

        return (probabilities * numpy.array(self.decision)).argmax(axis=1)

    def settled(self, logits: Array, reach: float) -> Array:
        """Which rows keep their grade, and whether the student is sure of it, if each of their logits is off by up to `reach`: (rows, 4) → (rows,) of bool.

        By bounds [ours]: none of the rows told would change, some of the others would not either. NaN rows are never told.
        """
        import numpy

        found = Calibration(self.temperature).probabilities(logits)
        step = numpy.exp(reach / self.temperature)
        if self.curves is None:
            low, high = found / step, found * step  # to be added up to 1
        else:
            bounds = (found / (found + (1 - found) * odds) for odds in (step**2, step**-2))
            low, high = (numpy.stack([numpy.interp(side[:, place], one.given, one.right) for place, one in enumerate(self.curves)], axis=1) for side in bounds)
        rows, decision = numpy.arange(len(logits)), numpy.array(self.decision)
        best = (low * decision).argmax(axis=1)
        rivals = high.copy()
        rivals[rows, best] = 0
        kept = low[rows, best] * decision[best] > (rivals * decision).max(axis=1)
        if not self.threshold:
            return kept
        with numpy.errstate(invalid="ignore"):  # of rows that are not kept anyway
            least = low[rows, best] / (low[rows, best] + rivals.sum(axis=1))
            most = high[rows, best] / (high[rows, best] + low.sum(axis=1) - low[rows, best])
        return kept & ((least >= self.threshold) | (most < self.threshold))
