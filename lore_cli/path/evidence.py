"""What an item says about each attribute dimension, and where it says so.

Every field of the item is read once into a `View` (kept per item content). A listed value counts unless the text denies it ("without
arms" is its own value; "not leather", "lead free" deny one). The title names one product, its head noun before "for" or "with":
"velvet cover for sofa bed" is a cover, and the sofa bed is what it fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lore_cli.answer import clean_value
from lore_cli.path.knowledge import EMPTY, Glossary, Vocabulary, compose, vocabulary
from lore_cli.path.measures import Measure, measures
from lore_cli.path.text import GAP, Tokens, is_han, is_number, root, tokenise
from lore_cli.records import Evidence, Item, Need, Source
from lore_cli.rulebook import Rulebook

_CACHED = 20_000
_DESCRIPTION_CHARS = 2_000
TRUST: dict[Source, int] = {"attributes": 0, "brand": 0, "category": 0, "title": 0, "price": 0, "caption": 1, "description": 2}


@dataclass(frozen=True, slots=True)
class Found:
    """A value in the item: canonical `value` where a table lists it, `surface` as written. dedicated: a field of its own says it."""

    value: str
    surface: str
    source: Source
    dedicated: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """One field of the item. listed: (start, end, dimension, canonical) of each listed value. `dimension`: of an attribute whose key is known."""

    source: Source
    tokens: Tokens
    listed: tuple[tuple[int, int, str, str], ...]
    sizes: tuple[Measure, ...]
    dimension: str | None = None


@dataclass(slots=True)
class View:
    """An item, read. `positions`: where each stem occurs, the most trusted field first. `heads`: what listed product the item says it is.

    noun: the last word of what the title names, listed or not. `joined` (two neighbours as one word), `roots`, `initials` and `finals` are
    filled by `loosen` when a word is not found as it stands.
    """

    texts: list[Text] = field(default_factory=list)
    found: dict[str, list[Found]] = field(default_factory=dict)
    heads: list[Found] = field(default_factory=list)
    fits: list[Found] = field(default_factory=list)
    sizes: list[tuple[Measure, Source]] = field(default_factory=list)
    positions: dict[str, tuple[int, int]] = field(default_factory=dict)
    noun: Found | None = None
    loose: bool = False
    joined: dict[str, tuple[int, int]] = field(default_factory=dict)
    roots: dict[str, tuple[int, int]] = field(default_factory=dict)
    initials: dict[str, list[tuple[str, tuple[int, int]]]] = field(default_factory=dict)
    finals: dict[str, list[tuple[str, tuple[int, int]]]] = field(default_factory=dict)

    def loosen(self) -> None:
        """Index the words by what still identifies them when their form differs."""
        self.loose = True
        for number, text in enumerate(self.texts):
            stems = text.tokens.stems
            for index in range(1, len(stems)):
                if stems[index] != GAP and stems[index - 1] != GAP:
                    self.joined.setdefault(stems[index - 1] + stems[index], (number, index - 1))
        for word, at in self.positions.items():
            self.roots.setdefault(root(word), at)
            if len(word) >= 5:
                self.initials.setdefault(word[0], []).append((word, at))
                self.finals.setdefault(word[-1], []).append((word, at))


def gather(item: Item, rulebook: Rulebook, needs: Sequence[Need] | None = None, glossary: Glossary = EMPTY) -> tuple[Evidence, ...]:
    """Everything the item says, as evidence in the order of trust; with `needs`, only about the dimensions asked for. Each value once per source."""
    known = vocabulary(rulebook, glossary)
    view = view_of(item, known)
    asked = set(rulebook.dimensions) if needs is None else {need.attribute for need in needs}
    evidence: dict[Evidence, None] = {}
    for dimension, found in _by_dimension(item, view):
        if dimension in asked:
            evidence[Evidence(dimension, clean_value(found.surface), found.source)] = None
    order = list(rulebook.dimensions)
    return tuple(sorted(evidence, key=lambda piece: (order.index(piece.attribute), TRUST[piece.source])))


def _by_dimension(item: Item, view: View) -> Iterator[tuple[str, Found]]:
    for found in view.heads:
        yield "category", found
    for found in view.fits:
        yield "compatibility", found
    if item.brand and item.brand.strip():
        yield "brand", Found(item.brand, item.brand, "brand", True)
    for dimension, values in view.found.items():
        for found in values:
            yield dimension, found
    for measure, source in view.sizes:
        if measure.kind:
            yield measure.dimension, Found(measure.surface, measure.surface, source)
    if item.price is not None:
        yield "price-condition", Found(f"{item.price:g}", f"{item.price:g}", "price", True)


def view_of(item: Item, known: Vocabulary) -> View:
    """The item as read under a vocabulary, from the cache where it has been read before."""
    key = (item.id, item.title, item.category, item.brand, item.caption, item.price, item.description, *item.attributes.items())
    view = known.items.get(key)
    if view is None:
        if len(known.items) >= _CACHED:
            known.items.clear()
        view = known.items[key] = _read(item, known)
    return view


def _read(item: Item, known: Vocabulary) -> View:
    view = View()
    for name, value in item.attributes.items():
        dimension = known.rulebook.dimension_of(name)
        text = _text("attributes", str(value), known, dimension)
        view.texts.append(text)
        _read_attribute(text, str(value), view, known)
    fields: tuple[tuple[Source, str | None], ...] = (
        ("brand", item.brand), ("category", item.category), ("title", item.title), ("caption", item.caption), ("description", (item.description or "")[:_DESCRIPTION_CHARS]),
    )
    for source, content in fields:
        if content:
            text = _text(source, content, known, "category" if source == "category" else None)
            view.texts.append(text)
            if source != "brand":
                _read_text(text, view, known)
    for number, text in enumerate(view.texts):
        _index(number, text, view)
    return view


def _text(source: Source, content: str, known: Vocabulary, dimension: str | None = None) -> Text:
    tokens = tokenise(content)
    return Text(source, tokens, tuple(_listed(tokens, known)), measures(tokens, known), dimension)


def _index(number: int, text: Text, view: View) -> None:
    for index, word in enumerate(text.tokens.stems):
        if word not in view.positions and word != GAP:
            view.positions[word] = (number, index)


def _read_attribute(text: Text, value: str, view: View, known: Vocabulary) -> None:
    """An attribute with a known key speaks of that dimension only, also when its value is not listed."""
    tokens, dimension = text.tokens, text.dimension
    view.sizes.extend((measure, "attributes") for measure in text.sizes)
    if dimension == "compatibility":
        view.fits.append(Found(value, value, "attributes", True))
        return
    if dimension is None:
        for start, end, named, canonical in text.listed:
            if named != "category":
                view.found.setdefault(named, []).append(Found(canonical, tokens.surface(start, end), "attributes"))
        return
    values = [Found(canonical, tokens.surface(start, end), "attributes", True) for start, end, named, canonical in text.listed if named == dimension]
    if not values and tokens.words and dimension != "price-condition":
        values = [Found(known.rulebook.table(dimension).name(value), value, "attributes", True)]
    if dimension == "category":
        view.heads.extend(values[-1:])
    else:
        view.found.setdefault(dimension, []).extend(values)


def _read_text(text: Text, view: View, known: Vocabulary) -> None:
    tokens, source = text.tokens, text.source
    if source != "category":
        view.sizes.extend((measure, source) for measure in text.sizes)
    categories: list[tuple[int, int, str]] = []
    for start, end, dimension, canonical in text.listed:
        if dimension == "category":
            categories.append((start, end, canonical))
        elif source != "category":
            view.found.setdefault(dimension, []).append(Found(canonical, tokens.surface(start, end), source))
    if source == "category":
        view.heads.extend(Found(canonical, tokens.surface(start, end), source, True) for start, end, canonical in categories[-1:])
    elif source != "description":
        _read_head(text, categories, view, known)


def _listed(tokens: Tokens, known: Vocabulary) -> list[tuple[int, int, str, str]]:
    """(start, end, dimension, canonical) of every listed value by longest match, without those the text denies."""
    spans: list[tuple[int, int, str, str]] = []
    index = 0
    while index < len(tokens):
        match = known.named.longest(tokens.stems, index)
        if match is None:
            index += 1
            continue
        end = index + match[0]
        if not _denied(tokens, index, end, known):
            spans.extend((index, end, dimension, canonical) for dimension, canonical in match[1])
        index = end
    return spans


def _denied(tokens: Tokens, start: int, end: int, known: Vocabulary) -> bool:
    before, after = tokens.stems[start - 1] if start else "", tokens.stems[end] if end < len(tokens) else ""
    return known.is_in("negation", before) or known.is_in("absence", after)


def _read_head(text: Text, categories: Sequence[tuple[int, int, str]], view: View, known: Vocabulary) -> None:
    """The product a title or caption names: the last listed category of the first phrase that has one, before "for", "with", "in"."""
    tokens = text.tokens
    target, limit = _borders(tokens, known)
    if text.source == "title":
        view.noun = _noun(text, limit, known)
    inside = [category for category in categories if category[0] < limit]
    if inside:
        first_gap = next((index for index in range(inside[0][1], limit) if tokens.words[index] == GAP), limit)
        start, end, canonical = [category for category in inside if category[0] < first_gap][-1]
        named = tokens.surface(start, end)
        if end < limit and known.is_in("part", tokens.stems[end]):
            canonical = compose(tokens.stems[end], canonical, known.rulebook) or f"{canonical} {tokens.stems[end]}"
            named = tokens.surface(start, end + 1)
        view.heads.append(Found(canonical, named, text.source))
    if target is None:
        return
    fitted = next((category for category in categories if category[0] >= target), None)
    if not inside and fitted and limit:
        nouns = [index for index in range(limit) if tokens.words[index] != GAP and not is_number(tokens.words[index])]
        accessory = compose(tokens.stems[nouns[-1]], fitted[2], known.rulebook) if nouns else None
        if nouns:
            view.heads.append(Found(accessory or tokens.stems[nouns[-1]], tokens.surface(nouns[-1], nouns[-1] + 1), text.source))
    if fitted:
        view.fits.append(Found(fitted[2], tokens.surface(fitted[0], fitted[1]), text.source))
    elif target < len(tokens):
        end = next((index for index in range(target, len(tokens)) if tokens.words[index] == GAP or known.is_in("with", tokens.stems[index])), len(tokens))
        listed = known.listed.longest(tokens.stems, target)
        if end > target and not (listed and target + listed[0] >= end):  # `for women` names no thing it fits; `for galaxy s22` does
            surface = tokens.surface(target, end)
            view.fits.append(Found(surface, surface, text.source))


def _noun(text: Text, limit: int, known: Vocabulary) -> Found | None:
    """The last word of the title's first phrase that has one, other than a number, a unit or a listed value that is no product.

    A word that only gathers things (`set`, `kit`) names the product where nothing stands before it.
    """
    tokens = text.tokens
    taken = {at for start, end, dimension, _ in text.listed if dimension != "category" for at in range(start, end)}
    taken |= {at for measure in text.sizes for at in range(measure.start, measure.end)}
    gap = next((at for at in range(1, limit) if tokens.words[at] == GAP and tokens.words[at - 1] != GAP and not _is_joint(tokens, at)), limit)
    gathering: int | None = None
    for border in (gap, limit):
        for at in reversed(range(border)):
            if at not in taken and tokens.words[at] != GAP and not is_number(tokens.words[at]) and (len(tokens.words[at]) > 2 or is_han(tokens.words[at])):
                if known.is_in("gathering", tokens.stems[at]):
                    gathering = at if gathering is None else gathering
                    continue
                start = at
                while start and is_han(tokens.words[start]) and is_han(tokens.words[start - 1]) and start - 1 not in taken:
                    start -= 1
                return Found(tokens.stems[at], tokens.surface(start, at + 1), "title")
    return Found(tokens.stems[gathering], tokens.surface(gathering, gathering + 1), "title") if gathering is not None else None


def _is_joint(tokens: Tokens, index: int) -> bool:
    """Whether a mark joins the words beside it, as in "interior/exterior paint", rather than separates phrases."""
    begin, end = tokens.spans[index]
    return tokens.text[begin:end] in "/+" and tokens.text[begin - 1 : begin].isalpha() and tokens.text[end : end + 1].isalpha()


def _borders(tokens: Tokens, known: Vocabulary) -> tuple[int | None, int]:
    """(first token of what it is for, end of the product's own phrase). `适用于X的Y` and `X用Y` name the target first and have no border."""
    for index in range(len(tokens)):
        marker = known.words["accessory"].longest(tokens.stems, index)
        if marker and is_han(tokens.words[index]):
            return None, len(tokens)
        if marker and index:
            return index + marker[0], index
        if index and (known.is_in("with", tokens.stems[index]) or (tokens.words[index] == "in" and not is_number(tokens.words[index - 1]))):
            rest = next((at for at in range(index, len(tokens)) if known.words["accessory"].longest(tokens.stems, at)), None)
            return (rest + 1 if rest is not None else None), index
    return None, len(tokens)
