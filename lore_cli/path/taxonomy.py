"""A shop's taxonomy, category → attributes → values: what it adds to a rulebook's tables, and which of its entries a query mentions.

One row per category, beside glossary rows in the same files or alone:

    {"category": "Sofa Beds", "path": ["Furniture", "Sofas"], "names": {"en": "sleeper sofas", "zh": "沙发床"}, "attributes": {"colour": ["navy", "clear"]}}

`path` names the categories above it, the root first; a category satisfies a need for any of them. `attributes` are closed lists of values, and
hold for the categories below too. An attribute that the rulebook takes for none of its dimensions is left out, and counted.

What the rulebook lists keeps its meaning [ours]: a form that it knows is never given another one, two values of its own stay related as it
says, and words of the query's logic ("set", "for") name nothing. A name that ends with another name of the same branch is a kind of it [ours]:
an office chair is a chair.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import msgspec

from lore_cli.path.text import GAP, is_number, tokenise
from lore_cli.rulebook import Rulebook
from lore_cli.values import Values, fold

_LOGIC = ("negation", "exclusion", "absence", "accessory", "with", "place", "part", "pack", "size", "universal", "price_below", "price_above", "currency", "stop")
Form = tuple[str, ...]


class Category(msgspec.Struct, frozen=True):
    """One row of a taxonomy. `names`: further names by language, one or several each."""

    category: str
    path: tuple[str, ...] = ()
    names: dict[str, str | tuple[str, ...]] = {}
    attributes: dict[str, tuple[str, ...]] = {}


@dataclass(slots=True)
class Branches:
    """A taxonomy under a rulebook. rows: of each canonical category. values: canonical values by whole path and dimension, each category's own.

    left_out: attributes that belong to no dimension, with the number of categories that have them.
    """

    rows: dict[str, list[Category]] = field(default_factory=dict)
    values: dict[tuple[str, ...], dict[str, frozenset[str]]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def allowed(self, row: Category) -> dict[str, frozenset[str]]:
        """The values a category may have, by dimension: its own and those of the categories above it."""
        found: dict[str, frozenset[str]] = {}
        whole = lineage(row)
        for depth in range(1, len(whole) + 1):
            for dimension, values in self.values.get(whole[:depth], {}).items():
                found[dimension] = found.get(dimension, frozenset()) | values
        return found

    def note(self) -> str:
        """What was left out, for the user; '' for nothing."""
        if not self.left_out:
            return ""
        names = ", ".join(name for name, _ in self.left_out.most_common(5))
        return f"taxonomy: {len(self.left_out)} attributes belong to no dimension and are left out, {self.left_out.total()} times ({names}{', …' if len(self.left_out) > 5 else ''})"


def lineage(row: Category) -> tuple[str, ...]:
    """The whole path, the category itself last, whether or not the row's path ends with it."""
    return row.path if row.path[-1:] == (row.category,) else (*row.path, row.category)


def extend(rulebook: Rulebook, categories: Sequence[Category]) -> tuple[Rulebook, Branches]:
    """The rulebook with the taxonomy's categories and values in its tables, and the taxonomy by canonical category."""
    branches = Branches()
    if not categories:
        return rulebook, branches
    known = {stems_of(form): dimension for dimension in rulebook.dimensions for form in rulebook.table(dimension).canonical}
    tables = {"category": _Table(rulebook, "category", known)}
    _add_categories(categories, tables["category"], branches)
    for row in categories:
        for attribute, texts in row.attributes.items():
            dimension = rulebook.dimension_of(attribute)
            if dimension is None or dimension in ("category", "price-condition"):
                branches.left_out[attribute] += 1
                continue
            if dimension not in tables:
                tables[dimension] = _Table(rulebook, dimension, known)
            own = branches.values.setdefault(lineage(row), {})
            own[dimension] = own.get(dimension, frozenset()).union(*(tables[dimension].add(text) for text in texts))
    return replace(rulebook, values=rulebook.values | {name: table.values() for name, table in tables.items()}), branches


