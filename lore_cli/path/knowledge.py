"""What the expert knows beside the query: the rulebook's surface forms and units, and a shop's own glossary and taxonomy.

They are the injected knowledge of LORE's first synthesis stage. A glossary maps terms that no value table explains to needs; `taxonomy` says
what the rows of one are. Files may hold both.

    {"term": "morning C evening A", "needs": [{"attribute": "ingredient-component", "value": "vitamin c"}, ...], "note": "skin care"}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import orjson

from lore_cli.errors import BadInput, Missing
from lore_cli.path.taxonomy import Branches, Category, extend, stems_of
from lore_cli.path.text import Phrases, Speller, stem, tokenise
from lore_cli.records import Need, Understanding
from lore_cli.rulebook import Rulebook
from lore_cli.values import fold

Listed = tuple[str, str]  # dimension, canonical value
_LAYOUT = 'a glossary row is {"term": text, "needs": [{"attribute", "value"}]}, a taxonomy row {"category": text, "path": [text], "names": {language: text}, "attributes": {name: [text]}}'


class Entry(msgspec.Struct, frozen=True):
    """One glossary row."""

    term: str
    needs: tuple[Need, ...]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Glossary:
    """Terms of a shop's language and the needs they stand for, and the categories of its taxonomy. `hash` identifies the content."""

    entries: tuple[Entry, ...] = ()
    hash: str = "none"
    categories: tuple[Category, ...] = ()

    def rows(self) -> Iterator[Entry | Category]:
        """Every row, as `load_glossary` reads it."""
        yield from self.entries
        yield from self.categories


def load_glossary(paths: Sequence[str | Path]) -> Glossary:
    """Read files of glossary and taxonomy rows (JSONL); no paths give the empty glossary. A term given twice keeps its first meaning.

    Raises `Missing` for no such file, `BadInput` with file and line for a malformed row.
    """
    rows: list[Entry | Category] = []
    for path in paths:
        try:
            lines = Path(path).read_bytes().splitlines()
        except OSError as error:
            raise Missing(f"knowledge {path}: {error.strerror}", hint="check --knowledge") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    rows.append(_row(line))
                except (orjson.JSONDecodeError, msgspec.ValidationError, ValueError) as error:
                    raise BadInput(str(error), where=str(path), line=number, hint=_LAYOUT) from error
    if not rows:
        return Glossary()
    digest = hashlib.sha256(msgspec.json.encode(rows)).hexdigest()[:16]
    return Glossary(tuple(row for row in rows if isinstance(row, Entry)), digest, tuple(row for row in rows if isinstance(row, Category)))


def _row(line: bytes) -> Entry | Category:
    """One row, told by its keys. Raises `ValueError` for one that is neither or says nothing."""
    found = orjson.loads(line)
    kinds = [kind for key, kind in (("term", Entry), ("category", Category)) if isinstance(found, dict) and key in found]
    if len(kinds) != 1:
        raise ValueError("has both 'term' and 'category'" if kinds else "has neither 'term' nor 'category'")
    row = msgspec.convert(found, kinds[0])
    if isinstance(row, Entry) and not (row.term.strip() and row.needs):
        raise ValueError("a term and at least one need are required")
    if isinstance(row, Category) and not all(name.strip() for name in (row.category, *row.path)):
        raise ValueError("category and path must not be empty texts")
    return row


@dataclass(frozen=True)
class Vocabulary:
    """A rulebook and a glossary, compiled for matching. `needs_of`, `meanings` and `items` are caches that belong to this vocabulary.

    rulebook: with the taxonomy's categories and values in its tables, `branches` the taxonomy itself.
    listed: the tables' forms. glossary: its terms, for queries. named: for items, the forms and those terms that mean one value (a brand, "midnight" for navy).
    """

    rulebook: Rulebook
    branches: Branches
    listed: Phrases[tuple[Listed, ...]]
    named: Phrases[tuple[Listed, ...]]
    glossary: Phrases[tuple[Need, ...]]
    words: dict[str, Phrases[str]]
    units: Phrases[tuple[str, float, str]]
    speller: Speller
    sets: dict[str, frozenset[str]]
    needs_of: dict[str, tuple[Need, ...]] = field(default_factory=dict)
    meanings: dict[tuple[str, tuple[Need, ...]], Understanding] = field(default_factory=dict)
    items: dict[Any, Any] = field(default_factory=dict)

    def is_in(self, name: str, word: str) -> bool:
        """Whether a stem belongs to a word list of the lexicon."""
        return word in self.sets.get(name, ())


