"""What the expert knows beside the query: the rulebook's surface forms and units, and a shop's own glossary.

A glossary is the injected knowledge of LORE's first synthesis stage: terms that no value table explains, mapped to needs.

    {"term": "morning C evening A", "needs": [{"attribute": "ingredient-component", "value": "vitamin c"}, ...], "note": "skin care"}
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import orjson

from lore_cli.errors import BadInput, Missing
from lore_cli.path.text import Phrases, Speller, stem, tokenise
from lore_cli.records import Need
from lore_cli.rulebook import Rulebook
from lore_cli.values import fold

Listed = tuple[str, str]  # dimension, canonical value


class Entry(msgspec.Struct, frozen=True):
    """One glossary row."""

    term: str
    needs: tuple[Need, ...]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Glossary:
    """Terms of a shop's language and the needs they stand for. `hash` identifies the content."""

    entries: tuple[Entry, ...] = ()
    hash: str = "none"


def load_glossary(paths: Sequence[str | Path]) -> Glossary:
    """Read glossary files (JSONL); no paths give the empty glossary. A term given twice keeps its first meaning.

    Raises `Missing` for no such file, `BadInput` with file and line for a malformed row.
    """
    entries: list[Entry] = []
    for path in paths:
        try:
            lines = Path(path).read_bytes().splitlines()
        except OSError as error:
            raise Missing(f"glossary {path}: {error.strerror}", hint="check --knowledge") from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = msgspec.convert(orjson.loads(line), Entry)
            except (orjson.JSONDecodeError, msgspec.ValidationError) as error:
                raise BadInput(str(error), where=str(path), line=number, hint='a row is {"term": text, "needs": [{"attribute", "value"}]}') from error
            if not entry.term.strip() or not entry.needs:
                raise BadInput("a term and at least one need are required", where=str(path), line=number)
            entries.append(entry)
    if not entries:
        return Glossary()
    digest = hashlib.sha256(orjson.dumps([msgspec.to_builtins(entry) for entry in entries])).hexdigest()[:16]
    return Glossary(tuple(entries), digest)


@dataclass(frozen=True)
class Vocabulary:
    """A rulebook and a glossary, compiled for matching. `needs_of` and `items` are caches that belong to this vocabulary.

    listed: the tables' forms. glossary: its terms, for queries. named: for items, the forms and those terms that mean one value (a brand, "midnight" for navy).
    """

    rulebook: Rulebook
    listed: Phrases[tuple[Listed, ...]]
    named: Phrases[tuple[Listed, ...]]
    glossary: Phrases[tuple[Need, ...]]
    words: dict[str, Phrases[str]]
    units: Phrases[tuple[str, float, str]]
    speller: Speller
    sets: dict[str, frozenset[str]]
    needs_of: dict[str, tuple[Need, ...]] = field(default_factory=dict)
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
    function_words = {word for phrases in (units, *words.values()) for form in phrases.forms() for word in form}
    heads = {tokenise(form).stems[0] for form in rulebook.table("category").canonical if len(tokenise(form)) == 1}
    speller = Speller(listed.forms() | terms.forms(), heads, function_words)
    return Vocabulary(rulebook, listed, named, terms, words, units, speller, sets)


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
    owners = [target, *sorted(parent for parent, kinds in table.kinds.items() if target in kinds)]
    for owner in owners:
        for accessory in sorted(table.accessories.get(owner, ())):
            if any(tokenise(form).stems[-1] == head for form in table.surfaces(accessory)):
                return accessory
    return None
