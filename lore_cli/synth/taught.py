"""Stage `rules` by a language model: it is asked a `Question`, shown the human grade, asked again for what cannot be used, then rejected.

`AlongNeeds` asks for the answer format along the needs that the knowledge stage found: reasoning that can be checked against the item, the
rulebook and the human grade. `Naive` asks for a free chain of thought in one prompt: of that only the grade can be checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lore_cli.answer import Answer, AnswerError, Layout, adheres, need_text, parse
from lore_cli.prompts import load_prompt, pair_prompt
from lore_cli.records import Evidence, Grade, Trace
from lore_cli.rulebook import Rulebook
from lore_cli.synth import Dropped
from lore_cli.synth.rules import Room, noted
from lore_cli.synth.teacher import Teacher, Unusable, hinted


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
        return answer


@dataclass(frozen=True, slots=True)
class Naive:
    """One prompt, reasoning in the model's own words, then the grade."""

    prompts: tuple[str, ...] = ("naive",)
    needs_first: bool = False

    def prompt(self, trace: Trace, rulebook: Rulebook, language: str) -> str:
        return pair_prompt(trace, rulebook, "naive", language)  # type: ignore[arg-type]

    def read(self, trace: Trace, reply: str, rulebook: Rulebook) -> Answer:
        return _parsed(reply, rulebook, "free")


def _parsed(reply: str, rulebook: Rulebook, layout: Layout) -> Answer:
    try:
        return parse(reply, rulebook, layout)
    except AnswerError as error:
        raise Unusable(f"the reply does not hold to the answer format: {error}") from error


@dataclass(frozen=True, slots=True)
class TaughtRules:
    """Path following by a language model. What does not parse, follow its own rules or agree with the human grade is asked again, then rejected."""

    room: Room
    teacher: Teacher
    question: Question = AlongNeeds()
    name: str = "rules"

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]:
        rows: list[Trace | Dropped] = [self._admitted(trace) for trace in traces]
        asked = [place for place, row in enumerate(rows) if isinstance(row, Trace)]
        kept = [row for row in rows if isinstance(row, Trace)]
        first: dict[int, Grade] = {}
        answers = self.teacher.ask([self._prompt(trace) for trace in kept], lambda number, reply: self._read(kept[number], reply, number, first))
        for number, (place, (answer, attempts, reason, replied)) in enumerate(zip(asked, answers, strict=True)):
            note: dict[str, object] = {"reading": f"attempt {attempts}", "first_grade": first.get(number)}
            if answer is not None:
                evidence = tuple(dict.fromkeys(Evidence(match.attribute, match.found, match.source) for match in answer.matches if match.found and match.source))
                rows[place] = self.room.finish(kept[number], answer, tuple(dict.fromkeys((*(kept[number].evidence or ()), *evidence))) or None, note)
            else:
                dropped = noted(kept[number], {"first_grade": first.get(number)})
                rows[place] = Dropped(dropped, "rejected" if replied else "failed", reason if replied else f"rules: {reason}")
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

    def _prompt(self, trace: Trace) -> str:
        return hinted(self.question.prompt(trace, self.room.rulebook, self.teacher.language), trace.grade, self.teacher.language)

    def _read(self, trace: Trace, reply: str, number: int, first: dict[int, Grade]) -> Answer:
        answer = self.question.read(trace, reply, self.room.rulebook)
        first.setdefault(number, answer.grade)
        if trace.grade not in (None, answer.grade):
            raise Unusable(f"no reading agrees with the human grade: the reply gives {answer.grade}, the human {trace.grade}")
        return answer
