"""The stages without a teacher: what each would ask, when the expert's reasoning stands where a teacher's is not known yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lore_cli.records import Trace
from lore_cli.stream import chunks
from lore_cli.synth import Stage


def rehearse(traces: Iterable[Trace], stages: Sequence[Stage], experts: Sequence[Stage], batch: int, begin: Callable[[str], None]) -> int:
    """Put every row through every stage, `batch` rows at a time; the number of rows. `begin` is told which stage comes next.

    A row that a stage drops goes on as the expert for that stage leaves it, so that later stages have something to ask about [ours].
    """
    rows = 0
    for window in chunks(traces, batch):
        rows += len(window)
        current: list[Trace] = window
        for stage, expert in zip(stages, experts, strict=True):
            begin(stage.name)
            both = zip(stage(current), expert(current), strict=True)
            current = [row for own, other in both if isinstance(row := own if isinstance(own, Trace) else other, Trace)]
    return rows
