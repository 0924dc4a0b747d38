"""lore-rl select: the pairs that a model has something to learn from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import click

from lore_cli.commands.common import Inputs, Judging, Output, Run, input_options, judge_options, map_to_output, output_options, resume_options, run_options
from lore_cli.commands.verbs import SETTINGS
from lore_cli.errors import UsageError
from lore_cli.ledger import Outcome
from lore_cli.records import Pair, Verdict, row_of


@click.command(context_settings=SETTINGS)
@input_options
@output_options
@resume_options
@run_options("rl select")
@judge_options()
@click.option("--least", type=click.FloatRange(0, 1), default=0.01, help="Least share of draws that must be right.")
@click.option("--most", type=click.FloatRange(0, 1), default=0.9, help="Greatest share of draws that may be right.")
def cli(inputs: Inputs, output: Output, judging: Judging, run: Run, least: float, most: float) -> int:
    """Keep the pairs a model gets right sometimes: pass rate within [LEAST, MOST] over --samples draws (default 8).

    Pairs that are always or never right give GRPO no gradient. A kept row is the pair with `pass_rate` (share of draws with the human
    grade) and `selected_because`. Pairs without a human grade are left out and counted.

    \b
    Example:
      $ lore-rl select examples/pairs.jsonl --judge rulebook: --least 0 --most 1 -o /tmp/selected.jsonl --force
    """
    if least > most:
        raise UsageError(f"--least {least:g} is more than --most {most:g}")
    judging.options["samples"] = judging.options["samples"] or 8
    judge = judging.open()

    def work(pairs: Iterator[Pair]) -> Iterator[Outcome]:
        asked: deque[Pair] = deque()

        def remember() -> Iterator[Pair]:
            for pair in pairs:
                asked.append(pair)
                yield pair

        for verdict in judge(remember()):
            yield _selected(asked.popleft(), verdict, least, most)

    identity = {**judge.identity(), "samples": judging.settings.samples, "temperature": judging.settings.temperature, "seed": run.seed, "band": [least, most]}
    return map_to_output(Pair, inputs, output, run, identity, work, "pairs selected")


def _selected(pair: Pair, verdict: Verdict, least: float, most: float) -> Outcome:
    row = dict(row_of(pair))
    if verdict.samples is None:
        return Outcome("failed", row | {"error": verdict.error or "the judge draws no samples"})
    if pair.grade is None:
        return Outcome("rejected", row | {"reason": "no human grade"})
    rate = sum(grade == pair.grade for grade in verdict.samples) / len(verdict.samples)
    reason = f"pass rate {rate:.3g} of {len(verdict.samples)} draws lies in [{least:g}, {most:g}]"
    if not least <= rate <= most:
        return Outcome("rejected", row | {"pass_rate": rate, "reason": reason.replace("lies in", "is outside")})
    return Outcome("done", row | {"pass_rate": rate, "selected_because": reason})
