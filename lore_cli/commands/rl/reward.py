"""lore-rl reward: completions scored by what can be verified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lore_cli.commands.common import Inputs, Output, Run, input_options, map_to_output, output_options, resume_options, rulebook_option, run_options
from lore_cli.commands.verbs import SETTINGS
from lore_cli.ledger import Outcome
from lore_cli.records import Trace, row_of

if TYPE_CHECKING:
    from lore_cli.rulebook import Rulebook


@click.command(context_settings=SETTINGS)
@input_options
@output_options
@resume_options
@rulebook_option
@run_options("rl reward")
@click.option("--layout", type=click.Choice(["answer-last", "answer-first", "label-only", "free"]), default="answer-last", help="Where the grade stands in the completion.")
@click.option("--weight", multiple=True, metavar="PART=NUMBER", help="Weight of a reward part (grade, ordinal, format, adherence); repeatable.")
def cli(inputs: Inputs, output: Output, rulebook: Rulebook, run: Run, layout: Any, weight: tuple[str, ...]) -> int:
    """Score completions: Traces in, the same rows with `reward` and `rewards{part}` out. `grade` is the human's, `completion` the text scored.

    \b
    Example:
      $ lore-rl reward examples/traces.jsonl
    """
    from lore_cli.train import rewards

    weights = rewards.parse_weights(weight)

    def work(traces: Iterator[Trace]) -> Iterator[Outcome]:
        for trace in traces:
            assert trace.completion is not None and trace.grade is not None  # refused as they were read
            parts = rewards.reward_parts(trace.completion, trace.grade, rulebook, layout)
            yield Outcome("done", {**row_of(trace), "reward": rewards.total(parts, weights), "rewards": parts})

    identity = {"rulebook": rulebook.hash, "weights": weights, "layout": layout}
    return map_to_output(Trace, inputs, output, run, identity, work, "completions scored", needs=("grade", "completion"))
