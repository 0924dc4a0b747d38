"""The simulated shop's data (shop.toml) read once, with the rulebook it is written in."""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from lore_cli.records import Need
from lore_cli.rulebook import Rulebook, load_rulebook

CJK = re.compile(r"[\u3400-\u9fff]")
SMALL_CLASSES = ("sofa bed", "sofa cover", "dress", "lipstick", "serum")
HELD_OUT_DIMENSIONS = ("colour", "pattern", "material")


@dataclass(frozen=True, slots=True)
class ProductClass:
    """One class of products. `dims`: the values of each dimension in order of popularity; `unasked`: dimensions no query names."""

    name: str
    group: str
    weight: float
    levels: tuple[int, int]
    dims: dict[str, tuple[str, ...]]
    keys: dict[str, str] = field(default_factory=dict)
    unasked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Term:
    """What shoppers say and the rulebook does not know. `implied`: the term alone names the product."""

    term: str
    language: str
    categories: tuple[str, ...]
    needs: tuple[Need, ...]
    implied: bool
    note: str


@dataclass(frozen=True)
class Shop:
    """The classes, invented names, terms and measures; `held_out`: (category, dimension, value) never seen in the training partition."""

    classes: dict[str, ProductClass]
    brands: dict[str, tuple[str, ...]]
    terms: tuple[Term, ...]
    measures: dict[str, tuple[str, ...]]
    prices: tuple[int, ...]
    limits: tuple[int, ...]
    held_out: frozenset[tuple[str, str, str]]
    rulebook: Rulebook


def load_shop(seed: int, small: bool = False) -> Shop:
    """Read shop.toml. `small` keeps a few classes, an accessory among them."""
    data = tomllib.loads(Path(__file__).with_name("shop.toml").read_text(encoding="utf-8"))
    names = SMALL_CLASSES if small else tuple(data["classes"])
    classes = {name: _product_class(name, data["classes"][name]) for name in names}
    terms = tuple(term for term in map(_term, data["glossary"]) if any(name in classes for name in term.categories))
    return Shop(
        classes=classes,
        brands={group: tuple(brands) for group, brands in data["brands"].items()},
        terms=terms,
        measures={value: tuple(others) for value, others in data["measures"].items()},
        prices=tuple(data["prices"]),
        limits=tuple(data["limits"]),
        held_out=_held_out(classes, terms, random.Random(f"{seed}:held out")),
        rulebook=load_rulebook(),
    )


def values_of(choice: str) -> tuple[str, ...]:
    """The values of one choice of a dimension: `'vitamin c + retinol'` stands for both."""
    return tuple(choice.split(" + "))


@lru_cache(maxsize=None)
def surfaces(dimension: str, value: str, language: str = "en") -> tuple[str, ...]:
    """The names of a value in one language, its rulebook name first; names of one Chinese character only where there is no longer one."""
    forms = [value, *(form for form in load_rulebook().table(dimension).surfaces(value) if form != value)]
    if language == "en":
        return tuple(form for form in forms if not CJK.search(form) and "'" not in form)
    chinese = [form for form in forms if CJK.search(form)]
    return tuple(form for form in chinese if len(form) > 1) or tuple(chinese)


def glossary_rows(shop: Shop) -> list[dict[str, Any]]:
    """The rows of glossary.jsonl: the terms, then the shop's own names (brands, series, devices), which no rulebook can know."""
    rows: list[dict[str, Any]] = []
    for term in shop.terms:
        implied = [{"attribute": "category", "value": term.categories[0]}] if term.implied else []
        needs = [{"attribute": need.attribute, "value": need.value} for need in term.needs]
        rows.append({"term": term.term, "needs": implied + needs, "note": term.note})
    names: dict[str, tuple[str, str]] = {}
    for product in shop.classes.values():
        names.update({brand: ("brand", "a brand of this shop (invented)") for brand in shop.brands[product.group]})
        names.update({series: ("series-model", "a product line (invented)") for series in product.dims.get("series-model", ())})
        if product.group == "devices":
            names.update({device: ("compatibility", "a phone (invented)") for device in product.dims.get("compatibility", ())})
    rows += [{"term": name, "needs": [{"attribute": attribute, "value": name}], "note": note} for name, (attribute, note) in sorted(names.items())]
    return rows


def _product_class(name: str, data: dict[str, Any]) -> ProductClass:
    dims = {dimension: tuple(values) for dimension, values in data["dims"].items()}
    return ProductClass(name, data["group"], data["weight"], tuple(data["levels"]), dims, data.get("keys", {}), frozenset(data.get("unasked", ())))


def _term(data: dict[str, Any]) -> Term:
    needs = tuple(Need(attribute, value) for attribute, values in data["needs"].items() for value in values)
    return Term(data["term"], data.get("language", "en"), tuple(data["categories"]), needs, data.get("implied", False), data["note"])


def _held_out(classes: dict[str, ProductClass], terms: tuple[Term, ...], rng: random.Random) -> frozenset[tuple[str, str, str]]:
    """About one value per class that only the test partition has; never a class's two most popular ones, nor one that a term needs."""
    needed = {(category, need.attribute, need.value) for term in terms for category in term.categories for need in term.needs}
    chosen = set()
    for name, product in classes.items():
        options = [
            (name, dimension, value)
            for dimension in HELD_OUT_DIMENSIONS
            if dimension not in product.unasked
            for value in product.dims.get(dimension, ())[2:]
            if (name, dimension, value) not in needed
        ]
        if len(options) > 1:
            chosen.add(rng.choice(options))
    return frozenset(chosen)
