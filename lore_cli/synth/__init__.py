"""Stage 1 of LORE, progressive chain-of-thought synthesis: knowledge injection, image understanding through a caption, rule awareness, merged into one trace.

Each stage is a callable from a batch of traces to the same number of traces in the same order, where one that cannot go on is a
`Dropped`. A stage reads what earlier ones left in the row, so stages run in one process or piped, with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from lore_cli.records import Trace

STAGES = ("knowledge", "visual", "rules")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that goes no further. failed: something was missing (an image, a reply), worth asking again; rejected: its reasoning was no good."""

    trace: Trace
    state: Literal["failed", "rejected"]
    reason: str


class Stage(Protocol):
    """One step of the synthesis; `identity` is what determines its answers."""

    name: str

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]: ...

    def identity(self) -> dict[str, str]: ...
