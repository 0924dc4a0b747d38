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
    """replies: the cache, None without one. stand_in: see `StandIn`; None to open models and ask them. asked: what is asked, models or their stand-ins.

    unfinished: where replies of servers are kept without a cache, until the run has ended: a kill -9 loses none that was paid.
    """

    replies: ReplyStore | None = None
    meter: Meter = field(default_factory=Meter)
    unfinished: ReplyStore | None = None
    stand_in: StandIn | None = None
    asked: list[TextModel] = field(default_factory=list)

    def open(self, uri: str, chat: bool, max_new_tokens: int, load: Callable[[], TextModel]) -> TextModel:
        """The model that `load` opens, on this run's meter and behind its cache; or what stands in for it, behind the cache."""
        paid = self.stand_in is None and uri.startswith(("http:", "https:"))
        model = Metered(load(), self.meter) if self.stand_in is None else self.stand_in(uri, chat, max_new_tokens)
        self.asked.append(model)
        store = self.replies or (self.unfinished if paid else None)
        return model if store is None else Remembered(model, store)

    def begin(self, *, resume: bool) -> None:
        """What an interrupted run left is of use to the run that resumes it, and goes before any other."""
        if not resume:
            self.end()

    def end(self) -> None:
        """The rows are written, and their replies no longer needed."""
        if self.unfinished is not None:
            self.unfinished.remove()

    def counts(self) -> dict[str, Any]:
        """For the manifest, under `usage`: see `Meter.counts`; also `cached`, with a cache or where an interrupted run had left replies.

        Empty where no model was put to use.
        """
        if not self.asked:
            return {}
        found = self.replies.found if self.replies else self.unfinished.found if self.unfinished else 0
        return {"usage": self.meter.counts() | ({"cached": found} if self.replies or found else {})}

    def line(self) -> str:
        """The same for the summary; empty where no model was put to use."""
        if not self.asked:
            return ""
        told, usage = self.counts()["usage"], self.meter.usage
        tokens = f"{usage.requests} requests, {usage.prompt_tokens} + {usage.completion_tokens} tokens"
        more = (("untold", "{} without a token count"), ("cached", "{} replies from the cache"), ("cost", "cost {}"), ("unasked", "{} not asked"))
        return ", ".join([tokens, *(text.format(told[name]) for name, text in more if name in told)])
