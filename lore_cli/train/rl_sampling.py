"""Dynamic sampling for GRPO: which prompts are drawn, which groups teach, and what fills the batch. No torch here.

A group whose completions all earn the same has no advantage and so no gradient. DAPO (arXiv 2503.14476, § 3.2) draws on until the batch is full of groups
that differ; TRL's GRPOTrainer does not. TRL's own measure of such groups (`frac_reward_zero_std`) asks for a deviation below 1e-8, which equal rewards
like 1.2 miss by rounding; ours asks for more than a tolerance, and for a difference that the loss will see [ours].
"""

from __future__ import annotations

import math
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from lore_cli.errors import BadInput

_LITTLE = 1e-4  # added to a deviation before it divides, as TRL does
Line = tuple[Hashable, float]
"""What a line is about, the same for lines that answer the same question, and its reward in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: its token ids (the end token included), the parts of its reward and their sum. cut: it was not ended. logprobs: of the engine that drew it.

    lines: what each line of its text is about and earns, in order, for credit by line; empty without it.
    """

    ids: list[int]
    parts: Mapping[str, float]
    reward: float
    cut: bool
    logprobs: list[float | None] | None = None
    lines: Sequence[Line] = ()


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


def token_advantages(group: Group, text_of: Callable[[int], str]) -> list[list[float]]:
    """For each completion and each of its tokens the advantage of the line it stands in; 0 in a completion without rewarded lines.

    A line's is its reward less the mean of the group's lines on the same question, over their deviation: GRPO with process supervision (DeepSeekMath,
    arXiv 2402.03300, § 4.1.3), but that a line has no part in what later lines earn, because each is checked alone [ours].

    >>> texts = ["red", "\\n", "L4", "blue"]
    >>> right = Completion([0, 1, 2], {}, 1, False, lines=[("colour", 1.0), ("grade", 1.0)])
    >>> wrong = Completion([3, 1, 2], {}, 0, False, lines=[("colour", 0.0), ("grade", 1.0)])
    >>> [[round(value, 1) for value in values] for values in token_advantages(Group(0, (right, wrong)), texts.__getitem__)]
    [[1.0, 1.0, 0.0], [-1.0, -1.0, 0.0]]
    """
    earned: defaultdict[Hashable, list[float]] = defaultdict(list)
    for completion in group.completions:
        for question, reward in completion.lines:
            earned[question].append(reward)
    level = {question: (statistics.fmean(rewards), statistics.pstdev(rewards) + _LITTLE) for question, rewards in earned.items()}
    advantages = []
    for completion in group.completions:
        of_lines = [(reward - level[question][0]) / level[question][1] for question, reward in completion.lines]
        places = lines_of([text_of(token) for token in completion.ids])
        advantages.append([of_lines[place] if place < len(of_lines) else 0.0 for place in places])
    return advantages


def lines_of(pieces: Sequence[str]) -> list[int]:
    """The line that each token stands in, by the tokens' texts; a token that ends a line belongs to it. Empty lines before the text do not count.

    >>> lines_of(["colour", " = red", "\\nrules", ":", " none\\n", "grade", ""])
    [0, 0, 1, 1, 1, 2, 2]
    """
    places, line, begun = [], 0, False
    for piece in pieces:
        text = piece if begun else piece.lstrip()
        begun = begun or bool(text)
        places.append(line + text.rstrip("\n").count("\n"))
        line += text.count("\n")
    return places


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
