"""A language model that says what a test wants it to say, and the rows it is asked about."""

from __future__ import annotations

import dataclasses
from typing import Any

from lore_cli.records import Trace, parse
from lore_cli.synth.teacher import Teacher


@dataclasses.dataclass
class Script:
    """A `TextModel` of prepared replies: for each round one entry per row asked, which is a reply or a list of drawn ones. `asked` keeps the prompts."""

    rounds: list[list[Any]]
    asked: list[list[str]] = dataclasses.field(default_factory=list)
    samples: list[int] = dataclasses.field(default_factory=list)

    def generate(self, prompts, *, samples=1, temperature=0.0, max_new_tokens=256, seed=0):
        self.asked.append(list(prompts))
        self.samples.append(samples)
        return [reply if isinstance(reply, list) else [reply] for reply in self.rounds[len(self.asked) - 1]]

    def label_probabilities(self, prompts, labels, *, begun=None):
        raise NotImplementedError

    def identity(self):
        return {"model": "script"}


def teacher(*rounds: list[Any], attempts: int = 3, **settings: Any) -> tuple[Teacher, Script]:
    script = Script(list(rounds))
    return Teacher(script, "script", attempts=attempts, **settings), script  # type: ignore[arg-type]


def trace(id: str = "1", grade: str | None = "L4", query: str = "navy sofa", **fields: Any) -> Trace:
    """A pair of a navy sofa that was asked for; `item` overrides fields of the item."""
    item = {"id": f"i{id}", "title": "navy sofa", **fields.pop("item", {})}
    return parse(Trace, {"id": id, "query": query, "item": item, **({"grade": grade} if grade else {}), **fields})


NEEDS = [{"attribute": "category", "value": "sofa"}, {"attribute": "colour", "value": "navy"}]
GOOD = "category = sofa ; found sofa [title] ; exact\ncolour = navy ; found navy [title] ; exact\nrules: none\ngrade: L4"
LOWER = "category = sofa ; found sofa [title] ; exact\ncolour = navy ; not found ; unknown\nrules: R10\ngrade: L3"
