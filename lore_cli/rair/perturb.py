"""Pairs in other words that mean the same: what a judge says of them should not change (metamorphic testing; Segura et al. 2016).

Every change is one that keeps the human grade [ours]: `fields` turns the order of the attributes round; `length` adds two sentences to the description
that say nothing of the item; `paraphrase` says a value of the query by a synonym that the rulebook lists, or else puts the query into a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lore_cli.answer import LIMITS
from lore_cli.path.text import GAP, Phrases, is_han, tokenise
from lore_cli.records import Pair, change, change_item, row_of
from lore_cli.rulebook import Rulebook

MARK = "~"
"""Between the pair's id and the kind, in the id of a variant: `p1~length`."""
_FILLER = "Thank you for visiting our shop. We answer every message within one day."
_FILLER_HAN = "感谢光临本店。我们会在一天内回复每条消息。"

Variation = Callable[[Pair], Pair | None]


def kinds(rulebook: Rulebook) -> dict[str, Variation]:
    """{kind: what makes a variant of a pair}; a variation gives None for a pair that it cannot change."""
    synonyms = _synonyms(rulebook)
    return {"fields": fields, "length": length, "paraphrase": lambda pair: change(pair, query=paraphrase(pair.query, synonyms))}


def variants(pair: Pair, variations: dict[str, Variation]) -> Iterator[dict[str, Any]]:
    """The rows of a pair's variants, each with `of`, the pair's id, and `variant`, its kind."""
    for kind, vary in variations.items():
        made = vary(pair)
        if made is not None:
            yield row_of(change(made, id=f"{pair.id}{MARK}{kind}")) | {"of": pair.id, "variant": kind}


def fields(pair: Pair) -> Pair | None:
    """The same attributes, the last one first; None where there are not two."""
    if len(pair.item.attributes) < 2:
        return None
    return change_item(pair, attributes=dict(reversed(pair.item.attributes.items())))


def length(pair: Pair) -> Pair | None:
    """A longer description that says no more; None where a prompt would cut the addition off."""
    filler = _FILLER_HAN if any(is_han(letter) for letter in pair.item.title) else _FILLER
    longer = " ".join(filter(None, (pair.item.description, filler)))
    return change_item(pair, description=longer) if len(longer) <= LIMITS["description"] else None


def paraphrase(query: str, synonyms: Phrases[str]) -> str:
    """The query with its first listed value said by a synonym, or in a sentence where none is listed.

    >>> paraphrase("navy sofa", Phrases({"navy": "dark blue"})), paraphrase("sofa", Phrases({}))
    ('dark blue sofa', 'I am looking for: sofa')
    """
    tokens = tokenise(query)
    for start in range(len(tokens)):
        found = synonyms.longest(tokens.stems, start) if tokens.words[start] != GAP else None
        if found is not None:
            first, last = tokens.spans[start][0], tokens.spans[start + found[0] - 1][1]
            return tokens.text[:first] + found[1] + tokens.text[last:]
    return f"我想要：{query}" if any(is_han(letter) for letter in query) else f"I am looking for: {query}"


def _synonyms(rulebook: Rulebook) -> Phrases[str]:
    """Each listed form with another of the same value, in the same script. A form that two dimensions list may mean either, and is left out."""
    owners: dict[str, int] = {}
    for table in rulebook.values.values():
        for form in table.canonical:
            owners[form] = owners.get(form, 0) + 1
    pairs = {}
    for table in rulebook.values.values():
        for form, value in table.canonical.items():
            others = [other for other in table.surfaces(value) if other != form and is_han(other[0]) == is_han(form[0]) and owners[other] == 1]
            if others and owners[form] == 1:
                pairs[form] = others[0]
    return Phrases(pairs)
