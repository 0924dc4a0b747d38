"""Which products are shown for a query, how simulated raters grade them, and which difficulty each pair was built to have."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from catalogue import VISIBLE, Partition, Product, near_values
from grades import Grader, one_rater, three_raters
from queries import Query
from shop import Shop

from lore_cli.path.lexical import overlap
from lore_cli.records import GRADES, STATES, Grade, Item, Need, State, parse

MIX: dict[Grade, float] = {"L1": 0.2, "L2": 0.2, "L3": 0.2, "L4": 0.4}
MOST = 0.65  # no more than this share of a query's pairs has one grade
NARROW_RULES = frozenset({"R2", "R6", "R7", "R8", "R9"})


@dataclass(frozen=True, slots=True)
class Shown:
    """One pair as built: the product, the true grade, the label given, and why it is difficult."""

    query: Query
    product: Product
    truth: Grade
    label: Grade
    difficulty: tuple[str, ...]
    lexical: float


class Shelf:
    """A partition laid out for choosing: per dimension, which of its distinct truths each product has."""

    def __init__(self, shop: Shop, partition: Partition, grader: Grader, seed: int) -> None:
        self.shop, self.products, self.grader = shop, partition.products, grader
        self.raters = three_raters if partition.split == "test" else one_rater
        self.random = random.Random(f"{seed}:pairs:{partition.split}")
        self.draws = np.random.default_rng([seed, partition.split == "test"])
        self.given: Counter[Grade] = Counter()
        self.categories = np.array([product.category for product in self.products])
        self.items = [parse(Item, product.row) for product in self.products]
        self._codes: dict[str, tuple[list[tuple[str, ...] | None], np.ndarray]] = {}

    def show(self, query: Query, count: int) -> list[Shown]:
        """`count` products (fewer when the rest would all have one grade) in the lexical order of a simple engine.

        They are chosen so that all pairs shown so far keep to MIX.
        """
        states, grades = self._judge(query.needs)
        related = self._related(query.needs[0].value)
        conflict = STATES.index("conflict")
        near = np.isin(self.categories, related) | (states[:, 0] != conflict)
        touching = near | (states[:, 1:] < STATES.index("unknown")).any(axis=1)
        chosen: list[int] = []
        closeness = np.where(near, 1.0, np.where(touching, 0.45, 0.15))
        buckets = {grade: self._bucket(np.flatnonzero(grades == place), closeness, count) for place, grade in enumerate(GRADES)}
        used: Counter[Grade] = Counter()
        while len(chosen) < count:
            open_grades = [grade for grade in GRADES if buckets[grade] and used[grade] < MOST * count]
            if not open_grades:
                break
            total = sum(self.given.values()) + 1
            grade = max(open_grades, key=lambda name: (MIX[name] * total - self.given[name]) / MIX[name] + self.random.random() * count)
            chosen.append(buckets[grade].pop())
            self.given[grade] += 1
            used[grade] += 1
        shown = [self._shown(query, place, tuple(STATES[state] for state in states[place])) for place in chosen]
        return sorted(shown, key=lambda pair: (-pair.lexical, pair.product.id))

    def _bucket(self, places: np.ndarray, closeness: np.ndarray, count: int) -> list[int]:
        """Up to `count` of the products at `places`, to be popped from the end: mostly those close enough for a shopper to confuse them."""
        luck = closeness[places] * self.draws.random(len(places))
        return [int(place) for place in places[np.argsort(luck, kind="stable")[-count:]]]

    def _judge(self, needs: Sequence[Need]) -> tuple[np.ndarray, np.ndarray]:
        """States [products, needs] and grades [products], both as places in STATES and GRADES."""
        columns = []
        for need in needs:
            distinct, codes = self._distinct(need.attribute)
            answers = [STATES.index(self.grader.state(need, {need.attribute: values} if values else {})) for values in distinct]
            columns.append(np.array(answers)[codes])
        states = np.stack(columns, axis=1)
        packed = states @ len(STATES) ** np.arange(len(needs))
        _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
        grades = [GRADES.index(self.grader.grade(needs, tuple(STATES[state] for state in states[place]))[0]) for place in first]
        return states, np.array(grades)[inverse.reshape(-1)]

    def _distinct(self, dimension: str) -> tuple[list[tuple[str, ...] | None], np.ndarray]:
        if dimension not in self._codes:
            places: dict[tuple[str, ...] | None, int] = {}
            codes = [places.setdefault(product.truth.get(dimension), len(places)) for product in self.products]
            self._codes[dimension] = (list(places), np.array(codes))
        return self._codes[dimension]

    def _related(self, category: str) -> list[str]:
        """Categories a shopper or an engine could take for this one: near ones, and accessories of it or of what it is a kind of, either way round."""
        accessories = self.shop.rulebook.table("category").accessories
        near = near_values(self.shop, "category", category)
        parts = {part for main in (category, *near) for part in accessories.get(main, ())}
        return [*near, *sorted(parts), *(main for main, its in accessories.items() if category in its)]

    def _shown(self, query: Query, place: int, states: tuple[State, ...]) -> Shown:
        product = self.products[place]
        truth, rules = self.grader.grade(query.needs, states)
        label = self.raters(truth, self.random)
        return Shown(query, product, truth, label, self._difficulty(query, product, states, truth, rules), overlap(query.text, self.items[place]))

    def _difficulty(self, query: Query, product: Product, states: tuple[State, ...], grade: Grade, rules: tuple[str, ...]) -> tuple[str, ...]:
        """knowledge: the query must be understood first; visual: without the picture the grade would be another; rules: a narrow rule decides."""
        right_kind = states[0] in ("exact", "close")
        difficulty = ["knowledge"] if query.knowledge and right_kind else []
        unseen_in_text = [dim for dim in VISIBLE if dim not in product.told]
        blind = self.grader.states(query.needs, product.truth, unseen_in_text)
        if blind != states and self.grader.grade(query.needs, blind)[0] != grade:
            difficulty.append("visual")
        accessory = states[0] == "conflict" and product.category in self._related(query.needs[0].value)
        refused = [need for need, state in zip(query.needs, states, strict=True) if state == "conflict" and need.attribute == "colour" and not need.negated]
        confusable = right_kind and any(product.truth["colour"][0] in near_values(self.shop, "colour", need.value) for need in refused)
        if accessory or confusable or NARROW_RULES & set(rules):
            difficulty.append("rules")
        return tuple(difficulty)
