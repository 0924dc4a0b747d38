"""Contrastive variants of a query: one demand said otherwise, where it stands in the text. What a variant means is not decided here: see mine.py.

The item is never touched: its text, its photo and its id stay those of a real listing, and a changed query can contradict none of them [ours].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lore_cli.answer import clean_value
from lore_cli.path.chunks import Chunk, chunk
from lore_cli.path.knowledge import Vocabulary
from lore_cli.path.measures import COUNT, Measure
from lore_cli.path.needs import mended
from lore_cli.path.text import Tokens, amount, is_han, is_number, tokenise
from lore_cli.records import Match, Need
from lore_cli.values import Values

_FACTORS = (2.0, 1.5, 0.5)
_READABLE = (1, 1000)  # numbers as shoppers write them
_SAME = 0.005  # how far a rounded amount in another unit may be from the one asked for
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Said:
    """A need of a query, how the item meets it, and the tokens `place` where the query says it."""

    need: Need
    match: Match
    place: Place
    tokens: Tokens
    known: Vocabulary
    measure: Measure | None = None

    @property
    def table(self) -> Values:
        """The values of the need's dimension."""
        return self.known.rulebook.table(self.need.attribute)

    @property
    def listed(self) -> bool:
        """Whether the rulebook lists the value."""
        return self.need.value in self.table.canonical

    @property
    def chinese(self) -> bool:
        """Whether the value is written in Han characters."""
        return any(is_han(word) for word in self.tokens.words[slice(*self.place)])

    def instead(self, text: str, place: Place | None = None) -> str:
        """The query with the words at the place replaced."""
        start, end = place or self.place
        spans, whole = self.tokens.spans, self.tokens.text
        return " ".join(f"{whole[: spans[start][0]]}{text}{whole[spans[end - 1][1] :]}".split())

    def name(self, value: str) -> str | None:
        """A listed value in the script of the query; None when the rulebook has no such name for it."""
        return next((form for form in (value, *self.table.surfaces(value)) if any(map(is_han, form)) == self.chinese), None)


def said(query: str, needs: Iterable[Need], matches: Iterable[Match], known: Vocabulary) -> Iterator[Said]:
    """Every need whose words are found in the query."""
    tokens = mended(tokenise(query), known)
    parts = chunk(tokens, known)
    for need, match in zip(needs, matches, strict=True):
        part = next((part for part in parts if _says(part, need)), None)
        place = (part.start, part.end) if part else _words_place(need, tokens)
        if place:
            yield Said(need, match, place, tokens, known, part.measure if part else None)


def _says(part: Chunk, need: Need) -> bool:
    if part.kind == "known":
        return part.needs == (need,)
    return part.kind in ("listed", "measure") and (part.dimension, clean_value(part.text), part.negated) == (need.attribute, need.value, need.negated)


def _words_place(need: Need, tokens: Tokens) -> Place | None:
    """Where the words of a value that is not listed stand."""
    for start in range(len(tokens)):
        for end in range(start + 1, len(tokens) + 1):
            if need.value in (" ".join(tokens.stems[start:end]), "".join(tokens.words[start:end])):
                return start, end
    return None


def negation(one: Said, names: Sequence[str]) -> Iterator[str]:
    """What was asked for is excluded, or what was excluded is asked for."""
    value = one.name(one.need.value) if one.listed else None
    if value is None or one.need.attribute == "category":
        return
    if one.need.negated:
        yield one.instead(value)
    else:
        marker = "不要" if one.chinese else "without " if one.need.attribute == "ingredient-component" else "not "
        yield f"{one.instead('')} {marker}{value}".strip()


def colour(one: Said, names: Sequence[str]) -> Iterator[str]:
    """Another colour of the family: close to the one asked for or to the item's, a kind of it, or easily confused with it."""
    if one.need.attribute != "colour" or one.need.negated or not one.listed:
        return
    for value in _family(one.table, one.need.value, one.table.name(one.match.found or "")):
        name = one.name(value)
        if name:
            yield one.instead(name)


def _family(table: Values, *members: str) -> list[str]:
    """Values related to the members: themselves, close ones, kinds, what they are kinds of and its other kinds."""
    related = {member for member in members if member in table.canonical}
    for member in tuple(related):
        parents = {parent for parent, kinds in table.kinds.items() if member in kinds}
        related |= table.close.get(member, frozenset()) | table.kinds.get(member, frozenset()) | parents
        related |= {kind for parent in parents for kind in table.kinds[parent]}
    return sorted(related)


def brand(one: Said, names: Sequence[str]) -> Iterator[str]:
    """Another brand, so that the item becomes a substitute; or the item's own brand."""
    if one.need.attribute == "brand" and not one.need.negated:
        yield from (one.instead(name) for name in (*filter(None, (one.match.found,)), *names))


def unit(one: Said, names: Sequence[str]) -> Iterator[str]:
    """The same amount in another unit, or another amount in the same unit."""
    measure = one.measure
    if measure is None or not measure.kind or one.need.negated:
        return
    own = measure.amount / amount(measure.number) if amount(measure.number) else 0.0
    seen = {own}
    for name, factor in one.known.rulebook.units[measure.kind].items():
        number = f"{measure.amount / factor:.3g}"
        fits = _READABLE[0] <= float(number) < _READABLE[1] and abs(float(number) * factor - measure.amount) <= _SAME * measure.amount
        if factor not in seen and fits and name.replace(" ", "").isalpha() and any(map(is_han, name)) == one.chinese:
            seen.add(factor)
            yield one.instead(f"{number} {name}")
    at = next(index for index in range(*one.place) if one.tokens.words[index] == measure.number)
    for times in _FACTORS:
        other = amount(measure.number) * times
        if other == int(other) or (measure.kind != COUNT and "." in measure.number):
            yield one.instead(f"{other:g}", (at, at + 1))


def accessory(one: Said, names: Sequence[str]) -> Iterator[str]:
    """The accessory in place of the product, or the reverse."""
    if one.need.attribute != "category" or one.need.negated or not one.listed:
        return
    accessories = one.table.accessories
    owners = {owner for owner, its in accessories.items() if one.need.value in its}
    wider = {parent for parent, kinds in one.table.kinds.items() if one.need.value in kinds}
    for value in sorted(owners.union(*(accessories.get(owner, ()) for owner in (one.need.value, *wider)))):
        name = one.name(value)
        if name:
            yield one.instead(name)


def compatibility(one: Said, names: Sequence[str]) -> Iterator[str]:
    """Another thing that it must fit: one that others ask for, the one that the item names, or the model before or after."""
    if one.need.attribute != "compatibility" or one.need.negated:
        return
    own = one.match.found or ""
    yield from (one.instead(name) for name in (*filter(None, (own,)), *names) if name == own or not _one_in_other(name, own))
    for index in range(*one.place):
        word = one.tokens.words[index]
        if is_number(word) and word.isdigit():
            yield from (one.instead(str(int(word) + step), (index, index + 1)) for step in (1, -1) if int(word) + step > 0)


def _one_in_other(name: str, own: str) -> bool:
    """`x9` and `x9 pro`: the expert takes either for the other, a shopper does not."""
    words, others = set(tokenise(name).stems), set(tokenise(own).stems)
    return words <= others or others <= words


KINDS: dict[str, Callable[[Said, Sequence[str]], Iterator[str]]] = {
    "negation": negation, "colour": colour, "brand": brand, "unit": unit, "accessory": accessory, "compatibility": compatibility,
}  # fmt: skip
"""What can be changed, by name: each gives the changed queries; `names` are substitutes for the need, where tables have none."""
