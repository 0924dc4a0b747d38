"""How metrics are called and numbers written, on the terminal and on pages alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Measure = Mapping[str, float | None]  # value, lo, hi
ABSENT = "–"

HEADLINE = ("acc2", "macro_f1", "acc4", "qwk", "adherence", "evidence_validity", "pass_at_1", "pass_at_k", "maj_at_k", "coverage")
_TITLES = {
    "acc2": "Acc@2", "acc4": "Acc@4", "macro_f1": "Macro-F1", "weighted_f1": "weighted F1", "qwk": "kappa²", "within1": "within 1", "bias": "bias",
    "adherence": "adherence", "evidence_validity": "evidence", "pass_at_1": "pass@1", "pass_at_k": "pass@k", "maj_at_k": "maj@k", "coverage": "coverage",
    "acc2_all": "Acc@2 all", "acc4_all": "Acc@4 all", "macro_f1_all": "Macro-F1 all",
}  # fmt: skip


def headline(document: Mapping[str, Any]) -> list[str]:
    """The headline metrics that a report has; coverage only where it is not complete."""
    entries = document["slices"]
    present = [name for name in HEADLINE if any(name in entry["metrics"] for entry in entries)]
    complete = all(entry["metrics"].get("coverage", {}).get("value") == 1 for entry in entries)
    return [name for name in present if not (complete and name == "coverage")]


def title(metric: str, k: int | None = None) -> str:
    """How a metric is called in a table."""
    return _TITLES.get(metric, metric.replace("_", " ")).replace("@k", f"@{k}" if k else "@k")


def cell(metrics: Mapping[str, Measure], name: str, bounds: int = 2) -> str:
    """`.845 [.82, .87]`, or a dash for a metric that is not there. bounds: digits of the interval."""
    return measured(metrics.get(name), bounds)


def measured(measure: Measure | None, bounds: int = 2, sign: bool = False) -> str:
    """A value with its interval: `.845 [.82, .87]`, with `sign` `+.040 [-.01, +.09]`; a dash for none, the value alone where there is no interval."""
    if measure is None or measure["value"] is None:
        return ABSENT
    value = short(measure["value"], 3, sign)
    if measure["lo"] is None or measure["hi"] is None:
        return value
    return f"{value} [{short(measure['lo'], bounds, sign)}, {short(measure['hi'], bounds, sign)}]"


def short(number: float, digits: int, sign: bool = False) -> str:
    """A number without its leading zero: `.845`, `1.00`, `-.05`, with `sign` `+.05`. A zero is `.000`, never `-.000`."""
    text = f"{round(number, digits) + 0.0:{'+' if sign else ''}.{digits}f}"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def chance(p: float) -> str:
    """A p value: `.0312`; `<.0001` for one that would be written as 0."""
    return short(p, 4) if p >= 0.00005 else "<.0001"


def percent(share: float | None, sign: bool = False) -> str:
    """`4.2 %`, with `sign` `+4.2 %`; a dash for none."""
    return ABSENT if share is None else f"{round(100 * share, 1) + 0.0:{'+' if sign else ''},.1f} %"


def milliseconds(number: float | None) -> str:
    """Three significant digits, as many decimals as that takes: `0.0312`, `1.25`, `48.3`, `1,204`; `0` for nothing, a dash for none."""
    if not number:
        return ABSENT if number is None else "0"
    digits = next((digits for digits, bar in ((0, 100), (1, 10), (2, 1), (3, 0.1)) if abs(number) >= bar), 4)
    return f"{number:,.{digits}f}"
