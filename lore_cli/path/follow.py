"""Path following: each need held against what the item says, attribute by attribute.

Where a table lists both values the rulebook compares them; a measurement is compared in its unit; anything else is looked for word by
word [ours]. What the item's own fields and title say comes before its caption, that before its description. `unknown` means that the
item is silent; every other state names what was found and where.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from lore_cli.answer import clean_value, need_text
from lore_cli.path.evidence import TRUST, Found, View, view_of
from lore_cli.path.knowledge import EMPTY, Glossary, Vocabulary, vocabulary
from lore_cli.path.measures import Measure, measures
from lore_cli.path.text import GAP, amount, edits, is_number, near, root, tokenise
from lore_cli.records import Item, Match, Need, Source, State
from lore_cli.rulebook import Rulebook
from lore_cli.values import compare_quantity

SEVERAL = frozenset({"function-effect", "ingredient-component", "occasion-scene", "ip-theme", "compatibility"})
"""Dimensions in which an item may have many values at once: another value in its title contradicts nothing."""

IN_OWN_WORDS = frozenset({"brand", "series-model", "function-effect"})
"""Dimensions of the words that no table lists."""
COMPOUND = 4
"""Letters that the head of a compound leaves before it, at least: `case` is in "bookcase", `door` is not in "outdoor"."""
LONG = 7
"""Letters of a word that may be misspelt by two edits."""

_ORDER: dict[State, int] = {"exact": 0, "close": 1, "conflict": 2}
Answer = tuple[State, Found | None]
_SILENT: Answer = ("unknown", None)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the expert reads what leaves room.

    exclusive: another value contradicts also where an item may have several. other: when a product that no table lists is not the one asked
    for: `never` (it cannot be told), `alone` (when the item answers to nothing else either) or `always`.
    """

    exclusive: bool = False
    other: Literal["never", "alone", "always"] = "alone"


PLAIN = Reading()


def follow(needs: Sequence[Need], item: Item, rulebook: Rulebook, glossary: Glossary = EMPTY, reading: Reading = PLAIN) -> tuple[Match, ...]:
    """One match per need, in the order of the needs.

    An item that answers to nothing of a query is taken for what its title calls it, another product, rather than for one that cannot be told [ours].
    """
    known = vocabulary(rulebook, glossary)
    view = view_of(item, known)
    matches = [_match(need, item, view, known, reading) for need in needs]
    first = matches[0] if matches else None
    if first and first.attribute == "category" and first.state == "unknown" and view.noun and not needs[0].negated:
        state: State = "conflict" if _is_other(matches, reading) else "close" if _is_named(needs, view.noun, known) else "unknown"
        if state != "unknown":
            matches[0] = Match("category", first.need, state, clean_value(view.noun.surface).lower(), view.noun.source)
    return tuple(matches)


def _is_named(needs: Sequence[Need], noun: Found, known: Vocabulary) -> bool:
    """Whether the query has what the title calls the product among the words no table lists, though not as its last: `door exterior`."""
    if _is_listed(needs[0], known):
        return False
    return any(noun.value in _words(need.value) for need in needs if need.attribute in IN_OWN_WORDS and not need.negated)


def _is_other(matches: Sequence[Match], reading: Reading) -> bool:
    return reading.other == "always" or (reading.other == "alone" and all(match.state == "unknown" for match in matches))


def _match(need: Need, item: Item, view: View, known: Vocabulary, reading: Reading) -> Match:
    state, found = _answer(need, item, view, known, reading)
    if found is None:
        return Match(need.attribute, need_text(need), state)
    return Match(need.attribute, need_text(need), state, clean_value(found.surface).lower(), found.source)


def _answer(need: Need, item: Item, view: View, known: Vocabulary, reading: Reading) -> Answer:
    if need.attribute == "price-condition":
        return _price(need, item, known)
    if need.negated:
        return _excluded(need, view, known)
    if need.attribute == "category":
        return _category(need, view, known)
    if need.attribute == "brand":
        return _brand(need, item, view, known)
    if need.attribute == "compatibility":
        return _fit(need, view, known)
    if need.attribute in ("size-specification", "quantity-package") and _wanted(need.value, known):
        return _measured(need, view, known)
    return _valued(need, view, known, reading)


def _best(need: Need, candidates: Iterable[Found], known: Vocabulary) -> Answer:
    """The best state among the most trusted candidates; silent without any."""
    candidates = list(candidates)
    if not candidates:
        return _SILENT
    trust = min(TRUST[found.source] for found in candidates)
    answers = [(_compared(need, found, known), found) for found in candidates if TRUST[found.source] == trust]
    return min(answers, key=lambda answer: (_ORDER[answer[0]], not answer[1].dedicated))


def _compared(need: Need, found: Found, known: Vocabulary) -> State:
    return known.rulebook.compare(need.attribute, need.value, found.value)


