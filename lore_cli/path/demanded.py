"""Whether a query makes the demands that a reasoning reads in it: a check of synthesis, and of what a reward is given for."""

from __future__ import annotations

from collections.abc import Sequence

from lore_cli.answer import need_text
from lore_cli.path.knowledge import Entry, Glossary, Vocabulary, vocabulary
from lore_cli.path.needs import construct, mended
from lore_cli.path.text import GAP, Tokens, is_han, is_number, near, normalise, root, tokenise
from lore_cli.records import Need
from lore_cli.rulebook import Rulebook

_LITTLE = frozenset({"a", "an", "the", "of", "for", "with", "without", "in", "and", "or", "not", "no", "under", "over", "than"})


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
