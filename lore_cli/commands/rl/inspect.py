"""lore-rl inspect: what a model wrote, and what each reward part made of it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from lore_cli.commands.common import Inputs, Run, input_options, run_options
from lore_cli.commands.verbs import SETTINGS
from lore_cli.errors import EXIT_DONE, EXIT_PARTIAL, BadInput
from lore_cli.records import Trace, row_of


@click.command(context_settings=SETTINGS)
@input_options
@run_options("rl inspect")
@click.option("--worst", type=click.IntRange(min=1), default=10, help="How many of the lowest rewards to show.")
def cli(inputs: Inputs, run: Run, worst: int) -> int:
    """A table of the completions with the lowest rewards, from rows that `lore-rl reward` wrote. Keeps only as many rows as it shows.

    \b
    Example:
      $ lore-rl reward examples/traces.jsonl --quiet | lore-rl inspect --worst 3
    """
    import heapq

    from rich.console import Console
    from rich.table import Table

    def scored() -> Iterator[tuple[float, int, Trace]]:
        for number, trace in enumerate(inputs.read(Trace, needs=("reward",))):
            value = row_of(trace)["reward"]
            if not isinstance(value, int | float):
                raise BadInput(f"found {value!r} (expected a number)", where=f"row '{trace.id}'", field="reward", hint="pipe the rows through lore-rl reward first")
            yield float(value), number, trace

    table = Table("reward", "parts", "query", "item", "human", "completion", show_lines=True)
    for value, _, trace in heapq.nsmallest(worst, scored()):
        parts = " ".join(f"{name}={part:g}" for name, part in row_of(trace).get("rewards", {}).items())
        table.add_row(f"{value:.3g}", parts, trace.query, trace.item.title, trace.grade or "-", trace.completion or "-")
    Console().print(table)
    return EXIT_PARTIAL if inputs.rejects.count else EXIT_DONE
