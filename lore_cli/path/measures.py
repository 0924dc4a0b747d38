"""Measurements in tokenised text: `3/4 in.`, `6 ft x 8 ft`, `36x34.5x24 in`, `pack of 12`, `500毫升`, with the units of the rulebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lore_cli.path.knowledge import Vocabulary
from lore_cli.path.text import Tokens, amount, is_number

COUNT = "count"


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with its unit: `amount` in the first unit of `kind`; a bare number has the kind ''. Tokens `start` up to `end`."""

    kind: str
    amount: float
    number: str
    start: int
    end: int
    surface: str

    @property
    def dimension(self) -> str:
        """The attribute dimension it belongs to."""
        return "quantity-package" if self.kind == COUNT else "size-specification"


def measures(tokens: Tokens, vocabulary: Vocabulary) -> tuple[Measure, ...]:
    """Every number of a text, with its unit where it has one. In `36x34.5x24 in` the unit at the end holds for all three."""
    found: list[Measure] = []
    end = 0
    for index, word in enumerate(tokens.words):
        if index >= end and (word[0].isdigit() or tokens.words[index + 1 : index + 2] == ("of",)):
            measure = measure_at(tokens, index, vocabulary)
            if measure is not None:
                found.append(measure)
                end = measure.end
    return _spread(found, tokens.words)


def measure_at(tokens: Tokens, start: int, vocabulary: Vocabulary) -> Measure | None:
    """The measurement that begins at a token: a number with or without unit, or `pack of 12`; None when none begins there."""
    words = tokens.words
    if not is_number(words[start]):
        packed = start + 2 < len(words) and words[start + 1] == "of" and is_number(words[start + 2]) and vocabulary.is_in("pack", tokens.stems[start])
        return Measure(COUNT, amount(words[start + 2]), words[start + 2], start, start + 3, tokens.surface(start, start + 3)) if packed else None
    number, end, kind, factor = words[start], start + 1, "", 1.0
    unit = vocabulary.units.longest(tokens.stems, end) if end < len(words) else None
    if unit and not _preposition(tokens, end):
        end, (kind, factor, _) = end + unit[0], unit[1]
    return Measure(kind, amount(number) * factor, number, start, end, tokens.surface(start, end))


def _preposition(tokens: Tokens, index: int) -> bool:
    """`in` between two numbers without a full stop is a word (`2 in 1`), not inches."""
    if tokens.words[index] != "in" or index + 1 >= len(tokens) or not is_number(tokens.words[index + 1]):
        return False
    begin, end = tokens.spans[index]
    return tokens.text[begin:end] == "in" and tokens.text[end : end + 1] == " "


def _spread(found: Sequence[Measure], words: Sequence[str]) -> tuple[Measure, ...]:
    spread = list(found)
    for index in range(len(spread) - 2, -1, -1):
        this, after = spread[index], spread[index + 1]
        if not this.kind and after.kind and after.start == this.end + 1 and words[this.end] in ("x", "×", "by"):
            factor = after.amount / amount(after.number) if amount(after.number) else 1.0
            spread[index] = Measure(after.kind, this.amount * factor, this.number, this.start, this.end, this.surface)
    return tuple(spread)
