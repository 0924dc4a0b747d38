"""How lore-synth's teachers are chosen and checked: its options, and the stages that follow from them."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lore_cli.commands.common import Judging
from lore_cli.commands.sections import Section, options_of
from lore_cli.errors import UsageError
from lore_cli.progress import Log
from lore_cli.synth import Stage

if TYPE_CHECKING:  # the expert's tables are no use to --help, and would take half its time
    from lore_cli.answer import Layout
    from lore_cli.synth.rules import Room
    from lore_cli.synth.teacher import Hint, Teacher
    from lore_cli.synth.visual import Captioner

LAYOUTS, READINGS = ("answer-last", "answer-first", "label-only"), 6  # answer.LAYOUTS but for --naive, and the number of synth.rules.READINGS; a test holds them equal
HINTS = ("always", "retry", "never")  # synth.teacher.HINTS, likewise
_EXPERT = "rulebook:"
_EXPERT_BATCH = 64
_WINDOW_BATCHES = 4


@dataclass(frozen=True)
class Teaching:
    """What is asked of a teacher: see the options. `layout` is `free` for naive reasoning."""

    layout: Layout
    attempts: int
    votes: int
    agreement: float
    hint: Hint | None
    ungraded: bool

    def steps(
        self, chosen: tuple[str, ...], pictures: Path, fail_fast: bool, urls: bool, log: Log, judging: Judging, vision: str | None
    ) -> tuple[list[Stage], int]:  # fmt: skip
        """The stages ready to run, and how many rows they take at a time. Raises `UsageError` for options that contradict each other."""
        from lore_cli.path.knowledge import load_glossary, vocabulary
        from lore_cli.synth.agreement import TwoTeachers
        from lore_cli.synth.knowledge import ExpertKnowledge, TaughtKnowledge
        from lore_cli.synth.rules import Labels, Room, Text
        from lore_cli.synth.visual import Captioned, PixelCaptioner, TaughtVisual

        settings = judging.settings
        self._refuse_contradictions(settings.prompt, judging)
        rulebook, glossary = settings.rulebook, load_glossary(settings.knowledge)
        left_out = vocabulary(rulebook, glossary).branches.note()
        if left_out:
            log.say(left_out)
        room = Room(rulebook, glossary, Text("short" if settings.prompt == "auto" else settings.prompt, settings.language, self.layout), self.ungraded)
        knowledge: Stage = ExpertKnowledge(rulebook, glossary)
        captioner = self._captioner(vision, judging) if vision and "visual" in chosen else PixelCaptioner(rulebook)
        visual: Stage = Captioned(rulebook, pictures, fail_fast, captioner, urls)
        if self.layout == "label-only":
            return _picked(chosen, knowledge, visual, Labels(room)), _EXPERT_BATCH
        teachers = [self._teacher(dataclasses.replace(judging, uri=uri), bool(judging.others)) for uri in (judging.uri, *judging.others)]
        first = teachers[0]
        if first is not None and self.layout != "free":
            knowledge, visual = TaughtKnowledge(rulebook, glossary, first), TaughtVisual(visual, first)
        rules = [self._rules(room, teacher, settings.seed, bool(judging.others)) for teacher in teachers]
        asked = any(teacher is not None for teacher in teachers)
        return _picked(chosen, knowledge, visual, TwoTeachers(*rules) if judging.others else rules[0]), settings.batch_size * _WINDOW_BATCHES if asked else _EXPERT_BATCH

    def by_expert(self) -> Teaching:
        """The same, where the expert stands in for a language model: it has no votes."""
        return dataclasses.replace(self, votes=1)

    def _rules(self, room: Room, teacher: Teacher | None, seed: int, two: bool) -> Stage:
        """The stage `rules` by one teacher; None is the expert, who has one reading where the human grade is not shown."""
        from lore_cli.synth.naive import ExpertNaive
        from lore_cli.synth.rules import ExpertRules
        from lore_cli.synth.taught import AlongNeeds, Naive, TaughtRules

        naive = self.layout == "free"
        if teacher is not None:
            return TaughtRules(room, teacher, Naive() if naive else AlongNeeds())
        readings = 1 if self._hint(two) == "never" else min(self.attempts, READINGS)
        return ExpertNaive(room, readings, seed) if naive else ExpertRules(room, readings)

    def _teacher(self, judging: Judging, two: bool) -> Teacher | None:
        """The language model behind a judge URI, None for the expert."""
        if judging.uri == _EXPERT:
            return None
        return self._asked(judging, two)

    def _captioner(self, uri: str, judging: Judging) -> Captioner:
        """The vision model behind a URI, asked with the judge's settings."""
        from lore_cli.synth.vision import VisionCaptioner

        return VisionCaptioner(self._asked(dataclasses.replace(judging, uri=uri, options=judging.options | {"prompt": "judge"}), False))

    def _asked(self, judging: Judging, two: bool) -> Teacher:
        """The language model behind a judge URI. Raises `UsageError` for a judge that writes no text."""
        from lore_cli.judges.language import LanguageJudge
        from lore_cli.synth.teacher import Teacher

        judge = dataclasses.replace(judging, options=judging.options | {"structured": "off"}).open()  # a stage has another format than a verdict
        if not isinstance(judge, LanguageJudge):
            raise UsageError(f"{judging.uri} writes no reasoning and no captions", hint="give hf:PATH, vllm:PATH or http://HOST/v1#MODEL; as --judge also rulebook:")
        settings = judging.settings
        return Teacher(
            judge.model, judging.uri, settings.language, self.attempts, settings.temperature, settings.seed, settings.max_new_tokens,
            self.votes, self.agreement, self._hint(two),
        )  # fmt: skip

    def _hint(self, two: bool) -> Hint:
        """Annotators whose agreement is to tell something work without the answer."""
        return self.hint or ("never" if two else "always")

    def _refuse_contradictions(self, prompt: str, judging: Judging) -> None:
        naive = self.layout == "free"
        if (naive and prompt == "judge") or (prompt == "naive" and not naive):
            raise UsageError(f"the prompt '{prompt}' asks for another form than {'free text' if naive else self.layout}", hint="--prompt naive goes with --naive, --prompt short with both")
        if len(judging.others) > 1:
            raise UsageError(f"--judge is given {1 + len(judging.others)} times", hint="one teacher, or two that must agree")
        if self.votes > 1 and _EXPERT in (judging.uri, *judging.others):
            raise UsageError("--votes draws replies from a language model; the expert has one answer", hint="leave --votes out, or name a language model with --judge")
        if self.votes > 1 and not judging.settings.temperature:
            raise UsageError("--votes with --temperature 0 draws the same reply each time", hint="leave --temperature at 1")