def _valued(need: Need, view: View, known: Vocabulary, reading: Reading) -> Answer:
    state, found = _best(need, view.found.get(need.attribute, ()), known)
    if state in ("exact", "close"):
        return state, found
    listed = need.value in known.rulebook.table(need.attribute).canonical
    spoken = None if listed else _spoken(need.value, view)
    if spoken and spoken[0] == "exact":
        return spoken
    single = need.attribute not in SEVERAL or reading.exclusive or (found is not None and found.dedicated)
    if found is not None and single and (listed or need.attribute != "function-effect"):  # a function in the shopper's own words is never contradicted
        return state, found
    return spoken or _SILENT


def _is_listed(need: Need, known: Vocabulary) -> bool:
    return need.value in known.rulebook.table(need.attribute).canonical


def _excluded(need: Need, view: View, known: Vocabulary) -> Answer:
    """An excluded value that is present conflicts; exact when the item is known to have another; else unknown."""
    if need.attribute == "category":
        candidates: Sequence[Found] = view.heads
    elif need.attribute == "compatibility":
        candidates = view.fits
    else:
        candidates = view.found.get(need.attribute, ())
    for found in candidates:
        if known.rulebook.compare(need.attribute, need.value, found.value, negated=True) == "conflict":
            return "conflict", found
    spoken = _spoken(need.value, view)
    if spoken and spoken[0] == "exact" and not _is_listed(need, known):
        return "conflict", spoken[1]
    if candidates and (need.attribute not in SEVERAL or candidates[0].dedicated):
        return "exact", candidates[0]
    return _SILENT


def _category(need: Need, view: View, known: Vocabulary) -> Answer:
    table = known.rulebook.table("category")
    for found in view.heads:
        if found.value in table.accessories.get(need.value, ()) or need.value in table.accessories.get(found.value, ()):
            return "conflict", found
    state, found = _best(need, view.heads, known)
    if state in ("exact", "close"):
        return state, found
    spoken = _spoken(need.value, view, need_head=True)
    if found is not None and _is_listed(need, known):
        return "conflict", found
    if spoken:
        return spoken
    return ("conflict", found) if found is not None else _SILENT


def _brand(need: Need, item: Item, view: View, known: Vocabulary) -> Answer:
    own = [Found(item.brand, item.brand, "brand", True)] if item.brand and item.brand.strip() else []
    candidates = own or view.found.get("brand", ())
    for found in candidates:
        if _compared(need, found, known) == "exact" or _same_words(need.value, found.value):
            return "exact", found
    spoken = _spoken(need.value, view)
    if spoken and spoken[0] == "exact":
        return spoken
    return ("conflict", candidates[0]) if candidates else _SILENT


@lru_cache(maxsize=16_384)
def _same_words(left: str, right: str) -> bool:
    """Whether all words of one text are among the other's: `bosch` and `Bosch Professional`."""
    words, others = set(tokenise(left).stems) - {GAP}, set(tokenise(right).stems) - {GAP}
    return bool(words and others) and (words <= others or others <= words)


def _fit(need: Need, view: View, known: Vocabulary) -> Answer:
    """Fits what was named, or everything: exact. Names another thing it fits: conflict. A broader or narrower product: as categories compare."""
    best: Answer = _SILENT
    for found in view.fits:
        universal = any(known.is_in("universal", word) for word in tokenise(found.value).stems)
        if universal or _same_words(need.value, found.value):
            return "exact", found
        state = known.rulebook.compare("category", need.value, found.value)
        if best[1] is None or _ORDER[state] < _ORDER[best[0]]:
            best = state, found
    spoken = _spoken(need.value, view)
    if best[0] in ("exact", "close"):
        return best
    if spoken and spoken[0] == "exact":
        return spoken
    return best


def _measured(need: Need, view: View, known: Vocabulary) -> Answer:
    """A needed measurement against those of its kind; a bare number is met by the same number in any unit, else unconfirmed."""
    wanted = _wanted(need.value, known)[0]
    for trust in (0, 1, 2):
        own = [(measure, source) for measure, source in view.sizes if TRUST[source] == trust]
        same = next(((measure, source) for measure, source in own if measure.number == wanted[2] and (not wanted[0] or not measure.kind)), None)
        compared = compare_quantity((wanted[0], wanted[1]), [(measure.kind, measure.amount) for measure, _ in own]) if wanted[0] else None
        if compared and compared[0] == "conflict" and not same and _has_several(own, wanted[0]):
            continue  # an item has more lengths than its title names
        if compared and (compared[0] != "conflict" or not same):
            measure, source = own[compared[1]]
            return compared[0], Found(measure.surface, measure.surface, source)
        if same:
            return "exact", Found(same[0].surface, same[0].surface, same[1])
    return _SILENT


