"""What keeps training and benchmark apart: the queries that are the same, and the items that are nearly the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from lore_cli import stream
from lore_cli.errors import Missing
from lore_cli.path.text import GAP, tokenise
from lore_cli.records import Item, Pair, Trace
from lore_cli.similar import Similar

NEAR = 0.9
"""Jaccard similarity from which two items are near-duplicates [ours]: ten words, and one more or less."""


@lru_cache(maxsize=4096)  # the rows of a query stand together as a rule
def query_key(query: str) -> str:
    """What makes two queries the same: case, word order, repeated words, plurals and punctuation do not matter.

    Coarser than spelling needs, on purpose: two queries with one key are never split between benchmark and training.

    >>> query_key("Navy sofas") == query_key("sofa, NAVY") and query_key("battery") == query_key("Batteries")
    True
    """
    words = {word for word in tokenise(query).stems if word != GAP}
    return " ".join(sorted({word.rstrip("s").rstrip("e").removesuffix("y").removesuffix("i") or word for word in words})) or query.casefold().strip()


def item_words(item: Item) -> frozenset[str]:
    """The words that describe an item: its title, brand and attributes, without case, plural and punctuation."""
    text = " , ".join((item.title, item.brand or "", *map(str, item.attributes.values())))
    return frozenset(tokenise(text).stems) - {GAP}


class KnownPairs:
    """Pairs that other rows are to be kept apart from. Memory: a key for each query, the items by their rarest words."""

    def __init__(self, pairs: Iterable[Pair], near: float = NEAR, shared_items: bool = False) -> None:
        """near: similarity from which items are the same. shared_items: only queries count, for data that is split by them alone."""
        self._queries: dict[str, str] = {}
        self._items = Similar(near)
        self._shared_items = shared_items
        seen: set[str] = set()
        for pair in pairs:
            self._queries.setdefault(query_key(pair.query), pair.id)
            if pair.item.id not in seen and not shared_items:
                seen.add(pair.item.id)
                self._items.add(pair.id, "", item_words(pair.item))

    def holds(self, pair: Pair | Trace) -> tuple[str, str] | None:
        """What a row shares with these pairs, and the id of the pair: its `query` (by `query_key`), or else its `item`, nearly."""
        same = self._queries.get(query_key(pair.query))
        if same is not None:
            return "query", same
        near = None if self._shared_items else self._items.find("", item_words(pair.item))
        return ("item", near) if near is not None else None


def load_known(paths: Sequence[str], near: float = NEAR, shared_items: bool = False) -> KnownPairs | None:
    """The pairs in files, or in directories with an all.jsonl (`lore-rair build`); None for no paths. Raises `Missing` for a directory without one."""
    if not paths:
        return None
    files = [str(Path(path, "all.jsonl")) if Path(path).is_dir() else path for path in paths]
    for path, file in zip(paths, files, strict=True):
        if path != file and not Path(file).is_file():
            raise Missing(f"benchmark {path}: no all.jsonl in it", hint="name a directory that lore-rair build wrote, or a file of pairs")
    return KnownPairs(stream.read(Pair, files, unique=False), near, shared_items)
