"""Human-like grades: the rulebook over a product's true attributes, then simulated raters who slip.

Nothing here reads text: needs are compared with the truth, so a pair's grade does not depend on how a listing or a query is worded.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from catalogue import Truth

from lore_cli.records import GRADES, Grade, Match, Need, State
from lore_cli.rulebook import Rulebook
from lore_cli.values import compare_quantity, quantities

MEASURED = ("size-specification", "quantity-package")
SLIP = 0.05  # share of labels a single rater gets wrong
NEIGHBOUR = 0.8  # share of the slips that land on a neighbouring grade
_ORDER: tuple[State, ...] = ("exact", "close", "conflict")


class Grader:
    """States and grades under one rulebook, remembered: a shop has few distinct questions."""

    def __init__(self, rulebook: Rulebook) -> None:
        self.rulebook = rulebook
        self._states: dict[tuple[Need, tuple[str, ...] | None], State] = {}
        self._grades: dict[tuple[str, ...], tuple[Grade, tuple[str, ...]]] = {}

    def state(self, need: Need, truth: Truth) -> State:
        """How a product's truth meets one need; `unknown` where the product has nothing to say."""
        values = truth.get(need.attribute)
        key = (need, values)
        if key not in self._states:
            self._states[key] = _state(self.rulebook, need, values)
        return self._states[key]

    def states(self, needs: Sequence[Need], truth: Truth, blind: Iterable[str] = ()) -> tuple[State, ...]:
        """The states of all needs. `blind`: dimensions taken as unknown, for asking what they decide."""
        return tuple("unknown" if need.attribute in blind else self.state(need, truth) for need in needs)

    def grade(self, needs: Sequence[Need], states: tuple[State, ...]) -> tuple[Grade, tuple[str, ...]]:
        """The grade that these states imply, and the rules that set it. The first need is the category."""
        key = (needs[0].value, *(need.attribute for need in needs), *states)  # rules look at the category asked for, at no other value
        if key not in self._grades:
            matches = [Match(need.attribute, need.value, state) for need, state in zip(needs, states, strict=True)]
            self._grades[key] = self.rulebook.grade(matches)
        return self._grades[key]


def one_rater(grade: Grade, rng: random.Random) -> Grade:
    """What one rater writes down: the true grade, or in 5 % of the cases another one, mostly a neighbour."""
    if rng.random() >= SLIP:
        return grade
    place = GRADES.index(grade)
    neighbours = [GRADES[other] for other in (place - 1, place + 1) if 0 <= other < len(GRADES)]
    return rng.choice(neighbours if rng.random() < NEIGHBOUR else [other for other in GRADES if other != grade])


def three_raters(grade: Grade, rng: random.Random) -> Grade:
    """The majority of three raters; the middle one of three different grades."""
    return sorted(one_rater(grade, rng) for _ in range(3))[1]


def _state(rulebook: Rulebook, need: Need, values: tuple[str, ...] | None) -> State:
    if values is None:
        return "unknown"
    if need.attribute == "price-condition":
        return _price_state(need.value, float(values[0]))
    if need.attribute in MEASURED:
        return _measured_state(rulebook, need, values)
    states = [rulebook.compare(need.attribute, need.value, value, need.negated) for value in values]
    return max(states, key=_ORDER.index) if need.negated else min(states, key=_ORDER.index)


def _price_state(condition: str, price: float) -> State:
    """`under 40` or `over 40`. The shop's price points leave no price within 10 % above a limit, so nothing hangs on where `close` would end."""
    word, limit = condition.split()
    return "exact" if (price <= float(limit) if word == "under" else price >= float(limit)) else "conflict"


def _measured_state(rulebook: Rulebook, need: Need, values: tuple[str, ...]) -> State:
    wanted = quantities(need.value, rulebook.units)[0]
    found = [measure for value in values for measure in quantities(value, rulebook.units)]
    best = compare_quantity(wanted, found)
    return best[0] if best else "unknown"
