"""lore-rl rollout: completions as a model writes them, to score, to look at and to learn preferences from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from lore_cli.commands.common import (
    Inputs, Judging, Output, Run, beside, input_options, judge_options, map_to_output, output_options, resume_options, run_options,
)  # fmt: skip
from lore_cli.commands.rl.select import DRAWS
from lore_cli.commands.sections import Command
from lore_cli.errors import UsageError
from lore_cli.ledger import Outcome
from lore_cli.models import Cut
from lore_cli.records import Trace, row_of


@click.command(cls=Command)
@input_options
@output_options
@resume_options
@run_options("rl rollout")
@judge_options()
def cli(inputs: Inputs, output: Output, judging: Judging, run: Run) -> int:
    """Draw --samples completions (default 8) for every pair: a row each, with `prompt`, `completion` and the pair's own fields.

    `id` is the pair's with the number of the draw, `group` the pair's own; a completion that --max-new-tokens ended has `cut`. The judge is a language
    model: hf, vllm or http. A pair of which a draw did not come is one failed row. Bounded memory.

    \b
    Example (fine-tunes a throw-away model first):
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 3 -o /tmp/sft --force --quiet
      $ lore-rl rollout examples/pairs.jsonl --limit 2 --judge hf:/tmp/sft --samples 2 --max-new-tokens 16 -o /tmp/rollouts.jsonl --force
      $ lore-rl reward /tmp/rollouts.jsonl --quiet | lore-rl inspect --worst 2
    """
    judging.options["samples"] = judging.options["samples"] or DRAWS
    judge = judging.open()
    if not hasattr(judge, "rollouts"):
        raise UsageError(f"--judge {judging.uri} writes no text", hint="name a language model: hf:PATH, vllm:PATH or http://HOST/v1#MODEL")

    def work(pairs: Iterator[Trace]) -> Iterator[Outcome]:
        for pair, (prompt, draws) in beside(judge.rollouts, pairs):
            lost = next((draw for draw in draws if isinstance(draw, Exception) and not isinstance(draw, Cut)), None)
            if lost is not None:
                yield Outcome("failed", row_of(pair) | {"error": f"no reply: {lost}"})
            else:
                yield Outcome("done", row_of(pair) | {"layout": judge.layout, "prompt": prompt, "draws": [_draw(draw) for draw in draws]})

    identity = {**judge.identity(), "samples": judging.settings.samples, "temperature": judging.settings.temperature, "seed": run.seed}
    return map_to_output(Trace, inputs, output, run, identity, work, "completions drawn", spending=judging.spending, last=_one_by_one)


def _draw(draw: str | Cut) -> dict[str, Any]:
    return {"completion": draw.text, "cut": True} if isinstance(draw, Cut) else {"completion": draw}


def _one_by_one(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """A row per draw; the ledger keeps a pair's draws together."""
    for outcome in outcomes:
        draws = outcome.row.get("draws") if outcome.state == "done" else None
        if draws is None:
            yield outcome
            continue
        row = {name: value for name, value in outcome.row.items() if name != "draws"}
        for number, draw in enumerate(draws):
            yield Outcome("done", row | {"id": f"{row['id']}#{number}", "group": row["id"], **draw})
