"""The lexical baseline: how many of a query's words an item contains. No rules, no attributes, no inverse document frequency."""

from __future__ import annotations

from functools import lru_cache

from lore_cli.path.text import GAP, tokenise
from lore_cli.records import Item


def overlap(query: str, item: Item) -> float:
    """Share of the query's distinct word stems that occur in the item's title or attribute values, in [0, 1]; 0 for a query without words."""
    asked = _stems(query)
    if not asked:
        return 0.0
    present = set(_stems(item.title)).union(*(_stems(value) for value in item.attributes.values()))
    return len(asked & present) / len(asked)


@lru_cache(maxsize=4096)
def _stems(text: str) -> frozenset[str]:
    return frozenset(tokenise(text).stems) - {GAP}
