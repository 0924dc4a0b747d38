"""Whether evidence that a reasoning quotes stands in the item: the check against hallucination in synthesis, the evidence validity of a benchmark."""

from __future__ import annotations

from functools import lru_cache

from lore_cli.path.text import GAP, normalise, tokenise
from lore_cli.records import Item, Match
from lore_cli.rulebook import Rulebook

_SHORT = 200  # characters: the stems of titles, values and attributes are kept, those of descriptions are not


def evidence_holds(match: Match, item: Item, rulebook: Rulebook) -> bool:
    """Whether the found value, or another listed name of it, stands word by word in the item's field that the match cites; plural or singular."""
    text = _field(item, match.source)
    if not text or not match.found:
        return False
    held = _stems(text)
    if _stands(match.found, held, text):
        return True
    table = rulebook.table(match.attribute)
    return any(_stands(form, held, text) for form in table.surfaces(table.name(match.found)))


def _stands(form: str, held: str, text: str) -> bool:
    stems = _stems(form)
    return stems in held if stems.strip() else normalise(form) in normalise(text)


def _stems(text: str) -> str:
    return _stems_of_short(text) if len(text) <= _SHORT else _joined(text)


def _joined(text: str) -> str:
    return f" {' '.join(stem for stem in tokenise(text).stems if stem != GAP)} "


_stems_of_short = lru_cache(maxsize=16_384)(_joined)


def _field(item: Item, source: str | None) -> str:
    if source == "attributes":
        return " , ".join(f"{name} {value}" for name, value in item.attributes.items())
    if source == "price":
        return "" if item.price is None else f"{item.price:g}"
    return getattr(item, source or "title") or ""
