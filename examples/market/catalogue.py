"""The simulated catalogue: what every product truly is, and what its listing says of it.

Products come in concepts: a concept is one profile of attributes that several sellers offer with small differences, so a
query has several perfect answers, near misses and one-attribute misses. A listing tells less than the truth: part of it
stands in the title, part in the attributes or the description, under any of a value's names; for about a third of the products
colour and pattern stand nowhere in the text, and only the picture shows them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shop import HELD_OUT_DIMENSIONS, ProductClass, Shop, surfaces, values_of

Truth = dict[str, tuple[str, ...]]
VISIBLE = ("colour", "pattern")  # dimensions that every picture shows
FIELDED = ("function-effect", "ingredient-component", "occasion-scene", "ip-theme", "compatibility", "series-model")
"""Dimensions that always have a field: in a title alone, one function would not rule out another, and the true grade would hang on what nobody can see."""
TITLE_WORDS = 3  # beside brand and class, so that titles have three to seven words
CONCEPT_SIZE = 7  # products per concept, on average
SHOP_KEYS = {
    "colour": "color",
    "pattern": "pattern",
    "material": "material",
    "style": "style",
    "shape-fit": "shape",
    "size-specification": "size",
    "quantity-package": "pack",
    "function-effect": "feature",
    "ingredient-component": "ingredient",
    "audience": "gender",
    "occasion-scene": "occasion",
    "season-time": "season",
    "compatibility": "fits",
    "ip-theme": "theme",
    "series-model": "series",
}
TITLE_FIRST = ("series-model", "size-specification", "season-time", "style", "function-effect", "ip-theme", "pattern", "colour", "material")


@dataclass(frozen=True, slots=True)
class Product:
    """A product: its truth, the dimensions its text tells, and the item record of its listing."""

    id: str
    category: str
    truth: Truth
    told: frozenset[str]
    row: dict[str, Any] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Concept:
    """A profile that several products share; `unseen`: it holds a (category, value) combination kept from training."""

    category: str
    profile: Truth
    price: int
    unseen: bool


@dataclass(frozen=True, slots=True)
class Partition:
    """One side of the split: its products and the concepts they came from."""

    split: str
    products: tuple[Product, ...]
    concepts: dict[str, tuple[Concept, ...]]


def build_partition(shop: Shop, split: str, count: int, seed: int, first_number: int) -> Partition:
    """`count` products in all classes by weight, numbered from `first_number`. Deterministic in (seed, split)."""
    rng = random.Random(f"{seed}:catalogue:{split}")
    total = sum(product.weight for product in shop.classes.values())
    products: list[Product] = []
    concepts: dict[str, tuple[Concept, ...]] = {}
    done = 0.0
    for name, product in shop.classes.items():
        done += product.weight / total
        size = round(done * count) - len(products)
        concepts[name] = tuple(_concepts(shop, product, split, max(2, round(size / CONCEPT_SIZE)), rng))
        for _ in range(size):
            concept = rng.choice(concepts[name])
            number = first_number + len(products)
            products.append(_product(shop, product, concept, split, f"i{number:05d}", rng))
    return Partition(split, tuple(products), concepts)


def weighted(rng: random.Random, values: Sequence[str]) -> str:
    """One of `values`, earlier ones more often."""
    return rng.choices(values, weights=[1 / (rank + 1) ** 0.6 for rank in range(len(values))])[0]


def near_values(shop: Shop, dimension: str, value: str) -> tuple[str, ...]:
    """Values a shopper could take for `value`: its kinds, what it is a kind of, its siblings and close values."""
    table = shop.rulebook.table(dimension)
    parents = [parent for parent, kinds in table.kinds.items() if value in kinds]
    siblings = {kind for parent in parents for kind in table.kinds[parent]}
    return tuple(sorted({*table.close.get(value, ()), *table.kinds.get(value, ()), *parents, *siblings} - {value}))


def _concepts(shop: Shop, product: ProductClass, split: str, count: int, rng: random.Random) -> Iterable[Concept]:
    wanted = [term for term in shop.terms if product.name in term.categories]
    held_out = [combination for combination in sorted(shop.held_out) if combination[0] == product.name]
    allowed = {dim: _allowed(shop, product, dim, split) for dim in product.dims}
    decks = {dim: rng.sample(allowed[dim], k=len(allowed[dim])) for dim in HELD_OUT_DIMENSIONS if dim in allowed}
    for number in range(count):
        profile: Truth = {}
        for dim in product.dims:
            if dim not in VISIBLE and rng.random() > 0.78:
                continue
            even = dim in decks and rng.random() < 0.6  # goes round the values, so that rare ones are sold as well
            profile[dim] = values_of(decks[dim][number % len(decks[dim])] if even else weighted(rng, allowed[dim]))
        profile["brand"] = (rng.choice(shop.brands[product.group]),)
        unseen = split == "test" and bool(held_out) and number % 4 == 1
        if unseen:
            _, dimension, value = rng.choice(held_out)
            profile[dimension] = (value,)
        elif number < len(wanted) or rng.random() < 0.1 * len(wanted):
            term = wanted[number] if number < len(wanted) else rng.choice(wanted)
            for need in term.needs:
                values = [other.value for other in term.needs if other.attribute == need.attribute]
                profile[need.attribute] = tuple(values)
        low, high = product.levels
        yield Concept(product.name, profile, rng.randint(low, high - 1), unseen)


def _product(shop: Shop, product: ProductClass, concept: Concept, split: str, identity: str, rng: random.Random) -> Product:
    truth: Truth = {"category": (product.name,)}
    for dimension, values in concept.profile.items():
        if dimension == "brand":
            truth[dimension] = values if rng.random() < 0.5 else (rng.choice(shop.brands[product.group]),)
        elif dimension not in VISIBLE and rng.random() < 0.08:
            continue
        elif rng.random() < 0.14:
            truth[dimension] = values_of(_other_value(shop, product, dimension, values, split, rng))
        else:
            truth[dimension] = values
    if rng.random() < 0.6:
        low, high = product.levels
        truth["price-condition"] = (str(shop.prices[min(high, max(low, concept.price + rng.randint(-1, 1)))]),)
    row, told = _listing(shop, product, truth, identity, rng)
    return Product(identity, product.name, truth, told, row)


def _allowed(shop: Shop, product: ProductClass, dimension: str, split: str) -> tuple[str, ...]:
    values = product.dims[dimension]
    return values if split == "test" else tuple(value for value in values if (product.name, dimension, value) not in shop.held_out)


def _other_value(shop: Shop, product: ProductClass, dimension: str, values: tuple[str, ...], split: str, rng: random.Random) -> str:
    near = near_values(shop, dimension, values[0]) if dimension in HELD_OUT_DIMENSIONS else ()
    near = tuple(value for value in near if (product.name, dimension, value) not in shop.held_out or split == "test")
    return rng.choice(near) if near and rng.random() < 0.55 else weighted(rng, _allowed(shop, product, dimension, split))


def _listing(shop: Shop, product: ProductClass, truth: Truth, identity: str, rng: random.Random) -> tuple[dict[str, Any], frozenset[str]]:
    """The item record of a product, and the dimensions its text tells."""
    hidden = set(VISIBLE) if rng.random() < 0.31 else set()
    hidden |= product.unasked
    if truth["pattern"] == ("plain",) and rng.random() < 0.7:
        hidden.add("pattern")
    told = [dim for dim in truth if dim not in hidden and dim not in ("category", "brand", "price-condition")]
    rng.shuffle(told)
    written = {dim: _written(shop, dim, truth[dim], rng) for dim in told}
    in_title = told[: rng.choice((1, 1, 2, 2, 3))]
    while sum(len(_phrase(dim, written[dim]).split()) for dim in in_title) > TITLE_WORDS:
        in_title.pop()
    in_attributes = [dim for dim in told if dim in FIELDED or (dim not in in_title and rng.random() < 0.55)]
    in_description = [dim for dim in told if dim not in in_attributes and dim not in in_title]
    row: dict[str, Any] = {"id": identity, "title": _title(product, truth, in_title, written, bool(in_title) and rng.random() < 0.6, rng)}
    if rng.random() < 0.7:
        row["category"] = product.name
    row["brand"] = truth["brand"][0]
    if in_attributes:
        row["attributes"] = {product.keys.get(dim, SHOP_KEYS[dim]): written[dim] for dim in sorted(in_attributes)}
    if in_description:
        row["description"] = ", ".join(_phrase(dim, written[dim]) for dim in in_description)
    if "price-condition" in truth:
        row["price"] = int(truth["price-condition"][0])
    row["image"] = f"images/{identity}.png"
    return row, frozenset({*told, "category", "brand", "price-condition"})


def _title(product: ProductClass, truth: Truth, dims: list[str], written: dict[str, str], without_brand: bool, rng: random.Random) -> str:
    names = surfaces("category", product.name)
    noun = names[0] if rng.random() < 0.7 else rng.choice(names)
    before = sorted((dim for dim in dims if dim in TITLE_FIRST and rng.random() < 0.7), key=TITLE_FIRST.index)
    after = [dim for dim in dims if dim not in before]
    words = [] if without_brand else [truth["brand"][0]]
    words += [written[dim] for dim in before] + [noun] + [_phrase(dim, written[dim]) for dim in after]
    if len(" ".join(words).split()) < 3:
        words.insert(0 if without_brand else 1, rng.choice(("classic", "studio", "signature")))
    return " ".join(words)


def _written(shop: Shop, dimension: str, values: tuple[str, ...], rng: random.Random) -> str:
    """A value as a listing writes it: mostly by its rulebook name, sometimes by another one or in another unit."""
    parts = []
    for value in values:
        others = shop.measures.get(value, ()) or surfaces(dimension, value)[1:]
        parts.append(rng.choice(others) if others and rng.random() < 0.3 else value)
    return " and ".join(parts)


def _phrase(dimension: str, text: str) -> str:
    if dimension in ("audience", "compatibility", "occasion-scene"):
        return f"for {text}"
    return text
