"""A language model as teacher: asks for every row of a batch, reads strictly, asks again for what could not be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lore_cli.errors import Missing
from lore_cli.models import Blind, Cut, Look, TextModel, Unasked
from lore_cli.prompts import load_prompt
from lore_cli.records import Grade

Answer = TypeVar("Answer")


class Unusable(ValueError):
    """A reply that cannot be used; the text says why and becomes the reason of the rejection."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A `TextModel` and how it is asked: up to `attempts` replies a row, the first greedy, the others drawn at `temperature`."""

    model: TextModel
    name: str
    language: str = "en"
    attempts: int = 4
    temperature: float = 1.0
    seed: int = 0
    max_new_tokens: int = 256

    def ask(self, prompts: Sequence[str | Look], read: Callable[[int, str], Answer]) -> list[tuple[Answer | None, int, str, bool]]:
        """For each prompt (answer or None, attempts made, why the last reply was unusable, whether there was a reply at all).

        `read(row, reply)` gives the answer or raises `Unusable`. Raises `Missing` when a picture is put to a model that reads text only.
        """
        found: list[tuple[Answer | None, int, str, bool]] = [(None, 0, "never asked", False)] * len(prompts)
        open_rows = list(range(len(prompts)))
        for attempt in range(max(self.attempts, 1)):
            if not open_rows:
                break
            temperature = 0.0 if attempt == 0 else self.temperature
            replies = self.model.generate([prompts[row] for row in open_rows], temperature=temperature, max_new_tokens=self.max_new_tokens, seed=self.seed + attempt)
            still = []
            for row, drawn in zip(open_rows, replies, strict=True):
                reply = drawn[0]
                if isinstance(reply, Blind):
                    raise Missing(str(reply), hint="--vision takes a model that reads pictures")
                if isinstance(reply, Exception):
                    cut = isinstance(reply, Cut)
                    found[row] = (None, attempt + 1, f"{'the reply does not hold to the answer format' if cut else 'no reply'}: {reply}", cut)
                    if not isinstance(reply, Unasked):
                        still.append(row)
                    continue
                try:
                    found[row] = (read(row, reply), attempt + 1, "", True)
                except Unusable as problem:
                    found[row] = (None, attempt + 1, str(problem), True)
                    still.append(row)
            open_rows = still
        return found

    def identity(self) -> dict[str, str]:
        return {**self.model.identity(), "language": self.language, "attempts": str(self.attempts), "temperature": str(self.temperature)}


def hinted(question: str, grade: Grade | None, language: str) -> str:
    """The question with the human grade shown; as it is where nobody graded the pair."""
    return question if grade is None else load_prompt("hint", language).render(question=question, grade=grade)