def _picked(chosen: tuple[str, ...], *stages: Stage) -> list[Stage]:
    return [stage for stage in stages if stage.name in chosen]


def teaching_options(function: Any) -> Any:
    """--layout --naive --attempts --votes --agreement --hint --accept-ungraded → `teaching: Teaching`."""

    @options_of(
        Section.REASONING,
        click.option("--layout", type=click.Choice(LAYOUTS), default="answer-last", help="Order of the completion; label-only is the human grade alone."),
        click.option("--naive", is_flag=True, help="Single-prompt chain of thought in free text, then the grade: for comparison with the stages."),
        click.option("--attempts", type=click.IntRange(min=1), default=READINGS, help="Rounds of asking a language model, or readings the expert may try, until one is accepted."),
        click.option("--votes", type=click.IntRange(min=1), default=1, help="Replies to draw in each round, which must agree on the grade (self-consistency)."),
        click.option("--agreement", type=click.FloatRange(min=0, max=1, min_open=True), default=0.5, help="Share of the votes that must agree."),
        click.option("--hint", type=click.Choice(HINTS), help="When a teacher sees the human grade; retry: only after a first failure.  [default: always; never with two teachers]"),
        click.option("--accept-ungraded", is_flag=True, help="Keep pairs without a human grade, with the grade their reasoning implies."),
    )
    @functools.wraps(function)
    def call(*, layout: Layout, naive: bool, attempts: int, votes: int, agreement: float, hint: Hint | None, accept_ungraded: bool, **rest: Any) -> Any:
        if naive and layout != "answer-last":
            raise UsageError(f"--naive writes free text, --layout {layout} another form", hint="leave one of them out")
        return function(teaching=Teaching("free" if naive else layout, attempts, votes, agreement, hint, accept_ungraded), **rest)

    return call
