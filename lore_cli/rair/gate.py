"""Requirements on a report: `macro_f1.lo>=0.55`, `hard:acc2>=0.7`, `*:coverage>=0.99`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lore_cli.errors import UsageError
from lore_cli.rair.metrics import METRICS
from lore_cli.rair.report import find_slice, slice_name

_FORM = re.compile(r"(?:(?P<slice>[^:<>=!]+(?:=[^:<>=!]+)?):)?(?P<metric>[A-Za-z0-9_]+)(?:\.(?P<part>value|lo|hi))?\s*(?P<sign>>=|<=|>|<|==)\s*(?P<number>-?\d+(?:\.\d+)?)")
_SIGNS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement. `where`: None for all rows, `*` for every slice, else the slice's fields."""

    text: str
    where: dict[str, str] | str | None
    metric: str
    part: str
    sign: str
    number: float


def read_requirement(text: str) -> Requirement:
    """Read `[SLICE:]METRIC[.value|.lo|.hi] SIGN NUMBER`; SLICE is a subset's name, `field=value`, or `*`. Raises `UsageError`."""
    parts = _FORM.fullmatch(text.strip())
    if not parts:
        raise UsageError(f"--require '{text}' is not a requirement", hint="write [SLICE:]METRIC[.lo|.hi]>=NUMBER, for example 'macro_f1.lo>=0.55' or 'hard:acc2>=0.7'")
    if parts["metric"] not in METRICS:
        raise UsageError(f"--require '{text}': '{parts['metric']}' is no metric", hint=f"metrics: {', '.join(METRICS)}")
    where: dict[str, str] | str | None = parts["slice"].strip() if parts["slice"] else None
    if where and where != "*":
        name, separator, value = str(where).partition("=")
        where = {name.strip(): value.strip()} if separator else {} if name == "all" else {"subset": name}
    return Requirement(text, where, parts["metric"], parts["part"] or "value", parts["sign"], float(parts["number"]))


def unmet(document: dict[str, Any], requirements: list[Requirement]) -> list[str]:
    """One line for every slice in which a requirement does not hold; what is not measured there does not hold. Raises `UsageError` for a slice that is not in the report."""
    lines = []
    for requirement in requirements:
        for entry in _slices(document, requirement):
            name, measure = slice_name(entry["slice"]), entry["metrics"].get(requirement.metric, {})
            found = measure.get(requirement.part)
            if found is None:
                lines.append(f"{name}: {requirement.metric}.{requirement.part} is not measured (n = {entry['n']}, queries = {entry['queries']}); required {requirement.text}")
            elif not _SIGNS[requirement.sign](found, requirement.number):
                lines.append(f"{name}: {requirement.metric}.{requirement.part} is {found:.4f}; required {requirement.text}")
    return lines


def _slices(document: dict[str, Any], requirement: Requirement) -> list[dict[str, Any]]:
    if requirement.where == "*":
        return list(document["slices"])
    entry = find_slice(document, requirement.where or {})  # type: ignore[arg-type]
    if entry is None:
        known = ", ".join(slice_name(entry["slice"]) for entry in document["slices"])
        raise UsageError(f"--require '{requirement.text}': the report has no such slice", hint=f"slices: {known}")
    return [entry]
