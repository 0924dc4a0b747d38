"""lore-rl select: the pairs that a model has something to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from lore_cli.commands.common import (
    Inputs, Judging, Output, Run, beside, input_options, judge_options, map_to_output, output_options, resume_options, run_options,
)  # fmt: skip
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.errors import UsageError
from lore_cli.ledger import Outcome
from lore_cli.records import Trace, parse

DRAWS = 8
PLAIN = "plain"  # the capability of a query that meets no criterion


@click.command(cls=Command)
@input_options
@output_options
@resume_options
@run_options("rl select")
@judge_options()
@click.option("--least", type=click.FloatRange(0, 1), default=0.01, help="Least share of draws that must be right.")
@click.option("--most", type=click.FloatRange(0, 1), default=0.9, help="Greatest share of draws that may be right.")
@click.option("--unsure", type=click.FloatRange(0, 1), metavar="MARGIN", help="In place of the band: pairs whose first two grades are at most so far apart.")
@click.option("--per-grade", type=click.IntRange(min=1), metavar="N", help="Of these, N of each human grade.")
@click.option("--per-capability", type=click.IntRange(min=1), metavar="N", help="Of these, N of each capability; with --per-grade, what either wants.")
@options_of(Section.OUTPUT, click.option("--rejected", metavar="FILE", help="Where the other pairs go, with the reason."))
def cli(
    inputs: Inputs, output: Output, judging: Judging, run: Run, least: float, most: float, unsure: float | None, per_grade: int | None, per_capability: int | None,
    rejected: str | None,
) -> int:  # fmt: skip
    """Keep the pairs a model gets right sometimes: pass rate within [LEAST, MOST] over --samples draws (default 8).

    Pairs that are always or never right give GRPO no gradient. A kept row is the pair with `pass_rate` (share of draws with the human
    grade) and `selected_because`. Pairs without a human grade are left out and counted.

    --unsure keeps the low-confidence pool instead, whether graded or not: `margin` is how much the first grade is ahead of the second, by
    probability with --soft, else by share of draws. Good for pairs that people should grade next.

    A quota takes rows by a hash of their content. Capabilities are what makes a query hard (negation, units, price, glossary, unlisted,
    many-needs, script), and plain. Bounded memory: with quotas the kept rows, which come at the end.

    \b
    Example:
      $ lore-rl select examples/pairs.jsonl --judge rulebook: --least 0 --most 1 -o /tmp/selected.jsonl --force
      $ lore-rl select examples/pairs.jsonl --judge lexical:examples/pairs.jsonl --soft --unsure 0.5 --per-grade 2 --quiet
    """
    from lore_cli.train.selection import Strata, in_band, is_unsure

    if least > most:
        raise UsageError(f"--least {least:g} is more than --most {most:g}")
    if unsure is None or not judging.options["soft"]:
        judging.options["samples"] = judging.options["samples"] or DRAWS
    judge = judging.open()

    def work(pairs: Iterator[Trace]) -> Iterator[Outcome]:
        for pair, verdict in beside(judge, pairs):
            yield in_band(pair, verdict, least, most) if unsure is None else is_unsure(pair, verdict, unsure)

    quotas = {kind: number for kind, number in (("grade", per_grade), ("capability", per_capability)) if number}
    strata, counts = Strata(quotas, _strata(judging)), {}

    def balanced(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        yield from strata.kept(outcomes)
        counts["strata"] = strata.summary()

    settings = judging.settings
    identity = {**judge.identity(), "samples": settings.samples, "soft": settings.soft, "temperature": settings.temperature, "seed": run.seed}
    identity |= {"band": [least, most]} if unsure is None else {"unsure": unsure}
    code = map_to_output(Trace, inputs, output, run, identity, work, "pairs selected", rejected, counts, spending=judging.spending, last=balanced)
    for name, found in counts["strata"].items():
        run.log.say(f"{name}: {', '.join(f'{number} {what}' for what, number in found.items())}")
    return code


def _strata(judging: Judging) -> Any:
    """From a row to its strata: the human grade, and every capability of its query."""
    from lore_cli.path.knowledge import load_glossary
    from lore_cli.rair.criteria import query_criteria
    from lore_cli.train.rewards import needs_of

    rulebook, glossary = judging.settings.rulebook, load_glossary(judging.settings.knowledge)

    def of(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
        pair = parse(Trace, row)
        yield "grade", pair.grade or "none"
        found = query_criteria(pair.query, tuple(needs_of(pair, rulebook, glossary)), rulebook, glossary)
        yield from (("capability", name) for name in sorted(found) or [PLAIN])

    return of
