"""lore-tier status: what a cache folder holds, and how far it is from what the judge would say today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Judging, Run, judge_options, run_options
from lore_cli.commands.sections import Command
from lore_cli.commands.tier.shared import write_document
from lore_cli.records import Pair


@click.command(cls=Command)
@run_options("tier status")
@judge_options(needed=False)
@click.option("--cache", metavar="DIR", required=True, help="Cache folder.")
@click.option("--plan", "plan_path", metavar="FILE", help="Also tell how much of this plan's head is held, and what is due.")
@click.option("--audit", "draws", type=click.IntRange(1), help="Judge N requests drawn by their traffic again; needs --judge, --plan and --pairs.")
@click.option("--pairs", metavar="FILE", multiple=True, help="The candidates, for --audit; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def cli(judging: Judging, run: Run, cache: str, plan_path: str | None, draws: int | None, pairs: tuple[str, ...], as_json: bool) -> int:
    """Show generations, entries and their ages; with --audit, how far the cache is from today's judge.

    An audit changes nothing. It gives the share of requests for which the judge would now give another grade, with a 95 % interval.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ lore-tier status --cache /tmp/cache --plan /tmp/plan.json
      $ lore-tier status --cache /tmp/cache --plan /tmp/plan.json --audit 100 --pairs examples/pairs.jsonl --judge lexical:examples/pairs.jsonl
    """
    from lore_cli.judges.plan import load_plan
    from lore_cli.tier import audit
    from lore_cli.tier import status as reporting

    if draws is not None and not (judging.uri and plan_path and pairs):
        raise errors.UsageError("--audit needs a judge, the plan and the candidates", hint="pass --judge URI --plan FILE --pairs FILE")
    document = reporting.status(Path(cache), plan_path, load_plan(plan_path) if plan_path else None)
    damaged = "damaged" in document.get("served_state", {})
    if draws is not None and plan_path is not None and not damaged:
        document["audit"] = _audit(judging, run, cache, plan_path, draws, pairs)
    if as_json:
        write_document(None, document)
    else:
        click.echo(reporting.table(document))
        if "audit" in document:
            click.echo(audit.text(document["audit"]))
    return errors.EXIT_BAD_INPUT if damaged else errors.EXIT_DONE


def _audit(judging: Judging, run: Run, cache: str, plan_path: str, draws: int, pairs: tuple[str, ...]) -> dict[str, Any]:
    from lore_cli.judges.cached import open_generation
    from lore_cli.judges.plan import listed_queries, load_plan
    from lore_cli.tier.audit import audit

    head = dict(listed_queries(plan_path, load_plan(plan_path).head))
    _, store = open_generation(Path(cache) / "current")
    found = audit(store, head, stream.read(Pair, pairs, unique=False), judging.open(), draws, run.seed, lambda rows: run.log.track(rows, "pairs judged"))
    return found.document()
