"""Verifiable rewards: pure functions of a completion, the human grade and the rulebook. Trainers only wire them.

The paper aligns with human grades by RL and gives no reward formula; the parts and their weights are ours (the weights were tried in a
small probe, docs/results.md). Each part lies in [0, 1]. A completion that cannot be parsed earns nothing in any part: that is the documented
reward of an answer no shop could use, not a failure of the scorer. A failure of the scorer (a weight or reward that is not a number) is fatal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from lore_cli import answer
from lore_cli.answer import Answer, AnswerError, Layout
from lore_cli.errors import BadInput, UsageError
from lore_cli.records import GRADES, Grade
from lore_cli.rulebook import Rulebook

WEIGHTS: dict[str, float] = {"grade": 1.0, "ordinal": 0.0, "format": 0.1, "adherence": 0.1}


def grade_reward(given: Grade, human: Grade) -> float:
    """1 for the human grade, else 0.

    >>> grade_reward("L4", "L4"), grade_reward("L3", "L4")
    (1.0, 0.0)
    """
    return float(given == human)


def ordinal_reward(given: Grade, human: Grade) -> float:
    """1 − |difference of grade numbers| / 3: near misses are worth something.

    >>> ordinal_reward("L1", "L4"), round(ordinal_reward("L3", "L4"), 3)
    (0.0, 0.667)
    """
    return 1.0 - abs(GRADES.index(given) - GRADES.index(human)) / (len(GRADES) - 1)


def adherence_reward(given: Answer, rulebook: Rulebook) -> float:
    """1 when grade and cited rules are those that the answer's own matches imply; an answer without matches has nothing to adhere to and earns 0."""
    return float(answer.adheres(given, rulebook))


def reward_parts(completion: str, human: Grade, rulebook: Rulebook, layout: Layout = "answer-last") -> dict[str, float]:
    """The parts of one completion's reward, keyed as in `WEIGHTS`."""
    try:
        given = answer.parse(completion, rulebook, layout)
    except AnswerError:
        return dict.fromkeys(WEIGHTS, 0.0)
    return {
        "grade": grade_reward(given.grade, human),
        "ordinal": ordinal_reward(given.grade, human),
        "format": 1.0,
        "adherence": adherence_reward(given, rulebook),
    }


def total(parts: Mapping[str, float], weights: Mapping[str, float] = WEIGHTS) -> float:
    """Σ weight · part. Raises `BadInput` when that is not a finite number.

    >>> total({"grade": 1.0, "format": 1.0}, {"grade": 1.0, "format": 0.1})
    1.1
    """
    reward = sum(weights.get(name, 0.0) * part for name, part in parts.items())
    if not math.isfinite(reward):
        raise BadInput(f"the reward of parts {dict(parts)} is {reward}", hint="check --weight")
    return reward


def parse_weights(texts: tuple[str, ...]) -> dict[str, float]:
    """Weights from `NAME=NUMBER` texts over the defaults. Raises `UsageError` for an unknown name or a value that is not a finite number.

    >>> parse_weights(("grade=2",))["grade"]
    2.0
    """
    weights = dict(WEIGHTS)
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if name not in weights or not math.isfinite(value):
            raise UsageError(f"--weight {text}: not NAME=NUMBER with a name of {', '.join(weights)}")
        weights[name] = value
    return weights
