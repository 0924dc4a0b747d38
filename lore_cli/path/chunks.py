"""A query cut into meaningful chunks by longest match: listed values, glossary terms, measurements, price limits, exclusions, markers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from lore_cli.path.knowledge import Vocabulary
from lore_cli.path.measures import Measure, measure_at, measures
from lore_cli.path.text import GAP, Tokens, is_han, is_number
from lore_cli.records import Need

Kind = Literal["listed", "known", "measure", "price", "target", "with", "place", "stop", "gap", "word"]

_MARKERS = (("accessory", "target"), ("with", "with"), ("place", "place"), ("stop", "stop"), ("price_below", "stop"), ("price_above", "stop"))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `start` up to `end` of a query and what they are.

    listed: a value of `dimension`. known: a glossary term, see `needs`. target: "for", "用". word: nothing that is listed.
    """

    kind: Kind
    start: int
    end: int
    text: str
    dimension: str = ""
    negated: bool = False
    needs: tuple[Need, ...] = ()
    measure: Measure | None = None


def chunk(tokens: Tokens, vocabulary: Vocabulary) -> tuple[Chunk, ...]:
    """Cut the tokens of a query, spelling mended, into chunks that cover all of them."""
    sized = {measure.start: measure for measure in measures(tokens, vocabulary)}
    chunks: list[Chunk] = []
    index = 0
    while index < len(tokens):
        found = _next(tokens, index, vocabulary, sized)
        chunks.extend(found)
        index = found[-1].end
    return tuple(chunks)


def _next(tokens: Tokens, index: int, vocabulary: Vocabulary, sized: dict[int, Measure]) -> list[Chunk]:
    if tokens.words[index] == GAP:
        return [Chunk("gap", index, index + 1, GAP)]
    value = _value(tokens, index, vocabulary)
    negation = vocabulary.words["negation"].longest(tokens.stems, index)
    if value and (not negation or value.end - value.start > negation[0]):
        return [_absent(tokens, value, vocabulary)]
    price = _price(tokens, index, vocabulary)
    if price:
        return [price]
    if negation:
        excluded = _excluded(tokens, index, index + negation[0], vocabulary)
        if excluded:
            return excluded
    measure = sized.get(index)
    if measure and tokens.words[index + 1 : index + 2] == ("in",) and measure.end == index + 1 and index + 2 in sized:
        return [Chunk("word", index, index + 3, tokens.surface(index, index + 3))]  # `2 in 1`
    if measure:
        return [Chunk("measure", index, measure.end, tokens.surface(index, measure.end), measure.dimension, measure=measure)]
    if tokens.words[index] in ("x", "by") and 0 < index < len(tokens) - 1 and is_number(tokens.words[index + 1]):
        return [Chunk("stop", index, index + 1, tokens.words[index])]
    for name, kind in _MARKERS:
        marker = vocabulary.words[name].longest(tokens.stems, index) if name in vocabulary.words else None
        if marker:
            return [Chunk(kind, index, index + marker[0], marker[1])]  # type: ignore[arg-type]
    phrase = vocabulary.words["modifier"].longest(tokens.stems, index) if "modifier" in vocabulary.words else None
    if phrase and phrase[0] > 1:
        return [Chunk("word", index, index + phrase[0], phrase[1])]  # `heavy duty`
    return [Chunk("word", index, index + 1, tokens.stems[index])]


def _value(tokens: Tokens, index: int, vocabulary: Vocabulary) -> Chunk | None:
    listed = vocabulary.listed.longest(tokens.stems, index)
    known = vocabulary.glossary.longest(tokens.stems, index)
    if known and (not listed or known[0] >= listed[0]):
        return Chunk("known", index, index + known[0], tokens.surface(index, index + known[0]), needs=known[1])
    if listed:
        dimension, canonical = listed[1][0]
        return Chunk("listed", index, index + listed[0], canonical, dimension)
    return None


def _absent(tokens: Tokens, value: Chunk, vocabulary: Vocabulary) -> Chunk:
    """`leather free` excludes leather."""
    after = value.end
    if value.kind == "listed" and after < len(tokens) and vocabulary.is_in("absence", tokens.stems[after]) and value.dimension in ("material", "ingredient-component"):
        return replace(value, end=after + 1, negated=True)
    return value


def _excluded(tokens: Tokens, start: int, index: int, vocabulary: Vocabulary) -> list[Chunk] | None:
    """What follows a negation: listed values (`not leather or velvet`), or for an exclusion any words (`without lid`); None when it is neither."""
    index = _skip(tokens, index, vocabulary)
    chunks: list[Chunk] = []
    while index < len(tokens):
        value = _value(tokens, index, vocabulary)
        if not value or value.kind != "listed" or (chunks and value.dimension != chunks[0].dimension):
            break
        chunks.append(replace(value, start=start, negated=True))
        start = value.end
        index = _skip(tokens, value.end, vocabulary, joining=True)
        if index == value.end:
            break
    if chunks or not vocabulary.words.get("exclusion") or not vocabulary.words["exclusion"].longest(tokens.stems, start):
        return chunks or None
    end = index
    while end < len(tokens) and (end < index + 2 or is_han(tokens.words[end])) and _plain(tokens, end, vocabulary):
        end += 1
    return [Chunk("word", start, end, tokens.surface(index, end), "ingredient-component", negated=True)] if end > index else None


def _skip(tokens: Tokens, index: int, vocabulary: Vocabulary, joining: bool = False) -> int:
    allowed = ("or", "and", "nor", GAP, "和", "或", "、") if joining else ("a", "an", "the", "any")
    while index < len(tokens) and tokens.words[index] in allowed:
        index += 1
    return index


def _plain(tokens: Tokens, index: int, vocabulary: Vocabulary) -> bool:
    marked = any(vocabulary.words[name].longest(tokens.stems, index) for name in ("accessory", "with", "place", "stop") if name in vocabulary.words)
    return tokens.words[index] != GAP and not marked and not is_number(tokens.words[index])


def _price(tokens: Tokens, index: int, vocabulary: Vocabulary) -> Chunk | None:
    """`under 40`, `over $20`, `低于40元`, `40元以下`; a number with another unit (`under 40 in`) is no price."""
    for name, word in (("price_below", "under"), ("price_above", "over")):
        phrases = vocabulary.words.get(name)
        limit = phrases.longest(tokens.stems, index) if phrases else None
        if limit and index + limit[0] < len(tokens) and is_number(tokens.words[index + limit[0]]):
            number = index + limit[0]
            end = _money(tokens, number + 1, vocabulary)
            if end == number + 1 and measure_at(tokens, number, vocabulary).kind:  # type: ignore[union-attr]
                return None
            return Chunk("price", index, end, f"{word} {tokens.words[number]}", "price-condition")
        if is_number(tokens.words[index]) and phrases:
            end = _money(tokens, index + 1, vocabulary)
            after = phrases.longest(tokens.stems, end) if end < len(tokens) else None
            if after and not after[1].isascii():
                return Chunk("price", index, end + after[0], f"{word} {tokens.words[index]}", "price-condition")
    return None


def _money(tokens: Tokens, index: int, vocabulary: Vocabulary) -> int:
    """The token after a currency word at `index`, or `index` itself."""
    unit = vocabulary.words["currency"].longest(tokens.stems, index) if "currency" in vocabulary.words and index < len(tokens) else None
    return index + unit[0] if unit else index
