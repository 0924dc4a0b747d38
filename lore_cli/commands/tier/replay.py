"""lore-tier replay: a log run through a plan."""

from __future__ import annotations

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Judging, Output, Run, input_options, output_options, run_options
from lore_cli.commands.tier.shared import plan_options, write_document
from lore_cli.commands.verbs import SETTINGS
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair, Verdict


@click.command(context_settings=SETTINGS)
@run_options("tier replay")
@input_options
@output_options
@plan_options
@click.option("--candidates", metavar="FILE", multiple=True, required=True, help="Pairs retrieved for the log's queries; field rank (1 is best) is the engine's order.")
@click.option("--gold", metavar="FILE", multiple=True, required=True, help="Pairs with human grades.")
@click.option("--reference", metavar="FILE", multiple=True, help="Recorded verdicts of the tail's judge, to measure agreement with it.")
@click.option("--page", "page_size", type=click.IntRange(1), default=10, help="Items on a page.")
@click.option("--good-share", type=click.FloatRange(0, 1), default=0.8, help="Least share of L3 and L4 items on a good page.")
@click.option("--per-tier", type=click.IntRange(0), default=0, help="Replay at most so many queries of each tier, drawn by --seed; 0: all.")
def cli(
    inputs: Inputs, output: Output, judging: Judging, run: Run, plan_path: str, candidates: tuple[str, ...], gold: tuple[str, ...], reference: tuple[str, ...],
    page_size: int, good_share: float, per_tier: int,
) -> int:  # fmt: skip
    """Run a log through a plan: traffic per tier, cache hits and freshness, GoodRate of the re-ranked pages, cost. A JSON report.

    Memory: the log's distinct queries and their candidates.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ lore-tier replay examples/log.jsonl --plan /tmp/plan.json --candidates examples/pairs.jsonl --gold examples/pairs.jsonl -o /tmp/replay.json --force
    """
    from lore_cli.judges.plan import Router, load_plan
    from lore_cli.tier.log import LogRow, count_queries
    from lore_cli.tier import replay as replaying

    stream.refuse_existing(output.path, output.force)
    made = load_plan(plan_path)
    judge = judging.open()
    counted = count_queries(inputs.read(LogRow, unique=False))
    requests = replaying.requests_of(counted, Router(plan_path, made), stream.read(Pair, candidates), per_tier, run.seed)
    grades = replaying.gold_grades(stream.read(Pair, gold, unique=False))
    known = replaying.recorded_grades(stream.read(Verdict, reference, unique=False)) if reference else {}
    asked = [pair for request in requests for pair in request.pairs]
    verdicts = {verdict.id: verdict for verdict in run.log.track(judge(asked), "pairs judged", len(asked))}
    page = replaying.Page(page_size, good_share)
    document = replaying.report(requests, verdicts, grades, made, counted, page, run.seed, known)
    write_document(output.path, document)
    write_manifest(output.path, command=run.name, inputs=[s for s in (*inputs.sources, plan_path, *candidates, *gold) if s != "-"], settings=run.settings, identity=judge.identity())
    run.log.say("\n" + replaying.table(document))
    failed = sum(verdict.error is not None for verdict in verdicts.values())
    return errors.EXIT_PARTIAL if failed or inputs.rejects.count else errors.EXIT_DONE
