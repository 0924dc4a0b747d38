"""Stage `rules` by a language model: it is asked a `Question`, asked again for what cannot be used, then rejected.

`AlongNeeds` asks for the answer format along the needs that the knowledge stage found: reasoning that can be checked against the item, the
rulebook and the human grade. `Naive` asks for a free chain of thought in one prompt: of that only the grade can be checked.

The human grade is shown in every round unless `--hint` says otherwise: that is the sourced habit (DyKnow-RAG lets the teacher explain the human
grade; ADORE throws away what disagrees with it). `retry`, which shows it only after a first failure, is STaR's rationalisation (Zelikman et al.
2022, arXiv 2203.14465). A trace made with the grade in view says `hinted` in its `synthesis`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lore_cli.answer import Answer, AnswerError, Layout, adheres, need_text, parse
from lore_cli.prompts import load_prompt, pair_prompt
from lore_cli.records import Evidence, Grade, Trace
from lore_cli.rulebook import Rulebook
from lore_cli.synth import Dropped, checks
from lore_cli.synth.rules import Room, noted
from lore_cli.synth.teacher import Reply, Teacher, Unusable, hinted


class Question(Protocol):
    """What a teacher is asked about a pair, and how its reply is read. `prompts`: the templates used, for identities."""

    prompts: tuple[str, ...]
    needs_first: bool

    def prompt(self, trace: Trace, rulebook: Rulebook, language: str) -> str: ...

    def read(self, trace: Trace, reply: str, rulebook: Rulebook) -> Answer:
        """Raises `Unusable` for a reply that is not the answer asked for."""
        ...


@dataclass(frozen=True, slots=True)
class AlongNeeds:
    """The full protocol, answered need by need."""

    prompts: tuple[str, ...] = ("judge", "rules")
    needs_first: bool = True

    def prompt(self, trace: Trace, rulebook: Rulebook, language: str) -> str:
        needs = "\n".join(f"{need.attribute} = {need_text(need)}" for need in trace.needs or ())
        return load_prompt("rules", language).render(protocol=pair_prompt(trace, rulebook, "judge", language), needs=needs)  # type: ignore[arg-type]

    def read(self, trace: Trace, reply: str, rulebook: Rulebook) -> Answer:
        answer = _parsed(reply, rulebook, "answer-last")
        if [(match.attribute, match.need) for match in answer.matches] != [(need.attribute, need_text(need)) for need in trace.needs or ()]:
            raise Unusable("the reply does not answer the needs one by one")
        if not adheres(answer, rulebook):
            grade, rules = rulebook.grade(answer.matches)
            raise Unusable(f"the reply breaks its own rules: its matches give {grade} by {' '.join(rules) or 'no rule'}, it says {answer.grade}")
        _refuse(checks.held(answer.matches, trace.item, rulebook))
        _refuse(checks.leak(reply, trace))  # type: ignore[arg-type]
        return answer


@dataclass(frozen=True, slots=True)
class Naive:
    """One prompt, reasoning in the model's own words, then the grade."""

    prompts: tuple[str, ...] = ("naive",)
    needs_first: bool = False

    def prompt(self, trace: Trace, rulebook: Rulebook, language: str) -> str:
        return pair_prompt(trace, rulebook, "naive", language)  # type: ignore[arg-type]

    def read(self, trace: Trace, reply: str, rulebook: Rulebook) -> Answer:
        answer = _parsed(reply, rulebook, "free")
        _refuse(checks.leak(reply, trace))  # type: ignore[arg-type]
        return answer


def _parsed(reply: str, rulebook: Rulebook, layout: Layout) -> Answer:
    try:
        return parse(reply, rulebook, layout)
    except AnswerError as error:
        raise Unusable(f"the reply does not hold to the answer format: {error}") from error


def _refuse(problem: str | None) -> None:
    if problem:
        raise Unusable(problem)


