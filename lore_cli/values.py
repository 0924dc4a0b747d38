"""Value tables: what a value is also called, what it includes, what is near it. Pure look-ups, no text analysis.

Relations are stored once per dimension over canonical values; `compare` answers how a found value satisfies a needed one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lore_cli.errors import BadInput
from lore_cli.records import State

RELATIONS = ("synonyms", "kinds", "close", "distinct", "accessories")
QUANTITY = re.compile(r"(\d+-\d+/\d+|\d+(?:\.\d+)?(?:\s*/\s*\d+)?)\s*-?\s*([a-z\"'][a-z\"' -]*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Values:
    """The table of one dimension. Keys and members are canonical values, except in `canonical`, which maps every surface form."""

    canonical: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, frozenset[str]] = field(default_factory=dict)
    close: dict[str, frozenset[str]] = field(default_factory=dict)
    accessories: dict[str, frozenset[str]] = field(default_factory=dict)

    def name(self, text: str) -> str:
        """The canonical value of a surface form; the folded text itself when the table does not list it."""
        folded = fold(text)
        return self.canonical.get(folded, folded)

    def surfaces(self, value: str) -> tuple[str, ...]:
        """Every listed surface form of a canonical value."""
        return self._forms.get(value, ())

    @cached_property
    def _forms(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for form, canonical in self.canonical.items():
            found.setdefault(canonical, []).append(form)
        return {canonical: tuple(forms) for canonical, forms in found.items()}


def fold(text: str) -> str:
    """Lower case with single spaces: the form in which values are compared."""
    return " ".join(text.casefold().split())


def check_keys(entry: Any, allowed: Collection[str], place: str) -> None:
    """Raise `BadInput` naming `place` for a key that is not allowed: a misspelt one would silently change what the entry means."""
    if not isinstance(entry, dict):
        raise BadInput(f"is {entry!r}; a table is needed", field=place)
    for key in entry:
        if key not in allowed:
            raise BadInput(f"'{key}' is unknown here (allowed: {', '.join(allowed)})", field=place)


def texts(entry: dict[str, Any], key: str, place: str) -> tuple[str, ...]:
    """The list of texts under `key`, () without it. Raises `BadInput` for anything else: a bare text would be read letter by letter."""
    found = entry.get(key, [])
    if not isinstance(found, list) or not all(isinstance(text, str) and text.strip() for text in found):
        raise BadInput(f"'{key}' is {found!r}; a list of texts is needed", field=place)
    return tuple(found)


def build_values(dimension: str, table: dict[str, dict[str, list[str]]]) -> Values:
    """Check and index one `[values.DIMENSION]` table. Raises `BadInput` naming the value whose relations cannot hold."""
    canonical: dict[str, str] = {}
    for value, relations in table.items():
        check_keys(relations, RELATIONS, f"values.{dimension}.{value}")
        for relation in relations:
            texts(relations, relation, f"values.{dimension}.{value}")
        for form in (value, *relations.get("synonyms", ())):
            owner = canonical.setdefault(fold(form), fold(value))
            if owner != fold(value):
                raise BadInput(
                    f"'{form}' is listed under both '{owner}' and '{value}': synonyms must not cross or form a cycle",
                    field=f"values.{dimension}.{value}.synonyms",
                    hint="keep the form under one value; use `close` or `kinds` for related values",
                )
    kinds = {fold(v): _members(dimension, v, "kinds", r, canonical) for v, r in table.items() if r.get("kinds")}
    kinds = {value: _descendants(dimension, value, kinds, ()) for value in kinds}
    distinct = {frozenset((fold(v), other)) for v, r in table.items() for other in _members(dimension, v, "distinct", r, canonical)}
    close: dict[str, set[str]] = {}
    for value, relations in table.items():
        for near in _members(dimension, value, "close", relations, canonical):
            if frozenset((fold(value), near)) in distinct:
                raise BadInput(f"'{near}' is both close and distinct", field=f"values.{dimension}.{value}")
            close.setdefault(fold(value), set()).add(near)
            close.setdefault(near, set()).add(fold(value))
    accessories = {fold(v): _members(dimension, v, "accessories", r, canonical) for v, r in table.items() if r.get("accessories")}
    return Values(canonical, kinds, {value: frozenset(near) for value, near in close.items()}, accessories)


def _members(dimension: str, value: str, relation: str, relations: dict[str, list[str]], canonical: dict[str, str]) -> frozenset[str]:
    names = [fold(name) for name in relations.get(relation, ())]
    for name in names:
        if canonical.get(name) != name:
            raise BadInput(
                f"'{name}' is not a value of this table",
                field=f"values.{dimension}.{value}.{relation}",
                hint=f"add [values.{dimension}.\"{name}\"], or name the value it is a synonym of",
            )
    return frozenset(names)


def _descendants(dimension: str, value: str, kinds: dict[str, frozenset[str]], path: tuple[str, ...]) -> frozenset[str]:
    if value in path:
        raise BadInput(f"kinds form a cycle: {' > '.join((*path, value))}", field=f"values.{dimension}.{value}.kinds")
    direct = kinds.get(value, frozenset())
    return direct.union(*(_descendants(dimension, kind, kinds, (*path, value)) for kind in direct))


def compare_listed(values: Values, need: str, found: str) -> State:
    """How a found value satisfies a needed one, both given as any surface form: `exact`, `close` or `conflict`.

    A kind of what was asked is exact; the broader value where a narrower was asked is close; siblings conflict unless listed close.
    """
    need, found = values.name(need), values.name(found)
    if need == found or found in values.kinds.get(need, ()):
        return "exact"
    if need in values.kinds.get(found, ()) or found in values.close.get(need, ()):
        return "close"
    return "conflict"


def quantities(text: str, units: dict[str, dict[str, float]]) -> list[tuple[str, float]]:
    """Measurements in a text as (unit kind, amount in that kind's first unit): `'6 ft hose' -> [('length', 182.88)]`.

    A bare number has the kind ''. Fractions (`1/2 in`, `1-1/2 in`) are read as such.
    """
    found = []
    for number, unit_text in QUANTITY.findall(text.casefold()):
        amount = _number(number)
        kind, factor = _unit(unit_text, units)
        if math.isfinite(amount):
            found.append((kind, amount * factor))
    return found


def compare_quantity(need: tuple[str, float], found: list[tuple[str, float]]) -> tuple[State, int] | None:
    """The best state of a needed measurement among found ones of its kind, with the index of that one; None when none is of its kind.

    Equal within 1 % is exact, within 10 % close [ours].
    """
    kind, amount = need
    best: tuple[State, int] | None = None
    for index, (other, value) in enumerate(found):
        if other != kind:
            continue
        gap = abs(value - amount) / max(abs(amount), 1e-9)
        state: State = "exact" if gap <= 0.01 else "close" if gap <= 0.10 else "conflict"
        if best is None or ("exact", "close", "conflict").index(state) < ("exact", "close", "conflict").index(best[0]):
            best = (state, index)
    return best


def _number(text: str) -> float:
    if "/" not in text:
        return float(text)
    whole, _, fraction = text.rpartition("-")
    top, bottom = fraction.split("/")
    return float(whole or 0) + (float(top) / float(bottom) if float(bottom) else math.nan)


def _unit(text: str, units: dict[str, dict[str, float]]) -> tuple[str, float]:
    words = text.strip(" -").split()
    for name in (" ".join(words[:2]), words[0] if words else ""):
        for kind, table in units.items():
            if name and name in table:
                return kind, table[name]
    return "", 1.0
