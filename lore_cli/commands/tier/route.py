"""lore-tier route: pairs judged as the deployed system does."""

from __future__ import annotations

import click

from lore_cli.commands.common import Inputs, Judging, Output, Run, input_options, judge_to_output, output_options, resume_options, run_options
from lore_cli.commands.tier.shared import plan_options
from lore_cli.commands.verbs import SETTINGS


@click.command(context_settings=SETTINGS)
@run_options("tier route")
@input_options
@output_options
@resume_options
@plan_options
def cli(inputs: Inputs, output: Output, judging: Judging, run: Run, plan_path: str) -> int:
    """Judge pairs as the deployed system does: verdicts with tier and route.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ lore-tier route examples/pairs.jsonl --plan /tmp/plan.json | head -3
    """
    return judge_to_output(inputs, output, judging, run)
