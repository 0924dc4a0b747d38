"""What synthesised reasoning is checked for beside its grade: demands that the query does not make, evidence that the item does not hold, a leaked answer.

Each check is a pure function that says what is wrong, or None. They hold whoever reasoned; the expert passes them by construction.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from lore_cli.answer import item_lines, need_text
from lore_cli.path.knowledge import Entry, Glossary, Vocabulary, vocabulary
from lore_cli.path.needs import construct, mended
from lore_cli.path.quoted import evidence_holds
from lore_cli.path.text import GAP, Tokens, is_han, is_number, near, normalise, root, tokenise
from lore_cli.records import GRADES, Item, Match, Need, Pair
from lore_cli.rulebook import Rulebook

_LEAKS = Path(__file__).with_name("leaks.toml")
_LITTLE = frozenset({"a", "an", "the", "of", "for", "with", "without", "in", "and", "or", "not", "no", "under", "over", "than"})


def subject_first(needs: Sequence[Need]) -> str | None:
    """The product itself, where one is asked for, is the first need (path construction begins with the subject)."""
    place = next((place for place, need in enumerate(needs) if need.attribute == "category" and not need.negated), 0)
    return f"the subject '{needs[place].value}' is not the first need" if place else None


def demanded(needs: Sequence[Need], query: str, entries: Sequence[Entry], rulebook: Rulebook, glossary: Glossary) -> str | None:
    """Every need is one that the query makes. What counts as such is ours:

    1. the needs of the `entries`, the glossary's for this query, and the values that the expert reads in it;
    2. a value of which one listed name stands in the query, its spelling mended;
    3. a value all of whose words, numbers included, stand in the query in some form. Of a query in Chinese that names the value in no table, a
       translation cannot be checked and is let pass;
    4. an excluded value only where the query, or an entry, excludes something.
    """
    known = vocabulary(rulebook, glossary)
    tokens = tokenise(query)
    stems = (*tokens.stems, *mended(tokens, known).stems)
    told = {normalise(need.value) for entry in entries for need in entry.needs} | {normalise(need.value) for need in construct(query, rulebook, glossary)}
    foreign = any(is_han(word) for word in tokens.words)
    excludes = _excludes(tokens, known) or any(need.negated for entry in entries for need in entry.needs)
    for need in needs:
        if need.negated and not excludes:
            return f"the query does not demand '{need.attribute} = {need_text(need)}': it excludes nothing"
        table = known.rulebook.table(need.attribute)
        names = (need.value, *table.surfaces(table.name(need.value)))
        if normalise(need.value) in told or any(_holds(stems, name) for name in names):
            continue
        if foreign and need.attribute != "price-condition" and not any(map(is_number, tokenise(need.value).words)):
            continue
        return f"the query does not demand '{need.attribute} = {need_text(need)}'"
    return None


def _excludes(tokens: Tokens, known: Vocabulary) -> bool:
    words = [known.words[name] for name in ("negation", "exclusion") if name in known.words]
    return any(known.is_in("absence", stem) or any(forms.longest(tokens.stems, place) for forms in words) for place, stem in enumerate(tokens.stems))


def _holds(stems: Sequence[str], value: str) -> bool:
    """Whether all words of a value are among the stems, in another form or one edit away where they are long enough for that."""
    words = [word for word in tokenise(value).stems if word != GAP and word not in _LITTLE]
    return bool(words) and all(any(_same(word, other) for other in stems) for word in words)


def _same(word: str, other: str) -> bool:
    return word == other or (len(word) >= 4 and (root(word) == root(other) or (len(word) >= 5 and word[0] == other[:1] and near(word, other))))


def held(matches: Sequence[Match], item: Item, rulebook: Rulebook) -> str | None:
    """Every quoted piece of evidence stands in the field of the item that it is quoted from."""
    odd = next((match for match in matches if match.found and not evidence_holds(match, item, rulebook)), None)
    return f"the reply quotes evidence that the item does not hold: {odd.found} [{odd.source}]" if odd else None


def leak(text: str, pair: Pair) -> str | None:
    """The reasoning does not mention that it was told the answer. A phrase of the shop's or the shopper's own text is no leak."""
    if not _telling().search(normalise(text)):
        return None
    said, own = _words(text), _words(f"{pair.query}\n{item_lines(pair.item)}")
    phrase = next((phrase for phrase in leak_phrases() if phrase in said and phrase not in own), None)
    return f"the reply gives away that it was told the answer: '{phrase.strip()}'" if phrase else None


@lru_cache(maxsize=1)
def leak_phrases() -> tuple[str, ...]:
    """The phrases of leaks.toml, each with its words between single spaces, and one before and after."""
    phrases = [phrase for listed in tomllib.loads(_LEAKS.read_text("utf-8")).values() for phrase in listed]
    return tuple(dict.fromkeys(_words(phrase.replace("{grade}", grade)) for phrase in phrases for grade in GRADES))


@lru_cache(maxsize=1)
def _telling() -> re.Pattern[str]:
    """Finds one word of some phrase, the longest but for `grade`, in a normalised text: few replies hold any, and only those are read word by word."""
    words = {max(phrase.split(), key=lambda word: (word != "grade", len(word))) for phrase in leak_phrases()}
    return re.compile("|".join(sorted(map(re.escape, words))))


def _words(text: str) -> str:
    return f" {' '.join(word for word in tokenise(text).words if word != GAP)} "
