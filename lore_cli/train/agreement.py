"""On held-out rows: the student against its teacher, student and teacher against humans, whole and in slices, and what a threshold on its probability keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from lore_cli.records import GRADES, row_of
from lore_cli.train.soft import SoftRow

_THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_BANDS = ((1, "1"), (9, "2 to 9"), (99, "10 to 99"), (999, "100 to 999"))  # most requests of a query in a frequency band [ours]


def agreement(given: Any, sure: Any, teacher: Any, human: Any, rows: Sequence[SoftRow]) -> dict[str, Any]:
    """given, teacher, human: (rows,) grade numbers, -1 where there is none; sure: (rows,) probability of the grade given."""
    if not rows:
        return {"rows": 0}
    reference = numpy.where(teacher >= 0, teacher, human)
    return {
        "rows": len(rows),
        "queries": len({row.query for row in rows}),
        "with_teacher": scores(given, teacher),
        "student_with_human": scores(given, human),
        "teacher_with_human": scores(teacher, human),
        "slices": [
            {"slice": kind, "value": value, **scores(given[chosen], reference[chosen], kind != "grade")}
            for (kind, value), members in sorted(_slices(rows, reference).items())
            for chosen in [numpy.array(members)]
        ],
        "thresholds": [
            {"threshold": least, "kept": round(float((sure >= least).mean()), 4), **scores(given[sure >= least], reference[sure >= least])} for least in _THRESHOLDS
        ],
    }


def scores(given: Any, wanted: Any, several: bool = True) -> dict[str, Any]:
    """Acc@2, Acc@4 and, unless all wanted are one grade (several=False), Macro-F1 over the rows where both are known; nulls where there is none."""
    from sklearn.metrics import f1_score

    known = (given >= 0) & (wanted >= 0)
    one, other = given[known], wanted[known]
    if not len(one):
        return {"n": 0, "acc2": None, "acc4": None, "macro_f1": None}
    acc2, acc4 = float(((one >= 2) == (other >= 2)).mean()), float((one == other).mean())
    macro_f1 = round(float(f1_score(other, one, average="macro")), 4) if several else None
    return {"n": len(one), "acc2": round(acc2, 4), "acc4": round(acc4, 4), "macro_f1": macro_f1}


def _slices(rows: Sequence[SoftRow], reference: Any) -> dict[tuple[str, str], list[int]]:
    """Row numbers by grade, by capability (the benchmark's `criteria`, the attributes that the teacher held against the item), by how often the query is asked."""
    found: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        names = {("grade", GRADES[reference[number]])} if reference[number] >= 0 else set()
        names |= {("criterion", str(name)) for name in row_of(row).get("criteria") or ()}
        names |= {("attribute", match.attribute) for match in (row.said.matches if row.said else None) or ()}
        if row.count is not None:
            names.add(("frequency", next((band for most, band in _BANDS if row.count <= most), "1000 and more")))
        for name in names:
            found.setdefault(name, []).append(number)
    return found


def table(report: dict[str, Any]) -> str:
    """The slices as text, one line each; empty without held-out rows."""
    lines = [f"{'slice':<34}{'rows':>7}{'acc2':>7}{'acc4':>7}{'macro-F1':>10}"] if report.get("slices") else []
    for one in report.get("slices", ()):
        if one["n"]:
            macro_f1 = "" if one["macro_f1"] is None else f"{one['macro_f1']:.3f}"
            lines.append(f"{one['slice'] + ' ' + one['value']:<34}{one['n']:>7}{one['acc2']:>7.3f}{one['acc4']:>7.3f}{macro_f1:>10}")
    return "\n".join(lines)
