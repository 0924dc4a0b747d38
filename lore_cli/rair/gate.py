"""Requirements on a report: `macro_f1.lo>=0.55`, `hard:acc2>=0.7`, `*:coverage>=0.99`; and on a run: no worse than a base."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lore_cli import requirement
from lore_cli.errors import UsageError
from lore_cli.rair.intervals import LEVEL
from lore_cli.rair.metrics import METRICS
from lore_cli.rair.report import find_slice, slice_name

_HINT = "write [SLICE:]METRIC[.lo|.hi]>=NUMBER, for example 'macro_f1.lo>=0.55' or 'hard:acc2>=0.7'"
_NAME = re.compile(r"(?:(?P<slice>[^:<>=!]+(?:=[^:<>=!]+)?):)?(?P<metric>[A-Za-z0-9_]+)(?:\.(?P<part>value|lo|hi))?")


@dataclass(frozen=True, slots=True)
class Measure:
    """What a requirement is about. `where`: None for all rows, `*` for every slice, else the slice's fields."""

    required: requirement.Requirement
    where: dict[str, str] | str | None
    metric: str
    part: str


def read_requirement(text: str) -> Measure:
    """Read `[SLICE:]METRIC[.value|.lo|.hi] SIGN NUMBER`; SLICE is a subset's name, `field=value`, or `*`. Raises `UsageError`."""
    required = requirement.read_requirement(text, _HINT)
    parts = _NAME.fullmatch(required.name)
    if not parts:
        raise UsageError(f"--require '{text}' is not a requirement", hint=_HINT)
    if parts["metric"] not in METRICS:
        raise UsageError(f"--require '{text}': '{parts['metric']}' is no metric", hint=f"metrics: {', '.join(METRICS)}")
    where: dict[str, str] | str | None = parts["slice"].strip() if parts["slice"] else None
    if where and where != "*":
        name, separator, value = str(where).partition("=")
        where = {name.strip(): value.strip()} if separator else {} if name == "all" else {"subset": name}
    return Measure(required, where, parts["metric"], parts["part"] or "value")


def unmet(document: dict[str, Any], measures: list[Measure]) -> list[str]:
    """One line for every slice in which a requirement does not hold; what is not measured there does not hold. Raises `UsageError` for a slice that is not in the report."""
    lines = []
    for measure in measures:
        text = measure.required.text
        for entry in _slices(document, measure):
            name, metric = slice_name(entry["slice"]), f"{measure.metric}.{measure.part}"
            found = entry["metrics"].get(measure.metric, {}).get(measure.part)
            if found is None:
                lines.append(f"{name}: {metric} is not measured (n = {entry['n']}, queries = {entry['queries']}); required {text}")
            elif not measure.required.met(found):
                lines.append(f"{name}: {metric} is {found:.4f}; required {text}")
    return lines


def worse(comparison: dict[str, Any], metrics: Sequence[str], margin: float | None) -> list[str]:
    """One line for every slice and metric in which run b is worse than run a, the base.

    Without a margin: worse beyond chance, with p of the permutation test below 5 % after Holm's correction. With one: not shown to be at most
    `margin` worse, that is, the lower bound of the difference is below -margin; a slice without bounds is not shown to be. What is not measured in both runs is not shown to be no worse.
    """
    lines = []
    for entry in comparison["slices"]:
        corrected = f", corrected for {len(comparison['slices']) - 1} slices" if entry["slice"] else ""
        for name in metrics:
            found = entry["metrics"].get(name)
            if found is None:
                lines.append(f"{slice_name(entry['slice'])}: {name} is not measured in both runs (n = {entry['n']}, queries = {entry['queries']})")
                continue
            place = f"{slice_name(entry['slice'])}: {name} is {found['b']:.4f}, that of the base {found['a']:.4f}"
            if margin is None and found["difference"] < 0 and found["p_holm"] < 1 - LEVEL:
                lines.append(f"{place}: worse (p {found['p_holm']:.4f}{corrected})")
            elif margin is not None and (found["lo"] is None or found["lo"] < -margin):
                bound = "has no interval" if found["lo"] is None else f"may be as low as {found['lo']:+.4f}"
                lines.append(f"{place}: the difference {bound}; at most {margin:g} is allowed")
    return lines


def _slices(document: dict[str, Any], measure: Measure) -> list[dict[str, Any]]:
    if measure.where == "*":
        return list(document["slices"])
    entry = find_slice(document, measure.where or {})  # type: ignore[arg-type]
    if entry is None:
        known = ", ".join(slice_name(entry["slice"]) for entry in document["slices"])
        raise UsageError(f"--require '{measure.required.text}': the report has no such slice", hint=f"slices: {known}")
    return [entry]
