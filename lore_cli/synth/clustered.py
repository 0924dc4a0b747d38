"""The stages of the synthesis, opened in this process, or with `--ray ADDRESS` in every worker of a Ray cluster; the outcomes are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lore_cli.ledger import Outcome
from lore_cli.records import Trace, parse, row_of
from lore_cli.scale import Cluster, Row, Work
from lore_cli.synth import Stage
from lore_cli.synth.merge import synthesise

OpenSteps = Callable[[], tuple[list[Stage], int]]  # the stages, and how many rows they take at a time
Synthesis = Callable[[Iterator[Trace]], Iterator[Outcome]]


def opened(cluster: Cluster | None, open_steps: OpenSteps) -> tuple[dict[str, Any], Synthesis]:
    """What determines the stages' answers, and what maps traces to outcomes, in order.

    On a cluster one worker opens the stages to tell their identity, and all rows are read before the first outcome comes.
    """
    if cluster is not None:
        own, batch = cluster.ask(partial(_identity, open_steps))
        return own, lambda traces: (Outcome(**found) for found in cluster.map(map(row_of, traces), partial(_worker, open_steps), batch))
    steps, batch = open_steps()
    return _identity_of(steps), lambda traces: synthesise(traces, steps, batch)


def _identity_of(steps: list[Stage]) -> dict[str, Any]:
    return {key: value for step in steps for key, value in step.identity().items()}


def _identity(open_steps: OpenSteps) -> tuple[dict[str, Any], int]:
    steps, batch = open_steps()
    return _identity_of(steps), batch


def _worker(open_steps: OpenSteps) -> Work:
    steps, batch = open_steps()

    def work(rows: list[Row]) -> list[Row]:
        return [{"state": outcome.state, "row": outcome.row} for outcome in synthesise((parse(Trace, row) for row in rows), steps, batch)]

    return work
