"""lore-distill label: a teacher's word on each pair."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from lore_cli.commands.common import Inputs, Judging, Output, Run, input_options, judge_options, judge_to_output, output_options, resume_options, run_options
from lore_cli.commands.sections import Command
from lore_cli.records import Pair, Verdict, row_of

_TOLD = ("grade", "scores", "matches", "rules", "judge", "error")


@click.command(cls=Command)
@run_options("distill label")
@input_options
@output_options
@resume_options
@judge_options()
def cli(inputs: Inputs, output: Output, judging: Judging, run: Run) -> int:
    """Let a judge label pairs: each row with `teacher` (grade, scores, matches).

    Scores are always asked for, whether or not --soft is given. Human grades that the rows have stay beside the teacher's.

    \b
    Example:
      $ lore-distill label examples/pairs.jsonl --judge rulebook: -o /tmp/soft.jsonl --force
    """
    soft = dataclasses.replace(judging, options={**judging.options, "soft": True, "samples": 0})
    return judge_to_output(inputs, output, soft, run, labelled)


def labelled(pair: Pair, verdict: Verdict) -> dict[str, Any]:
    """The pair's row with what the teacher said of it."""
    said = row_of(verdict)
    return {**row_of(pair), "teacher": {name: said[name] for name in _TOLD if said.get(name) is not None}}
