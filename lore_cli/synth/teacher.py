"""A language model as teacher: asks for every row of a batch, reads strictly, asks again for what could not be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from lore_cli.errors import Missing
from lore_cli.models import Blind, Cut, Look, TextModel, Unasked
from lore_cli.prompts import load_prompt
from lore_cli.records import Grade

Answer = TypeVar("Answer")
Hint = Literal["always", "retry", "never"]
HINTS: tuple[Hint, ...] = ("always", "retry", "never")


class Unusable(ValueError):
    """A reply that cannot be used; the text says why and becomes the reason of the rejection."""


@dataclass(frozen=True, slots=True)
class Reply(Generic[Answer]):
    """What came of asking for one row. answer None: `reason` says why the last round was of no use; replied: whether there was a reply at all."""

    answer: Answer | None
    attempts: int
    reason: str
    replied: bool


@dataclass(frozen=True, slots=True)
class Teacher:
    """A `TextModel` and how it is asked: up to `attempts` rounds a row, the first greedy, the others drawn at `temperature`.

    votes: replies drawn in each round, of which a share of `agreement` must agree (self-consistency, Wang et al. 2022, arXiv 2203.11171; a share
    to reject by is ours). hint: whether the human grade is shown in every round, from the second on, or never.
    """

    model: TextModel
    name: str
    language: str = "en"
    attempts: int = 4
    temperature: float = 1.0
    seed: int = 0
    max_new_tokens: int = 256
    votes: int = 1
    agreement: float = 0.5
    hint: Hint = "always"

    def ask(self, prompts: Sequence[str | Look], read: Callable[[int, str], Answer]) -> list[Reply[Answer]]:
        """One reply that can be used for each prompt. `read(row, reply)` gives the answer or raises `Unusable`."""
        return self.vote(lambda _, row: prompts[row], len(prompts), read, lambda _, answers: answers[0], votes=1)

    def vote(
        self,
        prompt: Callable[[int, int], str | Look],
        rows: int,
        read: Callable[[int, str], Answer],
        settle: Callable[[int, list[Answer]], Answer],
        votes: int | None = None,
    ) -> list[Reply[Answer]]:
        """`votes` replies (as set, unless given) for each row and round until `settle(row, answers)` makes one of those that could be read, or raises `Unusable`.

        `prompt(attempt, row)` is asked in round `attempt`, counted from 0. Raises `Missing` when a picture is put to a model that reads text only.
        """
        votes = self.votes if votes is None else votes
        found: list[Reply[Answer]] = [Reply(None, 0, "never asked", False)] * rows
        open_rows = list(range(rows))
        for attempt in range(max(self.attempts, 1)):
            if not open_rows:
                break
            temperature = 0.0 if attempt == 0 and votes == 1 else self.temperature
            drawn = self.model.generate(
                [prompt(attempt, row) for row in open_rows],
                samples=votes, temperature=temperature, max_new_tokens=self.max_new_tokens, seed=self.seed + attempt,
            )  # fmt: skip
            still = []
            for row, replies in zip(open_rows, drawn, strict=True):
                blind = next((reply for reply in replies if isinstance(reply, Blind)), None)
                if blind:
                    raise Missing(str(blind), hint="--vision takes a model that reads pictures")
                found[row] = _settled(row, attempt + 1, replies, read, settle)
                if found[row].answer is None and not any(isinstance(reply, Unasked) for reply in replies):
                    still.append(row)
            open_rows = still
        return found

    def is_hinted(self, attempt: int) -> bool:
        """Whether the human grade is shown in a round, counted from 0."""
        return self.hint == "always" or (self.hint == "retry" and attempt > 0)

    def identity(self) -> dict[str, str]:
        asked = {"language": self.language, "attempts": str(self.attempts), "temperature": str(self.temperature)}
        return {**self.model.identity(), **asked, "votes": str(self.votes), "agreement": str(self.agreement), "hint": self.hint}


def _settled(
    row: int, attempts: int, replies: Sequence[str | Exception], read: Callable[[int, str], Answer], settle: Callable[[int, list[Answer]], Answer]
) -> Reply[Answer]:  # fmt: skip
    """One round of one row. A reply that was cut cannot be used; where none came at all the row was not answered."""
    answers, reason = [], ""
    for reply in replies:
        try:
            if isinstance(reply, Cut):
                raise Unusable(f"the reply does not hold to the answer format: {reply}")
            if not isinstance(reply, Exception):
                answers.append(read(row, reply))
        except Unusable as problem:
            reason = str(problem)
    if not answers and not reason:
        return Reply(None, attempts, f"no reply: {replies[-1]}", False)
    try:
        if not answers:
            raise Unusable(reason)
        return Reply(settle(row, answers), attempts, "", True)
    except Unusable as problem:
        return Reply(None, attempts, str(problem), True)


def hinted(question: str, grade: Grade, language: str) -> str:
    """The question with the human grade shown."""
    return load_prompt("hint", language).render(question=question, grade=grade)
