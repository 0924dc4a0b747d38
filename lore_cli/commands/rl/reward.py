"""lore-rl reward: completions scored by what can be verified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lore_cli.commands.common import Inputs, Output, Run, input_options, map_to_output, output_options, resume_options, rulebook_option, run_options
from lore_cli.commands.rl.rewarding import Rewarding, reward_options
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.errors import BadInput, UsageError
from lore_cli.ledger import Outcome
from lore_cli.records import Trace, row_of
from lore_cli.requirement import Requirement, read_requirement

if TYPE_CHECKING:
    from lore_cli.answer import Layout
    from lore_cli.rulebook import Rulebook


@click.command(cls=Command)
@input_options
@output_options
@resume_options
@rulebook_option
@run_options("rl reward")
@click.option("--layout", type=click.Choice(["answer-last", "answer-first", "label-only", "free"]), help="Where the grade stands in the completion; by default the row's `layout`, else answer-last.")
@reward_options
@click.option("--require", "requirements", metavar="REQUIREMENT", multiple=True, help="Keep only rows with NAME>=NUMBER, where NAME is reward or a part; repeatable.")
@options_of(Section.OUTPUT, click.option("--rejected", metavar="FILE", help="Where the other rows go."))
def cli(
    inputs: Inputs, output: Output, rulebook: Rulebook, run: Run, layout: Layout | None, rewarding: Rewarding, requirements: tuple[str, ...], rejected: str | None
) -> int:  # fmt: skip
    """Score completions: Traces in, the same rows with `reward` and `rewards{part}` out. `grade` is the human's, `completion` the text scored.

    \b
    grade      1 for the human grade (ordinal: less by a third for each grade away), where the answer is honest: it follows from its own
               matches, quotes only what the item holds, and writes only needs that the query makes, each once
    right      1 for the human grade, honest or not
    format     1 for an answer in the layout; another text earns nothing in any part
    adherence  1 when grade and rules are those that its matches imply
    evidence   share of its lines whose evidence holds
    path       F1 of its needs against the row's `needs`, or else the expert's
    length     1, falling to 0 between 600 and 1200 characters

    \b
    Example:
      $ lore-rl reward examples/traces.jsonl
      $ lore-rl reward examples/traces.jsonl --require 'grade>=1' --require 'evidence>=0.5' --quiet > /tmp/good.jsonl
    """
    from lore_cli.train import rewards

    wanted = [_requirement(text, ("reward", *rewards.WEIGHTS)) for text in requirements]

    def work(traces: Iterator[Trace]) -> Iterator[Outcome]:
        for trace in traces:
            assert trace.completion is not None  # refused as it was read
            parts = rewards.reward_parts(trace.completion, trace, rulebook, layout or _layout(trace), rewarding.glossary)
            reward = rewards.total(parts, rewarding.weights)
            scored = {**row_of(trace), "reward": reward, "rewards": parts}
            unmet = next((need.text for need in wanted if not need.met({"reward": reward, **parts}[need.name])), None)
            yield Outcome("done", scored) if unmet is None else Outcome("rejected", {**scored, "reason": f"not {unmet}"})

    identity = {"rulebook": rulebook.hash, "layout": layout, "require": list(requirements), **rewarding.identity()}
    return map_to_output(Trace, inputs, output, run, identity, work, "completions scored", rejected, needs=("grade", "completion"))


def _layout(trace: Trace) -> Layout:
    """The layout that a rollout tells."""
    from lore_cli.answer import LAYOUTS

    found = row_of(trace).get("layout", LAYOUTS[0])
    if found not in LAYOUTS:
        raise BadInput(f"found {found!r} (expected {', '.join(LAYOUTS)})", where=f"row '{trace.id}'", field="layout")
    return found


def _requirement(text: str, names: tuple[str, ...]) -> Requirement:
    hint = f"for example 'reward>=0.8'; names are {', '.join(names)}"
    wanted = read_requirement(text, hint)
    if wanted.name not in names:
        raise UsageError(f"--require {text}: there is no reward part '{wanted.name}'", hint=hint)
    return wanted
