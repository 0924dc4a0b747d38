"""A requirement as users write it: a name, a sign, a number (`macro_f1.lo>=0.55`, `kept>=0.9`)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from lore_cli.errors import UsageError

_FORM = re.compile(r"(?P<name>.+?)\s*(?P<sign>>=|<=|>|<|==)\s*(?P<number>-?\d+(?:\.\d+)?)")
_SIGNS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}


@dataclass(frozen=True, slots=True)
class Requirement:
    """`name` is what is measured; `text` the requirement as it was written."""

    text: str
    name: str
    sign: str
    number: float

    def met(self, found: float) -> bool:
        """Whether a measured value holds to it."""
        return _SIGNS[self.sign](found, self.number)


def read_requirement(text: str, hint: str) -> Requirement:
    """Read `NAME SIGN NUMBER`. Raises `UsageError` with the hint for another form."""
    parts = _FORM.fullmatch(text.strip())
    if not parts:
        raise UsageError(f"--require '{text}' is not a requirement", hint=hint)
    return Requirement(text, parts["name"].strip(), parts["sign"], float(parts["number"]))
