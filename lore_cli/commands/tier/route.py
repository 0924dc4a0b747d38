"""lore-tier route: pairs judged as the deployed system does."""

from __future__ import annotations

import dataclasses

import click

from lore_cli.commands.common import Inputs, Output, Run, input_options, judge_to_output, output_options, resume_options, run_options
from lore_cli.commands.sections import Command
from lore_cli.commands.tier.shared import Deployed, plan_options


@click.command(cls=Command)
@run_options("tier route")
@input_options
@output_options
@resume_options
@plan_options
@click.option("--deadline", "deadline_s", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="Wait so long for the model, for --batch-size pairs at a time; without it as long as it takes.")
def cli(inputs: Inputs, output: Output, judging: Deployed, run: Run, plan_path: str, deadline_s: float | None) -> int:
    """Judge pairs as the deployed system does: verdicts with tier, route, answered_by and age_s.

    A fresh entry of the cache answers the head, the student the middle and what the cache does not hold, the model the tail and what the student is
    not sure of. Where the model fails, is late or busy, the student's answer stands in, marked `fallback`; a pair that nobody answers has an `error`.

    With --deadline routing is as in `lore-tier serve`: late answers of the model are remembered for the next time a pair is asked, a pair that the model
    failed for is not put to it again for half a minute, a stale entry is served while the model is asked anew.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ lore-tier route examples/pairs.jsonl --plan /tmp/plan.json | head -3
    """
    if deadline_s is not None:
        from lore_cli.judges.tiered import Live

        judging = dataclasses.replace(judging, live=Live(deadline_s))
    return judge_to_output(inputs, output, judging, run)
