"""lore-rair gate: an exit code from a report."""

from __future__ import annotations

import functools
from typing import Any

import click

from lore_cli import errors
from lore_cli.commands.common import Run, run_options
from lore_cli.commands.gold import Gold, filled, gold_options
from lore_cli.commands.sections import Command


@click.command(cls=Command)
@run_options("rair gate")
@click.argument("given", metavar="REPORT|VERDICTS")
@functools.partial(gold_options, required=False)
@click.option("--require", "requirements", metavar="REQUIREMENT", multiple=True, help="[SLICE:]METRIC[.lo|.hi]>=NUMBER; SLICE is a subset, field=value or *; repeatable.")
@click.option("--no-worse-than", "base", metavar="VERDICTS", help="Verdicts on the same pairs: no slice may be worse than in these. Needs --gold.")
@click.option("--metric", "metrics", multiple=True, default=("acc2_all", "macro_f1_all"), help="What must be no worse; repeatable. Those in _all count a pair without a grade as not right.")
@click.option("--margin", type=click.FloatRange(min=0), help="No more than so much worse, shown by the lower bound of the difference; without it: not worse beyond chance.")
def cli(run: Run, given: str, gold: Gold, requirements: tuple[str, ...], base: str | None, metrics: tuple[str, ...], margin: float | None) -> int:
    """Exit 1, naming the slices, when requirements are not met. What is not measured does not meet them.

    Takes a report of lore-rair score, or with --gold the verdicts themselves. --no-worse-than compares them pair by pair with a base, slice by slice;
    p is corrected for the number of slices (Holm), so that a run of equal quality seldom fails, however many they are.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge rulebook: -o /tmp/new.jsonl --force
      $ lore-rair score /tmp/new.jsonl --gold examples/pairs.jsonl --json /tmp/report.json --force
      $ lore-rair gate /tmp/report.json --require 'coverage>=0.99' --require 'acc2.hi>=0.1'
      $ lore-rair run examples/pairs.jsonl --judge lexical:examples/pairs.jsonl -o /tmp/base.jsonl --force
      $ lore-rair gate /tmp/new.jsonl --gold examples/pairs.jsonl --require 'macro_f1.lo>=0.2' --no-worse-than /tmp/base.jsonl
    """
    from lore_cli.rair.gate import read_requirement, unmet, worse
    from lore_cli.rair.metrics import METRICS
    from lore_cli.rair.report import read_report

    if not requirements and not base:
        raise errors.UsageError("nothing is required", hint="pass --require REQUIREMENT or --no-worse-than VERDICTS")
    if base and not gold.sources:
        raise errors.UsageError("--no-worse-than needs --gold", hint="give verdicts and the graded pairs they are about, not a report")
    if unknown := [name for name in metrics if name not in METRICS]:
        raise errors.UsageError(f"--metric {unknown[0]} is no metric", hint=f"metrics: {', '.join(METRICS)}")
    wanted = [read_requirement(text) for text in requirements]
    failing: list[str] = []
    if gold.sources:
        report, comparison = _measured(given, base, gold, run.seed, bool(wanted))
        failing += worse(comparison, metrics, margin) if comparison else []
    else:
        report = read_report(given)
    failing += unmet(report, wanted) if wanted else []
    for line in failing:
        click.echo(f"{run.name}: not met: {line}", err=True)
    if not failing:
        run.log.say(f"{len(wanted)} requirements met" + (f"; no worse than {base}" if base else ""))
    return errors.EXIT_GATE if failing else errors.EXIT_DONE


def _measured(verdicts: str, base: str | None, gold: Gold, seed: int, reported: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The report of the verdicts where one is asked for, and their comparison with the base where there is one."""
    errors.require("scipy", "report")
    from lore_cli.rair.compare import comparisons
    from lore_cli.rair.failures import Failures
    from lore_cli.rair.report import Settings, report

    tallies = filled([base, verdicts] if base else [verdicts], gold, [])
    comparison = comparisons(tallies, gold.draws, seed)[0] if base else None
    return report(tallies[-1], Failures(0), gold.named(), Settings(gold.draws, seed)) if reported else {}, comparison
