"""lore-tier plan: a query log cut into tiers."""

from __future__ import annotations

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Output, Run, input_options, output_options, refuse_secret, run_options
from lore_cli.commands.tier.shared import Duration
from lore_cli.commands.verbs import SETTINGS
from lore_cli.manifest import write_manifest


@click.command(context_settings=SETTINGS)
@run_options("tier plan")
@input_options
@output_options
@click.option("--head-traffic", type=click.FloatRange(0, 1), default=0.8, help="Share of all requests that the head should hold.")
@click.option("--tail-traffic", type=click.FloatRange(0, 1), default=0.05, help="Share that the least frequent queries, the tail, hold at most.")
@click.option("--min-count", type=click.IntRange(1), default=1, help="Rarer queries are never named in the plan or cached.")
@click.option("--cache", metavar="DIR", help="Cache folder that answers the head.")
@click.option("--student", metavar="URI", help="Judge of the middle, and of head pairs that the cache cannot answer.")
@click.option("--tail", metavar="URI", help="Judge of the tail, and of pairs the student is not sure of.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, help="Top probability under which the student hands over to the tail's judge.")
@click.option("--ttl", type=Duration(), default="30d", help="Age at which a refresh judges a cached verdict again.")
@click.option("--expire", type=Duration(), help="Age at which a cached verdict is no longer served; twice --ttl without it.")
def cli(
    inputs: Inputs, output: Output, run: Run, head_traffic: float, tail_traffic: float, min_count: int,
    cache: str | None, student: str | None, tail: str | None, threshold: float, ttl: float, expire: float | None,
) -> int:  # fmt: skip
    """Cut a query log into head, middle and tail.

    Reads rows of query and count (or pairs), writes PLAN.json with PLAN.head.jsonl and PLAN.middle.jsonl beside it. The plan carries who
    answers each tier, so that tier:PLAN.json is the deployed system. Memory: one row per distinct query.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force
    """
    from lore_cli.tier import plan as planning

    for uri in (student, tail):
        refuse_secret(uri)
    if output.path is None or stream.is_pipe(output.path):
        raise errors.UsageError("a plan is several files", hint="pass --output plan.json")
    stream.refuse_existing(output.path, output.force)
    expire = 2 * ttl if expire is None else expire
    if expire < ttl:
        raise errors.UsageError("--expire is shorter than --ttl: entries would go before they are judged again")
    counted = planning.count_queries(run.log.track(inputs.read(planning.LogRow, unique=False), "log rows"))
    targets = {"head_traffic": head_traffic, "tail_traffic": tail_traffic, "min_count": float(min_count)}
    made = planning.write_plan(output.path, counted, targets, planning.Deployment(cache, student, tail, threshold, ttl, expire))
    counts = {"log_rows": counted.rows, "queries": made.queries, "traffic": made.traffic, "bad_rows": inputs.rejects.count}
    write_manifest(output.path, command=run.name, inputs=[s for s in inputs.sources if s != "-"], settings=run.settings, identity={"plan": made.hash}, counts=counts)
    run.log.say("\n" + planning.table(made), **counts)
    return errors.EXIT_PARTIAL if inputs.rejects.count else errors.EXIT_DONE
