"""What a run's models were asked and what that cost; and the `TextModel` that stops asking before a limit would be passed.

Before prompts are put to a model, the worst they can cost is held back: every byte of a prompt is at most one token [ours], a picture at most
`PICTURE_TOKENS` [ours], a reply at most `max_new_tokens`. So many prompts as fit what is left of the limit go together; what they did cost then
frees the rest. Requests whose tokens the server does not tell stay charged at that worst case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lore_cli.models import Cut, Heard, Look, TextModel, Unasked, Usage

PER = 1_000_000  # tokens that a price is for
PICTURE_TOKENS = 2_048
LIMIT_REACHED = "not asked: --max-cost reached"

Reply = TypeVar("Reply")


@dataclass
class Meter:
    """price_in, price_out: money for a million tokens. max_cost: the most a run may cost, None for no limit. untold: requests whose tokens nobody told.

    unasked: prompts that were not asked because of the limit. held: what requests cost at worst whose tokens nobody told.
    """

    price_in: float = 0.0
    price_out: float = 0.0
    max_cost: float | None = None
    usage: Usage = field(default_factory=Usage)
    untold: int = 0
    unasked: int = 0
    held: float = 0.0

    def price(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / PER

    @property
    def cost(self) -> float:
        """Of everything asked so far."""
        return self.price(self.usage.prompt_tokens, self.usage.completion_tokens) + self.held

    def affordable(self, worst: Sequence[float]) -> int:
        """How many of the first prompts may be asked together, given what each costs at worst."""
        if self.max_cost is None:
            return len(worst)
        left = self.max_cost - self.cost
        for count, cost in enumerate(worst):
            left -= cost
            if left < 0:
                return count
        return len(worst)

    def counts(self) -> dict[str, Any]:
        """For the manifest: requests, prompt_tokens, completion_tokens; cost where there are prices; untold and unasked where there are any."""
        found: dict[str, Any] = dataclasses.asdict(self.usage)
        if self.price_in or self.price_out:
            found["cost"] = round(self.cost, 6)
        return found | {name: value for name, value in (("untold", self.untold), ("unasked", self.unasked)) if value}


class Metered:
    """See the module. Several models of a run may share a meter."""

    def __init__(self, model: TextModel, meter: Meter) -> None:
        self._model, self._meter = model, meter

    def generate(
        self, prompts: Sequence[str | Look], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0, heard: Heard | None = None
    ) -> list[list[str | Exception]]:
        """See `TextModel`. `Unasked` stands for the replies to a prompt that might have passed the limit."""
        draws = samples if temperature > 0 else 1

        def ask(start: int, end: int) -> list[list[str | Exception]]:
            told = None if heard is None else lambda row, draw, reply: heard(start + row, draw, reply)
            return self._model.generate(prompts[start:end], samples=samples, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed, heard=told)

        worst = [draws * self._meter.price(most_tokens(prompt), max_new_tokens) for prompt in prompts]
        replies = self._within(worst, ask, lambda found: sum(isinstance(reply, str | Cut) for reply in found[:draws]))
        return replies + [[Unasked(LIMIT_REACHED)] * samples for _ in range(len(prompts) - len(replies))]

    def label_probabilities(
        self, prompts: Sequence[str], labels: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[list[float] | Exception]:
        """See `TextModel`."""
        starts = list(begun) if begun is not None else [""] * len(prompts)
        longest = max((len((start + label).encode()) for start in starts for label in labels), default=0)

        def ask(start: int, end: int) -> list[list[float] | Exception]:
            return self._model.label_probabilities(prompts[start:end], labels, begun=starts[start:end])

        worst = [self._meter.price(most_tokens(prompt), longest) for prompt in prompts]
        rows = self._within(worst, ask, lambda found: not isinstance(found, Exception))
        return rows + [Unasked(LIMIT_REACHED)] * (len(prompts) - len(rows))

    def identity(self) -> dict[str, str]:
        """Of the model that is asked."""
        return self._model.identity()

    def _within(self, worst: list[float], ask: Callable[[int, int], list[Reply]], answered: Callable[[Reply], int]) -> list[Reply]:
        """Replies to as many of the prompts as the limit allows, in order."""
        replies: list[Reply] = []
        while len(replies) < len(worst):
            start = len(replies)
            end = start + self._meter.affordable(worst[start:])
            if start == end:
                self._meter.unasked += len(worst) - start
                break
            before = dataclasses.replace(told) if (told := getattr(self._model, "usage", None)) else None
            found = ask(start, end)
            self._charge(before, told, sum(map(answered, found)), sum(worst[start:end]))
            replies += found
        return replies

    def _charge(self, before: Usage | None, after: Usage | None, answered: int, worst: float) -> None:
        """Add what the model's own count grew by; where it tells no tokens, the requests and the worst they can have cost."""
        usage, told = self._meter.usage, Usage()
        if before is not None and after is not None:
            told = Usage(after.requests - before.requests, after.prompt_tokens - before.prompt_tokens, after.completion_tokens - before.completion_tokens)
            answered = told.requests
        usage.requests += answered
        usage.prompt_tokens += told.prompt_tokens
        usage.completion_tokens += told.completion_tokens
        if answered and not told.prompt_tokens:
            self._meter.untold += answered
            self._meter.held += worst


def most_tokens(prompt: str | Look) -> int:
    """The most tokens that a prompt can be."""
    return len(prompt.text.encode()) + PICTURE_TOKENS if isinstance(prompt, Look) else len(prompt.encode("utf-8", "surrogatepass"))
