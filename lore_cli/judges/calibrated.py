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

    def settled(self, logits: Array, reach: Array) -> Array:
        """Which rows keep their grade, and whether the student is sure of it, if the difference of any two of their logits is off by up to `reach` of the two:
        (rows, 4) and (4, 4), symmetric with zeros on the diagonal → (rows,) of bool.

        By bounds [ours]: none of the rows told would change, some of the others would not either. NaN rows are never told.
        """
        import numpy

        gaps, moved = (logits[:, :, None] - logits[:, None, :]) / self.temperature, reach / self.temperature
        rows, decision = numpy.arange(len(logits)), numpy.array(self.decision)
        with numpy.errstate(over="ignore", invalid="ignore"):  # where a probability is nothing, and of rows that are not kept anyway
            low, high = (1 / numpy.exp(-side).sum(axis=2) for side in (gaps - moved, gaps + moved))
            if self.curves is None:
                others = numpy.diag([numpy.inf] * len(GRADES))
                leads = (gaps - moved + numpy.log(decision)[:, None] - numpy.log(decision) + others).min(axis=2)
                best, kept = leads.argmax(axis=1), leads.max(axis=1) > 0
                least, most = low[rows, best], high[rows, best]
            else:
                low, high = (numpy.stack([numpy.interp(side[:, place], one.given, one.right) for place, one in enumerate(self.curves)], axis=1) for side in (low, high))
                best = (low * decision).argmax(axis=1)
                rivals = high.copy()
                rivals[rows, best] = 0
                kept = low[rows, best] * decision[best] > (rivals * decision).max(axis=1)
                least = low[rows, best] / (low[rows, best] + rivals.sum(axis=1))
                most = high[rows, best] / (high[rows, best] + low.sum(axis=1) - low[rows, best])
            return kept & ((least >= self.threshold) | (most < self.threshold))
