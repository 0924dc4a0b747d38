"""Numbers that cease to be numbers end a run: it must not look like success, and nothing is written."""

from __future__ import annotations

import math
from typing import Any

from lore_cli.errors import BadInput


def require_finite(name: str, value: float, step: int) -> float:
    """The value. Raises `BadInput` when it is infinite or no number.

    >>> require_finite("loss", 0.5, step=3)
    0.5
    """
    if not math.isfinite(value):
        raise diverged(f"{name} is {value} at step {step}")
    return value


def require_finite_weights(model: Any) -> None:
    """Raise `BadInput` when a weight of a torch module is infinite or no number."""
    broken = [name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())]
    if broken:
        raise diverged(f"{len(broken)} weights are not finite, {broken[0]} among them")


def diverged(what: str) -> BadInput:
    """The error of such a run."""
    return BadInput(f"training diverged: {what}", hint="lower the learning rate, or look for what is extreme in the rows and weights; nothing was written")