_compiled: dict[tuple[str, str], Vocabulary] = {}
EMPTY = Glossary()


def vocabulary(rulebook: Rulebook, glossary: Glossary = EMPTY) -> Vocabulary:
    """The compiled vocabulary, kept per content. Raises `BadInput` when a glossary need names no attribute dimension."""
    key = (rulebook.hash, glossary.hash)
    if key not in _compiled:
        if len(_compiled) >= 8:
            _compiled.clear()
        _compiled[key] = _compile(rulebook, glossary)
    return _compiled[key]


def _compile(rulebook: Rulebook, glossary: Glossary) -> Vocabulary:
    for entry in glossary.entries:
        for need in entry.needs:
            if need.attribute not in rulebook.dimensions:
                raise BadInput(f"'{need.attribute}' is not an attribute dimension ({', '.join(rulebook.dimensions)})", field=f"glossary term '{entry.term}'")
    base, (rulebook, branches) = rulebook, extend(rulebook, glossary.categories)
    forms: dict[str, list[Listed]] = {}
    for dimension in rulebook.dimensions:
        for form, canonical in rulebook.table(dimension).canonical.items():
            forms.setdefault(form, []).append((dimension, canonical))
    listed = Phrases({form: tuple(meanings) for form, meanings in forms.items()})
    named = Phrases([*((entry.term, _single(entry)) for entry in glossary.entries if _single(entry)), *((form, tuple(meanings)) for form, meanings in forms.items())])
    terms = Phrases([(entry.term, entry.needs) for entry in glossary.entries])
    words = {name: Phrases([(form, form) for form in forms_of]) for name, forms_of in rulebook.lexicon.items()}
    units = Phrases([(unit.lstrip("-"), (kind, factor, unit)) for kind, table in rulebook.units.items() for unit, factor in table.items() if unit.lstrip("-\"'")])
    sets = {name: frozenset(stem(word) for word in forms_of) for name, forms_of in rulebook.lexicon.items()}
    new_words = {word for name, table in rulebook.values.items() for form in table.canonical if form not in base.table(name).canonical for word in tokenise(form).stems}
    sets["modifier"] = sets.get("modifier", frozenset()) | new_words  # a word that a taxonomy uses is no brand
    function_words = {word for phrases in (units, *words.values()) for form in phrases.forms() for word in form}
    heads = {tokenise(form).stems[0] for form in base.table("category").canonical if len(tokenise(form)) == 1}
    mendable = [form for name in rulebook.dimensions for form in (rulebook if name == "category" else base).table(name).canonical]  # a taxonomy's values are too many
    speller = Speller({stems_of(form) for form in mendable} | terms.forms(), heads, function_words | new_words)
    return Vocabulary(rulebook, branches, listed, named, terms, words, units, speller, sets)


def _single(entry: Entry) -> tuple[Listed, ...]:
    """A term that is one more name of one value; () for a term that means more, a category or an exclusion."""
    need = entry.needs[0]
    single = len(entry.needs) == 1 and not need.negated and need.attribute not in ("category", "price-condition")
    return ((need.attribute, fold(need.value)),) if single else ()


def compose(head: str, target: str, rulebook: Rulebook) -> str | None:
    """The listed accessory that `head` names when it is said of `target`: `('cover', 'sofa bed') -> 'sofa cover'`; None when there is none.

    Accessories of a broader category count: a sofa bed is a kind of sofa.
    """
    table = rulebook.table("category")
    owners = [target, *sorted(owner for owner in table.accessories if target in table.kinds.get(owner, ()))]
    for owner in owners:
        for accessory in sorted(table.accessories.get(owner, ())):
            if any(tokenise(form).stems[-1] == head for form in table.surfaces(accessory)):
                return accessory
    return None
