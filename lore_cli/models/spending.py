"""How the models of one run are asked: through which reply cache, on which meter, or not at all (a dry run, a batch file)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lore_cli.models import TextModel
from lore_cli.models.metered import Meter, Metered
from lore_cli.models.remembered import Remembered
from lore_cli.models.replies import ReplyStore

StandIn = Callable[[str, bool, int], TextModel]
"""What is asked instead of the model of (URI, chat, max_new_tokens), which stays unopened."""


@dataclass
class Spending:
    """replies: the cache, None without one. stand_in: see `StandIn`; None to open models and ask them. asked: what is asked, models or their stand-ins."""

    replies: ReplyStore | None = None
    meter: Meter = field(default_factory=Meter)
    stand_in: StandIn | None = None
    asked: list[TextModel] = field(default_factory=list)

    def open(self, uri: str, chat: bool, max_new_tokens: int, load: Callable[[], TextModel]) -> TextModel:
        """The model that `load` opens, on this run's meter and behind its cache; or what stands in for it, behind the cache."""
        model = Metered(load(), self.meter) if self.stand_in is None else self.stand_in(uri, chat, max_new_tokens)
        self.asked.append(model)
        return model if self.replies is None else Remembered(model, self.replies)

    def counts(self) -> dict[str, Any]:
        """For the manifest, under `usage`: see `Meter.counts`; with a cache also `cached`. Empty where no model was put to use."""
        if not self.asked:
            return {}
        return {"usage": self.meter.counts() | ({} if self.replies is None else {"cached": self.replies.found})}

    def line(self) -> str:
        """The same for the summary; empty where no model was put to use."""
        if not self.asked:
            return ""
        told, usage = self.counts()["usage"], self.meter.usage
        tokens = f"{usage.requests} requests, {usage.prompt_tokens} + {usage.completion_tokens} tokens"
        more = (("untold", "{} without a token count"), ("cached", "{} replies from the cache"), ("cost", "cost {}"), ("unasked", "{} not asked"))
        return ", ".join([tokens, *(text.format(told[name]) for name, text in more if name in told)])