@dataclass(frozen=True, slots=True)
class TaughtRules:
    """Path following by a language model. What does not parse, passes no check, finds no majority or disagrees with the human grade is asked again, then rejected."""

    room: Room
    teacher: Teacher
    question: Question = AlongNeeds()
    name: str = "rules"

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]:
        rows: list[Trace | Dropped] = [self._admitted(trace) for trace in traces]
        asked = [place for place, row in enumerate(rows) if isinstance(row, Trace)]
        kept = [row for row in rows if isinstance(row, Trace)]
        ballots: list[list[Counter[Grade]]] = [[] for _ in kept]

        def settle(number: int, answers: list[Answer]) -> Answer:
            ballots[number].append(Counter(answer.grade for answer in answers))
            return self._settled(kept[number], answers)

        replies = self.teacher.vote(
            lambda attempt, number: self._prompt(kept[number], attempt), len(kept), lambda number, reply: self.question.read(kept[number], reply, self.room.rulebook), settle
        )  # fmt: skip
        for number, (place, reply) in enumerate(zip(asked, replies, strict=True)):
            rows[place] = self._row(kept[number], reply, ballots[number])
        return rows

    def identity(self) -> dict[str, str]:
        prompts = {f"{name}_prompt": load_prompt(name, self.teacher.language).hash for name in (*self.question.prompts, "hint")}
        return {**self.teacher.identity(), **self.room.identity(), **prompts}

    def _admitted(self, trace: Trace) -> Trace | Dropped:
        if self.question.needs_first and not trace.needs:
            return Dropped(trace, "failed", "rules: the row has no needs; run the knowledge stage before")
        if trace.grade is None and not self.room.ungraded:
            return Dropped(trace, "rejected", "no human grade")
        return trace

    def _prompt(self, trace: Trace, attempt: int) -> str:
        question = self.question.prompt(trace, self.room.rulebook, self.teacher.language)
        return hinted(question, trace.grade, self.teacher.language) if trace.grade and self.teacher.is_hinted(attempt) else question

    def _settled(self, trace: Trace, answers: list[Answer]) -> Answer:
        """The answer to keep: of the grade that enough votes agree on, which must be the human's, one with the most common states of its matches."""
        grade, count = Counter(answer.grade for answer in answers).most_common(1)[0]
        if count < self.teacher.agreement * self.teacher.votes:
            raise Unusable(f"too few votes agree: {count} of {self.teacher.votes} for {grade}")
        if trace.grade not in (None, grade):
            raise Unusable(f"no reading agrees with the human grade: the reply gives {grade}, the human {trace.grade}")
        if len(answers) == 1:
            return answers[0]
        agreeing = [answer for answer in answers if answer.grade == grade]
        common = Counter(map(_states, agreeing)).most_common(1)[0][0]
        return next(answer for answer in agreeing if _states(answer) == common)

    def _row(self, trace: Trace, reply: Reply[Answer], ballots: list[Counter[Grade]]) -> Trace | Dropped:
        note: dict[str, object] = {}
        if ballots and not (trace.grade and self.teacher.hint == "always"):  # a grade given with the human's in view agrees with nobody
            note["first_grade"] = ballots[0].most_common(1)[0][0]
        if self.teacher.votes > 1 and ballots:
            note |= {"votes": self.teacher.votes, "agreement": round(ballots[-1].most_common(1)[0][1] / self.teacher.votes, 4)}
        if reply.answer is None:
            return Dropped(noted(trace, note), "rejected" if reply.replied else "failed", reply.reason if reply.replied else f"rules: {reply.reason}")
        note = {"reading": f"attempt {reply.attempts}", **note}
        if trace.grade and self.teacher.is_hinted(reply.attempts - 1):
            note["hinted"] = True
        cited = (Evidence(match.attribute, match.found, match.source) for match in reply.answer.matches if match.found and match.source)
        return self.room.finish(trace, reply.answer, tuple(dict.fromkeys((*(trace.evidence or ()), *cited))) or None, note)


def _states(answer: Answer) -> tuple[str, ...]:
    return tuple(match.state for match in answer.matches)
