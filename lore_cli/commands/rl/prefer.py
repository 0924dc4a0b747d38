"""lore-rl prefer: pairs of a better and a worse answer, from scored rollouts."""

from __future__ import annotations

import click

from lore_cli.commands.common import Inputs, Output, Run, input_options, output_options, run_options
from lore_cli.commands.sections import Command
from lore_cli.manifest import write_manifest
from lore_cli.records import Trace


@click.command(cls=Command)
@input_options
@output_options
@run_options("rl prefer")
@click.option("--gap", type=click.FloatRange(min=0), default=0.1, help="Least difference of the two rewards.")
@click.option("--per-group", type=click.IntRange(min=1), default=2, help="Most pairs of one group.")
def cli(inputs: Inputs, output: Output, run: Run, gap: float, per_group: int) -> int:
    """Make preference pairs of the rollouts of one prompt: right against wrong, honest against not, whatever the reward tells apart.

    Reads rows of `lore-rl reward`, a group's one after the other, as `lore-rl rollout` writes them. A row out has `prompt`, `chosen`, `rejected` and
    `preferred_because`. The best text is paired with the worst, the next best with the next worst; no text is in two pairs; answers that were cut off
    are left out. Memory: one group.

    \b
    Example:
      $ lore-rl prefer examples/rollouts.jsonl
    """
    from lore_cli.train.preferences import Preferences

    preferences = Preferences(gap, per_group)
    with output.open() as writer:
        for row in run.log.track(preferences.of(inputs.read(Trace, needs=("prompt", "completion", "reward"))), "pairs"):
            writer.write(row)
    counts = preferences.counts | {"bad_rows": inputs.rejects.count}
    write_manifest(output.path, command=run.name, inputs=[s for s in inputs.sources if s != "-"], settings=run.settings, counts=counts)
    run.log.say("{pairs} pairs of {groups} groups, {groups_without_a_pair} groups without a pair, {cut_draws} cut draws left out, {bad_rows} bad rows skipped".format(**counts), **counts)
    return inputs.exit_code
