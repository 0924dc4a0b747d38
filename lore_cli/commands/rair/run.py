"""lore-rair run: a judge's verdicts on a benchmark."""

from __future__ import annotations

import dataclasses

import click

from lore_cli.commands.common import Inputs, Judging, Output, Run, input_options, judge_options, judge_to_output, output_options, resume_options, run_options
from lore_cli.commands.gold import check_benchmarks, rulebook_path
from lore_cli.commands.sections import Command
from lore_cli.judges.modality import MODALITIES


@click.command(cls=Command)
@run_options("rair run")
@input_options
@output_options
@resume_options
@click.option("--modality", type=click.Choice(MODALITIES), default="both", help="What the judge is shown of items: all, their text, or their caption.")
@judge_options()
def cli(inputs: Inputs, output: Output, judging: Judging, run: Run, modality: str) -> int:
    """Judge a benchmark, or any pairs: one verdict per pair, in order.

    A benchmark's own rulebook is used unless --rulebook is given; a file that was edited after the build is refused. Bounded memory.

    The visual evidence of an item is its caption: with --modality image an item without one is an error, never a grade.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge rulebook: -o /tmp/verdicts.jsonl --force
      $ lore-rair run examples/pairs.jsonl --judge rulebook: --modality text -o /tmp/blind.jsonl --force
    """
    judging = dataclasses.replace(judging, modality=modality, rulebook_path=rulebook_path(judging.rulebook_path, inputs.sources))
    check_benchmarks(inputs.sources, judging.settings.rulebook)
    return judge_to_output(inputs, output, judging, run)