def _has_several(measured: Sequence[tuple[Measure, Source]], kind: str) -> bool:
    """Whether running text, no attribute, gives several measurements of a kind."""
    return sum(measure.kind == kind and source != "attributes" for measure, source in measured) > 1


@lru_cache(maxsize=16_384)
def _wanted_in(value: str, key: str) -> tuple[tuple[str, float, str], ...]:
    return tuple((measure.kind, measure.amount, measure.number) for measure in measures(tokenise(value), _VOCABULARIES[key]))


_VOCABULARIES: dict[str, Vocabulary] = {}


def _wanted(value: str, known: Vocabulary) -> tuple[tuple[str, float, str], ...]:
    _VOCABULARIES[known.rulebook.hash] = known
    return _wanted_in(value, known.rulebook.hash)


def _price(need: Need, item: Item, known: Vocabulary) -> Answer:
    """`under 40` holds up to and including 40, `over 40` from 40 on; negated the reverse. Without a price, or for another form of need: unknown."""
    tokens = tokenise(need.value)
    number = next((amount(word) for word in tokens.words if is_number(word)), math.nan)
    limits = {name: bool(known.words.get(name) and known.words[name].longest(tokens.stems, 0)) for name in ("price_below", "price_above")}
    if math.isnan(number) or item.price is None or not any(limits.values()):
        return _SILENT
    met = item.price <= number if limits["price_below"] else item.price >= number
    text = f"{item.price:g}"
    return ("exact" if met != need.negated else "conflict"), Found(text, text, "price", True)


def _spoken(value: str, view: View, need_head: bool = False) -> Answer | None:
    """The words of a value that no table relates, looked for in the item: exact when all are there, close when half of them are.

    need_head: the value names a product. Its last word is the product itself: exact where the title calls the item so, close where it is merely there.
    """
    words = _words(value)
    if not words:
        return None
    places = _places(words, view)
    hits = list(dict.fromkeys(place for place in places if place is not None))
    if not hits:
        return None
    if None in places and 2 * (len(places) - places.count(None)) < len(words) and not (need_head and places[-1]):
        return None
    whole = None not in places or (need_head and _is_noun(places[-1], view))
    return ("exact" if whole else "close"), _quoted(hits, view)


def _is_noun(place: tuple[int, int] | None, view: View) -> bool:
    """Whether a word found is what the title calls the product."""
    return place is not None and view.noun is not None and view.texts[place[0]].tokens.stems[place[1]] == view.noun.value


def _quoted(hits: Sequence[tuple[int, int]], view: View) -> Found:
    """The words found, as the item writes them; the source is where the last of them stands."""
    number, index = hits[-1]
    text = view.texts[number]
    first = min((at for field, at in hits if field == number), default=index)
    last = max((at for field, at in hits if field == number), default=index)
    if last - first == len(hits) - 1:
        surface = text.tokens.surface(first, last + 1)
    else:
        surface = " ".join(view.texts[field].tokens.surface(at, at + 1) for field, at in hits)
    source: Source = text.source
    return Found(surface, surface, source)


@lru_cache(maxsize=65_536)
def _words(value: str) -> tuple[str, ...]:
    return tuple(word for word in tokenise(value).stems if word != GAP)


def _places(words: Sequence[str], view: View) -> list[tuple[int, int] | None]:
    """Where each word stands; two neighbours may be one word of the item (`book case` in "bookcase")."""
    places = [_place(word, view) for word in words]
    for index in range(1, len(words)):
        if places[index - 1] is None or places[index] is None:
            joined = view.positions.get(words[index - 1] + words[index])
            if joined:
                places[index - 1] = places[index] = joined
    return places


def _place(word: str, view: View) -> tuple[int, int] | None:
    """Where a stem stands: itself, as two words (`doorknob` in "door knob"), in another form (`railing`, `rail`), as the head of a compound
    (`case` in "bookcase") or the reverse, or misspelt with the same first letter: by one edit, a word of seven letters or more by two."""
    place = view.positions.get(word)
    if place:
        return place
    if not view.loose:
        view.loosen()
    place = view.joined.get(word)
    if place or len(word) < 4 or not word.isalpha():
        return place
    place = view.roots.get(root(word))
    if place:
        return place
    place = next((at for other, at in view.finals.get(word[-1], ()) if _is_compound(other, word) or _is_compound(word, other)), None)
    if place or len(word) < 5:
        return place
    return _misspelt(word, view)


def _is_compound(word: str, head: str) -> bool:
    """Whether a word ends in another one, `bookcase` in `case`."""
    return word.endswith(head) and len(word) - len(head) >= COMPOUND and word.isalpha()


def _misspelt(word: str, view: View) -> tuple[int, int] | None:
    alike = view.initials.get(word[0], ())
    place = next((at for other, at in alike if near(word, other)), None)
    if place or len(word) < LONG:
        return place
    return next((at for other, at in alike if len(other) >= LONG - 1 and edits(word, other, 2) <= 2), None)
