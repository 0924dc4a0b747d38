"""lore-tier replay: a log run through a plan."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Judging, Output, Run, input_options, output_options, run_options
from lore_cli.commands.sections import Command
from lore_cli.commands.tier.shared import count_log, plan_options, write_document
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair, Verdict

if TYPE_CHECKING:
    from lore_cli.judges import Judge
    from lore_cli.tier.replay import Ground


@click.command(cls=Command)
@run_options("tier replay")
@input_options
@output_options
@plan_options
@click.option("--what-if", metavar="PLAN", multiple=True, help="Another plan to run the same log through; repeatable.")
@click.option(
    "--candidates", metavar="FILE", multiple=True, required=True, help="Pairs retrieved for the log's queries; field rank (1 is best) is the engine's order."
)
@click.option("--gold", metavar="FILE", multiple=True, required=True, help="Pairs with human grades.")
@click.option("--reference", metavar="FILE", multiple=True, help="Recorded verdicts of the tail's judge, to measure agreement with it.")
@click.option("--page", "page_size", type=click.IntRange(1), default=10, help="Items on a page.")
@click.option("--good-share", type=click.FloatRange(0, 1), default=0.8, help="Least share of L3 and L4 items on a good page.")
@click.option("--per-tier", type=click.IntRange(0), default=0, help="Replay at most so many queries of each tier, drawn by --seed; 0: all.")
def cli(
    inputs: Inputs, output: Output, judging: Judging, run: Run, plan_path: str, what_if: tuple[str, ...], candidates: tuple[str, ...], gold: tuple[str, ...],
    reference: tuple[str, ...], page_size: int, good_share: float, per_tier: int,
) -> int:  # fmt: skip
    """Run a log through a plan: traffic per tier, cache hits and freshness, GoodRate of the re-ranked pages, cost. A JSON report.

    A query that was asked a thousand times is judged once and counts a thousand times. With --what-if the report of each further plan is under `what_if`.
    Memory: the log's distinct queries and their candidates.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ lore-tier replay examples/log.jsonl --plan /tmp/plan.json --candidates examples/pairs.jsonl --gold examples/pairs.jsonl -o /tmp/replay.json --force
      $ lore-tier plan examples/log.jsonl --head-traffic 0.5 --cache /tmp/cache --tail rulebook: -o /tmp/half.json --force --quiet
      $ lore-tier replay examples/log.jsonl --plan /tmp/plan.json --what-if /tmp/half.json --candidates examples/pairs.jsonl --gold examples/pairs.jsonl > /tmp/both.json
    """
    from lore_cli.judges.plan import load_plan
    from lore_cli.tier import replay as replaying
    from lore_cli.tier.replay_table import side_by_side, table

    stream.refuse_existing(output.path, output.force)
    for path in (plan_path, *what_if):
        load_plan(path)
    counted = count_log(inputs, "auto", run)
    grades = replaying.gold_grades(stream.read(Pair, gold, unique=False))
    known = replaying.recorded_grades(stream.read(Verdict, reference, unique=False)) if reference else {}
    ground = replaying.Ground(counted, list(stream.read(Pair, candidates)), grades, known, replaying.Page(page_size, good_share), per_tier, run.seed)
    judge = judging.open()
    document, failed = _replay(judge, plan_path, ground, run)
    others = {path: _replay(dataclasses.replace(judging, uri=f"tier:{path}").open(), path, ground, run) for path in what_if}
    if others:
        document["what_if"] = [{"path": path, **other} for path, (other, _) in others.items()]
    write_document(output.path, document)
    files = (*inputs.sources, plan_path, *what_if, *candidates, *gold, *reference)
    write_manifest(output.path, command=run.name, inputs=[file for file in files if file != "-"], settings=run.settings, identity=judge.identity())
    run.log.say("\n" + table(document))
    if others:
        run.log.say("\n" + side_by_side({plan_path: document, **{path: other for path, (other, _) in others.items()}}))
    return errors.EXIT_PARTIAL if failed or any(lost for _, lost in others.values()) or inputs.rejects.count else errors.EXIT_DONE


def _replay(judge: Judge, plan_path: str, ground: Ground, run: Run) -> tuple[dict[str, Any], int]:
    """(report of one plan, pairs without a verdict)."""
    from lore_cli.judges.plan import Router, load_plan
    from lore_cli.tier.replay import report, requests_of

    made = load_plan(plan_path)
    requests = requests_of(ground.counted, Router(plan_path, made), ground.candidates, ground.per_tier, ground.seed)
    asked = [pair for request in requests for pair in request.pairs]
    verdicts = {verdict.id: verdict for verdict in run.log.track(judge(asked), "pairs judged", len(asked))}
    document = report(requests, verdicts, ground.gold, made, ground.counted, ground.page, ground.seed, ground.reference)
    return document, sum(verdict.error is not None for verdict in verdicts.values())
