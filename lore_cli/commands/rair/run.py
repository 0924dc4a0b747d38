"""lore-rair run: a judge's verdicts on a benchmark."""

from __future__ import annotations

import dataclasses

import click

from lore_cli.commands.common import Inputs, Judging, Output, Run, input_options, judge_options, judge_to_output, output_options, resume_options, run_options
from lore_cli.commands.gold import check_benchmarks, rulebook_path
from lore_cli.commands.verbs import SETTINGS


@click.command(context_settings=SETTINGS)
@run_options("rair run")
@input_options
@output_options
@resume_options
@judge_options()
def cli(inputs: Inputs, output: Output, judging: Judging, run: Run) -> int:
    """Judge a benchmark, or any pairs: one verdict per pair, in order.

    A benchmark's own rulebook is used unless --rulebook is given; a file that was edited after the build is refused. Bounded memory.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge rulebook: -o /tmp/verdicts.jsonl --force
    """
    judging = dataclasses.replace(judging, rulebook_path=rulebook_path(judging.rulebook_path, inputs.sources))
    check_benchmarks(inputs.sources, judging.settings.rulebook)
    return judge_to_output(inputs, output, judging, run)