def _add_categories(categories: Sequence[Category], table: _Table, branches: Branches) -> None:
    roots: dict[str, set[str]] = {}
    for row in categories:
        whole = [table.add(name) for name in lineage(row)]
        own = whole[-1]
        for value in chain(*whole):
            roots.setdefault(value, set()).add(lineage(row)[0])
        for above in chain(*whole[:-1]):
            for below in own:
                table.kind(above, below)
        for names in row.names.values():
            for name in (names,) if isinstance(names, str) else names:
                table.name(own[0] if own else fold(row.category), name)
        for value in own:
            branches.rows.setdefault(value, []).append(row)
    table.kinds_by_head(roots)


class _Table:
    """A value table of a rulebook that grows. known: the dimension of every form that the rulebook lists."""

    def __init__(self, rulebook: Rulebook, dimension: str, known: dict[Form, str]) -> None:
        self._base, self._is_category = rulebook.table(dimension), dimension == "category"
        self._own = frozenset(self._base.canonical.values())
        self._canonical = dict(self._base.canonical)
        self._kinds = {value: set(kinds) for value, kinds in self._base.kinds.items()}
        self._close = {value: set(near) for value, near in self._base.close.items()}
        self._forms = {stems_of(form): value for form, value in self._canonical.items()}
        words = [*(word for name in _LOGIC for word in rulebook.lexicon.get(name, ())), *(unit for units in rulebook.units.values() for unit in units)]
        self._taken = {form for form in known if form not in self._forms} | {stems_of(word) for word in words} | {()}
        self._added: dict[str, tuple[str, ...]] = {}

    def add(self, name: str) -> tuple[str, ...]:
        """The canonical values that a name of the taxonomy stands for, new or known: one, several that are close to each other, or none."""
        if name not in self._added:
            parts, short = names_in(name)
            values = dict.fromkeys(value for part in parts if (value := self.name(fold(part), part)))
            for value in values:
                self._close.setdefault(value, set()).update(other for other in values if self._may_relate(value, other))
            if short and values:
                self.name(next(iter(values)), short)
            self._added[name] = tuple(values)
        return self._added[name]

    def name(self, value: str, form: str) -> str:
        """Take `form` as a name of `value`; the value that it names then, which is another one where it named that already, or '' when it may name none."""
        stems = stems_of(form)
        if stems in self._forms:
            return self._forms[stems]
        numbers = [is_number(word) for word in stems]
        if stems in self._taken or (all(numbers) if self._is_category else any(numbers)) or (len(stems) == 1 and len(stems[0]) == 1 and stems[0].isascii()):
            return ""
        self._forms[stems] = self._canonical[fold(form)] = value
        return value

    def kind(self, above: str, below: str) -> None:
        """`below` satisfies a need for `above`."""
        if self._may_relate(above, below):
            self._kinds.setdefault(above, set()).add(below)

    def _may_relate(self, one: str, other: str) -> bool:
        """What the rulebook says of two values of its own stands."""
        return one != other and not {one, other} <= self._own

    def kinds_by_head(self, roots: dict[str, set[str]]) -> None:
        """A name that ends with another one is a kind of it, where both stand under one root: the last noun of a compound says what it is."""
        for form, value in self._forms.items():
            for start in range(1, len(form)):
                other = self._forms.get(form[start:])
                if other and roots.get(value, set()) & roots.get(other, set()):
                    self.kind(other, value)

    def values(self) -> Values:
        kinds, close = ({value: frozenset(others) for value, others in relation.items()} for relation in (self._kinds, self._close))
        return Values(self._canonical, kinds, close, self._base.accessories)


def stems_of(form: str) -> Form:
    """A form as it is looked for in texts."""
    return tuple(word for word in tokenise(form).stems if word != GAP)


def names_in(name: str) -> tuple[list[str], str]:
    """The names on both sides of "&", a first one in the singular with the noun at the end; and the short name in brackets, or ''.

    >>> names_in("Coats & Jackets"), names_in("Curtain & Drape Rods"), names_in("Extra large (XL)")
    ((['Coats', 'Jackets'], ''), (['Curtain Rods', 'Drape Rods'], ''), (['Extra large'], 'XL'))
    """
    plain, _, bracketed = name.partition("(")
    parts = [part.strip() for part in re.split(r"\s+and\s+|[&,/]", plain) if part.strip()]
    noun = parts[-1].split(" ")[-1] if parts and " " in parts[-1] else ""
    return [part if not noun or part.endswith("s") or " " in part else f"{part} {noun}" for part in parts], bracketed.strip(") ")
