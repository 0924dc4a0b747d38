"""The stages run one after the other over batches of rows, and the count of what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lore_cli.ledger import Outcome
from lore_cli.records import GRADES, Trace, change, row_of
from lore_cli.stream import chunks
from lore_cli.synth import STAGES, Dropped, Stage
from lore_cli.synth.agreement import cohen_kappa


def synthesise(traces: Iterable[Trace], stages: Sequence[Stage], batch: int) -> Iterator[Outcome]:
    """Every row through every stage, `batch` rows at a time, one outcome per row in order.

    A row that an earlier run left with an `error` of a stage that is not run now stays failed: what is missing is not passed over.
    """
    names = {stage.name for stage in stages}
    for window in chunks(traces, batch):
        current: list[Trace | Dropped] = [_admitted(trace, names) for trace in window]
        for stage in stages:
            going = [row for row in current if isinstance(row, Trace)]
            results = iter(stage(going))
            current = [next(results) if isinstance(row, Trace) else row for row in current]
        yield from map(_outcome, current)


def _admitted(trace: Trace, names: set[str]) -> Trace | Dropped:
    error = row_of(trace).get("error")
    if not error:
        return trace
    stage, _, reason = str(error).partition(": ")
    return change(trace, error=None) if stage in names else Dropped(trace, "failed", str(error))


def _outcome(row: Trace | Dropped) -> Outcome:
    if isinstance(row, Trace):
        return Outcome("done", row_of(row))
    return Outcome(row.state, {**row_of(row.trace), ("error" if row.state == "failed" else "reason"): row.reason})


@dataclass
class Tally:
    """What became of the rows: per human grade accepted and rejected, in which stage and why; how many needed the hint; how often a first reading agreed.

    It reads only the rows written, so rows taken over by --resume count too.
    """

    accepted: Counter[str] = field(default_factory=Counter)
    hinted: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    readings: Counter[str] = field(default_factory=Counter)
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    teachers: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        row, grade = outcome.row, outcome.row.get("grade") or "none"
        said = row.get("synthesis") or {}
        if outcome.state == "rejected":
            stage, reason = _stage_of(str(row.get("reason", "")))
            self.rejected[stage, grade] += 1
            self.reasons[reason] += 1
        elif outcome.state == "done" and "completion" in row:
            self.accepted[grade] += 1
            self.hinted[grade] += bool(said.get("hinted"))
        if said and outcome.state != "failed":
            self.readings[said.get("reading") or "none"] += 1
            if grade in GRADES and said.get("first_grade") and not said.get("ungraded"):
                self.confusion[grade, said["first_grade"]] += 1
            if said.get("first_grade") and said.get("second_grade"):
                self.teachers[said["first_grade"], said["second_grade"]] += 1

    def counts(self) -> dict[str, Any]:
        """For the manifest: accepted, hinted, rejected (per stage and grade, and why), readings, agreement of the first reading with the human grades
        (acc4, acc2, per grade) and of two teachers with each other."""
        rows = sum(self.confusion.values())
        by_stage: dict[str, dict[str, int]] = {}
        by_grade: Counter[str] = Counter()
        for (stage, grade), count in sorted(self.rejected.items(), key=lambda item: (STAGES.index(item[0][0]), item[0][1])):
            by_stage.setdefault(stage, {})[grade] = count
            by_grade[grade] += count
        found: dict[str, Any] = {
            "accepted": dict(sorted(self.accepted.items())), "hinted": {grade: count for grade, count in sorted(self.hinted.items()) if count},
            "rejected_by_grade": dict(sorted(by_grade.items())), "rejected_by_stage": by_stage, "reasons": dict(self.reasons.most_common()),
            "readings": dict(self.readings.most_common()),
        }  # fmt: skip
        if rows:
            same = sum(count for (human, first), count in self.confusion.items() if human == first)
            split = sum(count for (human, first), count in self.confusion.items() if (human >= "L3") == (first >= "L3"))
            found["first_reading"] = {
                "rows": rows, "acc4": round(same / rows, 4), "acc2": round(split / rows, 4), "macro_f1": round(self._macro_f1(), 4),
                "confusion": {human: {first: self.confusion[human, first] for first in GRADES} for human in GRADES},
            }  # fmt: skip
        if self.teachers:
            kappa = cohen_kappa(self.teachers)
            same = sum(count for (one, other), count in self.teachers.items() if one == other)
            found["teachers"] = {"rows": self.teachers.total(), "agreement": round(same / self.teachers.total(), 4), "kappa": None if kappa is None else round(kappa, 4)}
        return found

    def lines(self) -> list[str]:
        """The summary for a reader."""
        found = self.counts()
        grades = sorted({*self.accepted, *found["rejected_by_grade"]})
        lines = [
            f"{grade}: {self.accepted[grade]} accepted{f' ({self.hinted[grade]} with the human grade in view)' if self.hinted[grade] else ''}, "
            f"{found['rejected_by_grade'].get(grade, 0)} rejected"
            for grade in grades
        ]
        for stage, counts in found["rejected_by_stage"].items():
            lines.append(f"rejected in {stage}: {', '.join(f'{count} {grade}' for grade, count in counts.items())}")
        lines += [f"rejected because: {reason} ({count})" for reason, count in self.reasons.most_common(5)]
        if "first_reading" in found:
            first = found["first_reading"]
            lines.append(f"the first reading agrees with the human grade: {first['acc4']:.1%} of {first['rows']} (Acc@2 {first['acc2']:.1%}, Macro-F1 {first['macro_f1']:.1%})")
        if "teachers" in found:
            both = found["teachers"]
            kappa = "–" if both["kappa"] is None else f"{both['kappa']:.3f}"
            lines.append(f"the teachers agree with each other: {both['agreement']:.1%} of {both['rows']} (Cohen's kappa {kappa})")
        return lines

    def _macro_f1(self) -> float:
        """Unweighted mean over the grades that occur of 2·hits / (given + predicted)."""
        scores = []
        for grade in GRADES:
            given = sum(self.confusion[grade, other] for other in GRADES)
            predicted = sum(self.confusion[other, grade] for other in GRADES)
            if given + predicted:
                scores.append(2 * self.confusion[grade, grade] / (given + predicted))
        return sum(scores) / len(scores)


def _stage_of(reason: str) -> tuple[str, str]:
    """(stage, reason without its particulars) of a rejection. Reasons of the rules stage stand without its name."""
    stage, _, rest = reason.partition(": ")
    stage, reason = (stage, rest) if stage in STAGES else ("rules", reason)
    return stage, reason.partition(":")[0]
