"""Whether evidence that a reasoning quotes stands in the item: the check against hallucination in synthesis, the evidence validity of a benchmark."""

from __future__ import annotations

from lore_cli.path.text import GAP, normalise, tokenise
from lore_cli.records import Item, Match
from lore_cli.rulebook import Rulebook


def evidence_holds(match: Match, item: Item, rulebook: Rulebook) -> bool:
    """Whether the found value, or another listed name of it, stands word by word in the item's field that the match cites; plural or singular."""
    text = _field(item, match.source)
    if not text or not match.found:
        return False
    table = rulebook.table(match.attribute)
    held = _stems(text)
    return any(_stands(form, held, text) for form in (match.found, *table.surfaces(table.name(match.found))))


def _stands(form: str, held: str, text: str) -> bool:
    stems = _stems(form)
    return stems in held if stems.strip() else normalise(form) in normalise(text)


def _stems(text: str) -> str:
    return f" {' '.join(stem for stem in tokenise(text).stems if stem != GAP)} "


def _field(item: Item, source: str | None) -> str:
    if source == "attributes":
        return " , ".join(f"{name} {value}" for name, value in item.attributes.items())
    if source == "price":
        return "" if item.price is None else f"{item.price:g}"
    return getattr(item, source or "title") or ""
