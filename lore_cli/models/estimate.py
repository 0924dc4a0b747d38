"""A dry run: what a model would be asked, counted instead of asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lore_cli.models import Heard, Look, Usage
from lore_cli.models.metered import PICTURE_TOKENS, Meter

_BYTES_A_TOKEN = 4  # of English and JSON in today's tokenizers, a rule of thumb; Chinese text has fewer


class NotAsked(Exception):
    """A dry run asks nothing."""


@dataclass
class Asked:
    """What would be asked: `once` for every prompt, as if the first reply were accepted; `worst` as often and with replies as long as the options allow."""

    once: Usage = field(default_factory=Usage)
    worst: Usage = field(default_factory=Usage)


@dataclass
class Estimate:
    """The `TextModel` of a dry run. identity: of the model it stands for, so that its cached replies are found. counts: by stage, see `begin`.

    count: tokens of a text, by the model's own tokenizer; None takes four bytes a token. reply_tokens: how long a reply is expected to be, and by what.
    """

    model: dict[str, str]
    reply_tokens: float
    reply_tokens_by: str
    count: Callable[[str], int] | None = None
    counts: dict[str, Asked] = field(default_factory=dict)
    _stage: str = ""
    _seen: set[str] = field(default_factory=set)

    def begin(self, stage: str) -> None:
        """What comes next is asked by this stage for a new batch of rows."""
        self._stage, self._seen = stage, set()
        self.counts.setdefault(stage, Asked())

    def generate(
        self, prompts: Sequence[str | Look], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0, heard: Heard | None = None
    ) -> list[list[str | Exception]]:
        """See `TextModel`. The first time a prompt comes counts as expected, every time as possible."""
        asked = self.counts.setdefault(self._stage, Asked())
        draws = samples if temperature > 0 else 1
        for prompt in prompts:
            text, picture = (prompt.text, PICTURE_TOKENS) if isinstance(prompt, Look) else (prompt, 0)
            tokens = picture + (self.count(text) if self.count else -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_A_TOKEN))
            if text not in self._seen:
                self._seen.add(text)
                for _ in range(draws):
                    asked.once.add(tokens, min(round(self.reply_tokens), max_new_tokens))
            for _ in range(draws):
                asked.worst.add(tokens, max_new_tokens)
        return [[NotAsked("a dry run")] * samples for _ in prompts]

    def label_probabilities(
        self, prompts: Sequence[str], labels: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[list[float] | Exception]:
        """See `TextModel`. Nobody has replied, and so nobody is asked for probabilities."""
        return [NotAsked("a dry run")] * len(prompts)

    def identity(self) -> dict[str, str]:
        """Of the model it stands for."""
        return self.model

    def document(self, meter: Meter) -> dict[str, Any]:
        """{model, stages: {name: …}, total: …, and what the numbers rest on}; each of stages and total is {expected, worst}: requests, prompt_tokens, completion_tokens, and cost where there are prices."""
        total = Asked()
        for asked in self.counts.values():
            for sums, part in ((total.once, asked.once), (total.worst, asked.worst)):
                sums.requests += part.requests
                sums.prompt_tokens += part.prompt_tokens
                sums.completion_tokens += part.completion_tokens
        stages = {name: _told(asked, meter) for name, asked in self.counts.items()}
        by = "the model's tokenizer" if self.count else f"{_BYTES_A_TOKEN} bytes a token (an estimate)"
        return {"model": self.model["model"], "stages": stages, "total": _told(total, meter), "prompt_tokens_by": by, "completion_tokens_by": self.reply_tokens_by}


def expected_reply(mean_bytes: float | None, max_new_tokens: int) -> tuple[float, str]:
    """(tokens, where that comes from): the mean of the model's replies in the cache, else half of the longest reply [ours]."""
    if mean_bytes is None:
        return max_new_tokens / 2, "half of --max-new-tokens"
    return mean_bytes / _BYTES_A_TOKEN, "the model's replies in the cache"


def _told(asked: Asked, meter: Meter) -> dict[str, Any]:
    """For JSON."""
    return {name: Meter(meter.price_in, meter.price_out, usage=usage).counts() for name, usage in (("expected", asked.once), ("worst", asked.worst))}
