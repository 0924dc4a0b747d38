"""Dynamic sampling for GRPO: which prompts are drawn, which groups teach, and what fills the batch. No torch here.

A group whose completions all earn the same has no advantage and so no gradient. DAPO (arXiv 2503.14476, § 3.2) draws on until the batch is full of groups
that differ; TRL's GRPOTrainer does not. TRL's own measure of such groups (`frac_reward_zero_std`) asks for a deviation below 1e-8, which equal rewards
like 1.2 miss by rounding; ours asks for more than a tolerance, and for a difference that the loss will see [ours].
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lore_cli.errors import BadInput


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: its token ids (the end token included), the parts of its reward and their sum. cut: it was not ended. logprobs: of the engine that drew it."""

    ids: list[int]
    parts: Mapping[str, float]
    reward: float
    cut: bool
    logprobs: list[float | None] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The completions drawn for one prompt, by its row number. replayed: one of them is a verified trace, put in place of a failure."""

    row: int
    completions: tuple[Completion, ...]
    replayed: bool = False

    def teaches(self, tolerance: float, mask_cut: bool) -> bool:
        """Whether the rewards' standard deviation is above the tolerance, and a completion that the loss sees differs from the mean (mask_cut: none that was cut).

        >>> right, wrong = Completion([1], {}, 1.2, False), Completion([1], {}, 0.2, True)
        >>> Group(0, (right, wrong)).teaches(1e-4, mask_cut=False), Group(0, (right, right)).teaches(1e-4, mask_cut=False)
        (True, False)
        >>> Group(0, (wrong, wrong, right)).teaches(1e-4, mask_cut=True), Group(0, (wrong, wrong)).teaches(1e-4, mask_cut=True)
        (True, False)
        """
        rewards = [completion.reward for completion in self.completions]
        mean = statistics.fmean(rewards)
        seen = [completion.reward for completion in self.completions if not (mask_cut and completion.cut)]
        return statistics.pstdev(rewards) > tolerance and any(abs(reward - mean) > tolerance for reward in seen)


class Cursor:
    """An endless order over row numbers: every round has each row once, shuffled anew, or in a fixed `order`. `place` is where it stands, for a checkpoint.

    >>> cursor = Cursor(3, seed=0)
    >>> first = cursor.take(5)
    >>> sorted(first[:3]), cursor.place
    ([0, 1, 2], (1, 2))
    >>> Cursor(3, seed=0, place=(1, 2)).take(4) == cursor.take(4)
    True
    >>> Cursor(3, seed=0, order=[2, 0, 1]).take(4)
    [2, 0, 1, 2]
    """

    def __init__(self, count: int, seed: int, order: Sequence[int] | None = None, place: tuple[int, int] = (0, 0)) -> None:
        self._count, self._seed, self._order, self.place = count, seed, order, place

    def take(self, number: int) -> list[int]:
        """The next row numbers."""
        taken: list[int] = []
        while len(taken) < number:
            round_, start = self.place
            part = self._round(round_)[start : start + number - len(taken)]
            taken += part
            self.place = (round_, start + len(part)) if start + len(part) < self._count else (round_ + 1, 0)
        return taken

    def _round(self, number: int) -> list[int]:
        if self._order is not None:
            return list(self._order)
        rows = list(range(self._count))
        random.Random(f"{self._seed}:{number}").shuffle(rows)
        return rows


@dataclass(frozen=True, slots=True)
class Batch:
    """What one update learns from (`kept`), and all that was drawn for it in so many rounds. teaching: how many of these teach."""

    kept: list[Group]
    drawn: list[Group]
    rounds: int
    teaching: int

    @property
    def measures(self) -> dict[str, float]:
        """For the log: groups drawn, rounds, the share of groups without spread, the share of the batch that teaches, and groups with a replayed trace."""
        drawn = len(self.drawn)
        return {
            "drawn": drawn,
            "rounds": self.rounds,
            "zero_spread_share": 1 - self.teaching / drawn,
            "useful_share": min(self.teaching, len(self.kept)) / len(self.kept),
            "replayed": sum(group.replayed for group in self.drawn),
        }


def fill(
    draw: Callable[[int], list[Group]], teaches: Callable[[Group], bool], wanted: int, max_refills: int, least: Callable[[int], int] = lambda number: number
) -> Batch:
    """Draw groups until `wanted` teach, in at most 1 + max_refills rounds; what is missing then is filled with groups that do not.

    A refill draws as many as the share that taught so far makes necessary, at most `wanted`; what it draws too many is not used, since in the next step
    it would be another policy's. With max_refills 0 all that is drawn is kept: plain GRPO. least: of a number over all processes, so that all draw
    alike.

    >>> batch = fill(lambda number: [Group(row, ()) for row in range(number)], lambda group: group.row % 2 == 0, wanted=4, max_refills=2)
    >>> [group.row for group in batch.kept], batch.measures["zero_spread_share"], batch.rounds
    ([0, 2, 0, 2], 0.5, 2)
    """
    teaching: list[Group] = []
    others: list[Group] = []
    rounds, count = 0, wanted
    while count and rounds <= max_refills:
        for group in draw(count):
            (teaching if teaches(group) else others).append(group)
        rounds += 1
        sure, drawn = least(len(teaching)), len(teaching) + len(others)
        count = min(wanted, math.ceil((wanted - sure) * drawn / max(sure, 1))) if sure < wanted else 0
    groups = teaching + others
    return Batch(groups[:wanted], groups, rounds, len(teaching))


def guided(group: Group, trace: Completion | None) -> Group:
    """The group with its last completion replaced by the verified trace when none of its own earns the grade part and the trace does; else as it is.

    The trace is then treated as if the policy had drawn it: TRL takes the policy's own log-probability as the old one, so its ratio starts at 1 and its
    gradient is that of a step of SFT on it, weighted by its advantage. That is a biased policy gradient (the draw had another distribution), without LUFFY's
    shaping by p/(p+γ) (arXiv 2504.14945, eq. 8); the clip bounds it only from the second iteration on.
    """
    if trace is None or not trace.parts.get("grade") or any(completion.parts.get("grade") for completion in group.completions):
        return group
    return Group(group.row, (*group.completions[:-1], trace), replayed=True)


def require_rewards(rewards: Sequence[float | None], expected: int) -> list[float]:
    """The rewards. Raises `BadInput` unless there is one finite number for each completion: a scorer that fails is never a reward of nought.

    >>> require_rewards([0.5, 1.0], expected=2)
    [0.5, 1.0]
    """
    if len(rewards) != expected:
        raise BadInput(f"{len(rewards)} rewards for {expected} completions (one for each is needed)", hint="a fault of the reward function; nothing was learnt")
    for number, reward in enumerate(rewards):
        if not isinstance(reward, int | float) or not math.isfinite(reward):
            raise BadInput(f"the reward of completion {number} is {reward} (a finite number is needed)", hint="check --weight; nothing was learnt from it")
    return [float(reward) for reward in rewards if reward is not None]
