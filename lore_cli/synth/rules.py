"""Stage `rules`: needs held against the item, the rules applied, the grade; then the training text. The human grade is shown to the teacher.

What LORE does: the three stages' knowledge is merged into one reasoning per pair, and sister systems throw away reasoning whose grade
disagrees with the human's. Where we decide [ours]:
1. a reasoning is kept only when it follows its own rules: its grade is the one that its matches imply;
2. the expert teacher has alternative readings of what leaves room (`READINGS`), tried in this order, and takes the first whose implied grade is
   the human's; it never bends a state that a table or a measurement decides. When none agrees the pair is rejected;
3. how often the *first* reading agrees is counted apart: that is the expert's own accuracy, the later readings know the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lore_cli.answer import Answer, Layout, implied, render
from lore_cli.path.evidence import gather
from lore_cli.path.follow import PLAIN, Reading, follow
from lore_cli.path.knowledge import Glossary
from lore_cli.path.text import tokenise
from lore_cli.prompts import load_prompt, pair_prompt
from lore_cli.records import Evidence, Grade, Match, Need, Trace, change, row_of
from lore_cli.rulebook import Rulebook
from lore_cli.synth import Dropped

Needs = tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """How the training text is written: the prompt template, its language, the completion's layout."""

    prompt: str = "short"
    language: str = "en"
    layout: Layout = "answer-last"


@dataclass(frozen=True, slots=True)
class Room:
    """What every form of the stage needs. ungraded: keep pairs without a human grade, with the grade that their reasoning implies."""

    rulebook: Rulebook
    glossary: Glossary
    text: Text
    ungraded: bool = False

    def finish(self, trace: Trace, answer: Answer, evidence: tuple[Evidence, ...] | None, synthesis: dict[str, object]) -> Trace:
        """The trace with reasoning, training text and how it came about."""
        prompt = pair_prompt(trace, self.rulebook, self.text.prompt, self.text.language)  # type: ignore[arg-type]
        fields = {"evidence": evidence, "matches": answer.matches or None, "rules": answer.rules if answer.matches else None}
        done = change(trace, **fields, grade=answer.grade, prompt=prompt, completion=render(answer, self.text.layout))
        row_of(done)["synthesis"] = synthesis if trace.grade else {**synthesis, "ungraded": True}
        return done

    def identity(self) -> dict[str, str]:
        prompt = f"{self.text.prompt}:{load_prompt(self.text.prompt, self.text.language).hash}"
        return {"rulebook": self.rulebook.hash, "knowledge": self.glossary.hash, "prompt": prompt, "layout": self.text.layout, "ungraded": str(self.ungraded)}


def noted(trace: Trace, synthesis: dict[str, object]) -> Trace:
    """The trace with the row field `synthesis`, which says how it was made; it is no part of what is learnt."""
    done = change(trace)
    row_of(done)["synthesis"] = synthesis
    return done


@dataclass(frozen=True, slots=True)
class Labels:
    """The label-only form: prompt and human grade, nothing between. Every graded pair is kept, rater noise included."""

    room: Room
    name: str = "rules"

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]:
        return [
            self.room.finish(trace, Answer((), (), trace.grade), trace.evidence, {"reading": "label"}) if trace.grade else Dropped(trace, "rejected", "no human grade")
            for trace in traces
        ]

    def identity(self) -> dict[str, str]:
        return self.room.identity()


def lenient(needs: Needs, matches: Sequence[Match], rulebook: Rulebook) -> Needs:
    """Without what no table lists and the item does not confirm: a word the expert could not place need not be a demand."""
    kept = tuple(
        need
        for need, match in zip(needs, matches, strict=True)
        if match.state != "unknown" or need.attribute in ("category", "price-condition") or need.negated or need.value in rulebook.table(need.attribute).canonical
    )
    return kept or needs


def last_word(needs: Needs, matches: Sequence[Match], rulebook: Rulebook) -> Needs:
    """An unlisted product by its last word only: `filter` for `pool filter`."""
    first = needs[0]
    words = tokenise(first.value).words
    if first.attribute != "category" or first.negated or len(words) < 2 or not words[-1].isascii() or first.value in rulebook.table("category").canonical:
        return needs
    return (Need("category", words[-1]), *needs[1:])


def as_read(needs: Needs, matches: Sequence[Match], rulebook: Rulebook) -> Needs:
    """The needs as they are."""
    return needs


READINGS: tuple[tuple[str, Reading, Callable[[Needs, Sequence[Match], Rulebook], Needs]], ...] = (
    ("plain", PLAIN, as_read),
    ("exclusive", Reading(exclusive=True), as_read),
    ("cautious", Reading(other="never"), as_read),
    ("other-product", Reading(other="always"), as_read),
    ("last-word", PLAIN, last_word),
    ("lenient", PLAIN, lenient),
)
"""Name, how the item is read, how the needs are read. The first is the expert's own."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The reading that the expert settled on. first_grade: what its first reading gave, before it knew the human's."""

    needs: Needs
    answer: Answer
    reading: str
    first_grade: Grade

    def note(self) -> dict[str, object]:
        """What `synthesis` says of it; a later reading was taken because the human grade was in view."""
        return {"reading": self.reading, "first_grade": self.first_grade, **({"hinted": True} if self.reading != READINGS[0][0] else {})}


def choose(trace: Trace, room: Room, readings: int) -> Chosen | Dropped:
    """The first of the expert's readings whose implied grade is the human's; its first reading where nobody graded the pair."""
    if not trace.needs:
        return Dropped(trace, "failed", "rules: the row has no needs; run the knowledge stage before")
    first: Answer | None = None
    for name, reading, change_needs in READINGS[:readings]:
        needs = change_needs(trace.needs, first.matches, room.rulebook) if first else trace.needs
        if first and reading == PLAIN and needs == trace.needs:
            continue
        answer = implied(follow(needs, trace.item, room.rulebook, room.glossary, reading), room.rulebook)
        first = first or answer
        if trace.grade is None and not room.ungraded:
            return Dropped(noted(trace, {"first_grade": first.grade}), "rejected", "no human grade")
        if trace.grade in (None, answer.grade):
            return Chosen(needs, answer, name, first.grade)
    assert first is not None
    return Dropped(noted(trace, {"first_grade": first.grade}), "rejected", f"no reading agrees with the human grade: the rules give {first.grade}, the human {trace.grade}")


@dataclass(frozen=True, slots=True)
class ExpertRules:
    """Path following by the deterministic expert, which may choose among its readings when the human grade is shown. `readings`: how many of them."""

    room: Room
    readings: int = len(READINGS)
    name: str = "rules"

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]:
        return [self._one(trace) for trace in traces]

    def identity(self) -> dict[str, str]:
        return {**self.room.identity(), "readings": " ".join(name for name, _, _ in READINGS[: self.readings])}

    def _one(self, trace: Trace) -> Trace | Dropped:
        chosen = choose(trace, self.room, self.readings)
        if isinstance(chosen, Dropped):
            return chosen
        evidence = gather(trace.item, self.room.rulebook, chosen.needs, self.room.glossary)
        return self.room.finish(change(trace, needs=chosen.needs), chosen.answer, evidence, chosen.note())
