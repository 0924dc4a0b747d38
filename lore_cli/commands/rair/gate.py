"""lore-rair gate: an exit code from a report."""

from __future__ import annotations

import click

from lore_cli import errors
from lore_cli.commands.common import Run, run_options
from lore_cli.commands.verbs import SETTINGS


@click.command(context_settings=SETTINGS)
@run_options("rair gate")
@click.argument("report", metavar="REPORT")
@click.option("--require", "requirements", metavar="REQUIREMENT", multiple=True, required=True, help="[SLICE:]METRIC[.lo|.hi]>=NUMBER; SLICE is a subset, field=value or *; repeatable.")
def cli(run: Run, report: str, requirements: tuple[str, ...]) -> int:
    """Exit 1, naming the slices, when a report does not meet its requirements. What is not measured does not meet them.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge rulebook: --quiet | lore-rair score - --gold examples/pairs.jsonl --json /tmp/report.json --force
      $ lore-rair gate /tmp/report.json --require 'coverage>=0.99' --require 'acc2.hi>=0.1'
    """
    from lore_cli.rair.gate import read_requirement, unmet
    from lore_cli.rair.report import read_report

    document = read_report(report)
    wanted = [read_requirement(text) for text in requirements]
    failing = unmet(document, wanted)
    for line in failing:
        click.echo(f"{run.name}: not met: {line}", err=True)
    if not failing:
        run.log.say(f"{len(wanted)} requirements met")
    return errors.EXIT_GATE if failing else errors.EXIT_DONE
