"""lore-tier: who answers which query, the head cache, and what the deployment is worth.

\b
Example:
  $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force
  $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache
  $ lore-tier route examples/pairs.jsonl --plan /tmp/plan.json -o /tmp/routed.jsonl --force
"""

from __future__ import annotations

import functools
import os
import re
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from lore_cli import errors, stream
from lore_cli.commands.common import (
    SETTINGS, Inputs, Judging, Output, Run, Verbs, entry, input_options, judge_options, judge_to_output, output_options, refuse_secret, resume_options, run_options, version_option,
)
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair, Verdict

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType):
    """A time span such as 90m, 12h or 30d, in seconds."""

    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        parts = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value.strip())
        if not parts:
            self.fail(f"'{value}' is not a time span: a number and s, m, h or d, such as 30d", parameter, context)
        return float(parts[1]) * _UNITS[parts[2]]


def plan_options(function: Any) -> Any:
    """--plan and how its judges are asked → `plan_path: str`, `judging: Judging` of tier:PLAN. An http judge takes its key from LORE_API_KEY."""

    @functools.wraps(function)
    def call(*, plan_path: str, rulebook: str | None, run: Run, **rest: Any) -> Any:
        names = ("knowledge", "samples", "soft", "batch_size", "timeout_s", "concurrency")
        options = {name: rest.pop(name) for name in names} | {"seed": run.seed, "api_key": os.environ.get("LORE_API_KEY")}
        return function(plan_path=plan_path, judging=Judging(f"tier:{plan_path}", rulebook, options), run=run, **rest)

    for option in (
        click.option("--concurrency", type=click.IntRange(min=1), default=32, help="Most requests in flight (http); fewer while the server cannot keep up."),
        click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0, help="Seconds to wait for one reply (http)."),
        click.option("--batch-size", type=click.IntRange(min=1), default=64, help="Pairs asked together."),
        click.option("--soft", is_flag=True, help="Add the probability of each grade (scores) where a judge has it."),
        click.option("--samples", type=click.IntRange(min=0), default=0, help="Draws per pair beside the greedy answer, for pass@k."),
        click.option("--knowledge", metavar="FILE", multiple=True, help="Glossary and taxonomy rows of the shop (JSONL); repeatable."),
        click.option("--rulebook", metavar="FILE", help="Rulebook (TOML); the built-in one without it."),
        click.option("--plan", "plan_path", metavar="FILE", required=True, help="The plan to route by."),
    ):
        call = option(call)
    return call


@click.group(cls=Verbs, context_settings=SETTINGS, help=__doc__)
@version_option
def cli() -> None:
    pass


@cli.command()
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
def plan(
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


@cli.command()
@run_options("tier refresh")
@judge_options()
@click.option("--plan", "plan_path", metavar="FILE", required=True, help="The plan whose head is cached.")
@click.option("--pairs", metavar="FILE", multiple=True, required=True, help="All candidates of the head's queries (pairs); repeatable, - is standard input.")
@click.option("--cache", metavar="DIR", required=True, help="Cache folder.")
@click.option("--ttl", type=Duration(), help="Age at which a verdict is judged again; the plan's without it.")
@click.option("--keep", type=click.IntRange(1), default=3, help="Generations kept for rollback.")
@click.option("--max-failed", type=click.FloatRange(0, 1), default=0.1, help="Largest share of failed judgements with which a generation is still published.")
def refresh(judging: Judging, run: Run, plan_path: str, pairs: tuple[str, ...], cache: str, ttl: float | None, keep: int, max_failed: float) -> int:
    """Bring the head cache up to date; safe to run from cron.

    Judges what is new, too old, or whose item, rulebook or judge changed; publishes a new generation by an atomic swap, and none when nothing
    changed. Killed at any moment, the old generation is served on and the next run goes on where this one stopped. Two runs at once: the
    second exits with 1. Candidates that are gone leave the cache.

    \b
    A line of a crontab:
      15 3 * * *  lore-tier refresh --plan plan.json --pairs candidates.jsonl --judge hf:rl/ --cache cache/ --quiet

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache
    """
    from lore_cli.judges.tiered import load_plan
    from lore_cli.tier import refresh as refreshing

    made = load_plan(plan_path)
    policy = refreshing.Policy(made.ttl_s if ttl is None else ttl, keep, max_failed)
    judge, rulebook = judging.open(), judging.settings.rulebook
    summary = refreshing.refresh(
        Path(cache), plan_path, made, stream.read(Pair, pairs, unique=False), judge, rulebook.hash, policy, track=lambda rows: run.log.track(rows, "pairs judged")
    )
    counts = {
        "generation": summary.number, "kept": summary.kept, "taken_up": summary.taken_up, "judged": summary.judged, "failed": summary.failed, "dropped": summary.dropped,
        "not_head": summary.not_head, "repeated": summary.repeated, **{f"judged because {reason}": number for reason, number in sorted(summary.reasons.items())},
    }  # fmt: skip
    if summary.problem:
        run.log.say(f"warning: the generation served could not be read and is replaced: {summary.problem}")
    if summary.refused:
        run.log.say(f"{summary.failed} of {summary.failed + summary.judged} judgements failed: not published, the generation served before is served on", **counts)
        return errors.EXIT_PARTIAL
    write_manifest(cache, command=run.name, inputs=[plan_path, *(p for p in pairs if p != "-")], settings=run.settings, identity=judge.identity(), counts=counts)
    if summary.number is None:
        run.log.say(f"nothing changed: {summary.kept} entries still hold, no new generation", **counts)
        return errors.EXIT_DONE
    why = ", ".join(f"{number} {reason}" for reason, number in sorted(summary.reasons.items())) or "none"
    run.log.say(f"generation {summary.number} published: {summary.kept} kept, {summary.judged} judged ({why}), {summary.failed} failed, {summary.dropped} dropped", **counts)
    return errors.EXIT_PARTIAL if summary.failed else errors.EXIT_DONE


@cli.command()
@run_options("tier route")
@input_options
@output_options
@resume_options
@plan_options
def route(inputs: Inputs, output: Output, judging: Judging, run: Run, plan_path: str) -> int:
    """Judge pairs as the deployed system does: verdicts with tier and route.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ lore-tier route examples/pairs.jsonl --plan /tmp/plan.json | head -3
    """
    return judge_to_output(inputs, output, judging, run)


@cli.command()
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
def replay(
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
    from lore_cli.judges.tiered import Router, load_plan
    from lore_cli.tier import plan as planning
    from lore_cli.tier import replay as replaying

    stream.refuse_existing(output.path, output.force)
    made = load_plan(plan_path)
    judge = judging.open()
    counted = planning.count_queries(inputs.read(planning.LogRow, unique=False))
    requests = replaying.requests_of(counted, Router(plan_path, made), stream.read(Pair, candidates), per_tier, run.seed)
    grades = replaying.gold_grades(stream.read(Pair, gold, unique=False))
    known = replaying.recorded_grades(stream.read(Verdict, reference, unique=False)) if reference else {}
    asked = [pair for request in requests for pair in request.pairs]
    verdicts = {verdict.id: verdict for verdict in run.log.track(judge(asked), "pairs judged", len(asked))}
    page = replaying.Page(page_size, good_share)
    document = replaying.report(requests, verdicts, grades, made, counted, page, run.seed, known)
    _write_document(output, document)
    write_manifest(output.path, command=run.name, inputs=[s for s in (*inputs.sources, plan_path, *candidates, *gold) if s != "-"], settings=run.settings, identity=judge.identity())
    run.log.say("\n" + replaying.table(document))
    failed = sum(verdict.error is not None for verdict in verdicts.values())
    return errors.EXIT_PARTIAL if failed or inputs.rejects.count else errors.EXIT_DONE


@cli.command()
@run_options("tier status")
@click.option("--cache", metavar="DIR", required=True, help="Cache folder.")
@click.option("--plan", "plan_path", metavar="FILE", help="Also tell how much of this plan's head is held, and what is due.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def status(run: Run, cache: str, plan_path: str | None, as_json: bool) -> int:
    """Show generations, entries and their ages.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ lore-tier status --cache /tmp/cache --plan /tmp/plan.json
    """
    from lore_cli.judges.tiered import load_plan
    from lore_cli.tier import status as reporting

    document = reporting.status(Path(cache), plan_path, load_plan(plan_path) if plan_path else None)
    if as_json:
        _write_document(Output(None, None, False), document)
    else:
        click.echo(reporting.table(document))
    damaged = "damaged" in document.get("served_state", {})
    return errors.EXIT_BAD_INPUT if damaged else errors.EXIT_DONE


@cli.command()
@run_options("tier rollback")
@click.option("--cache", metavar="DIR", required=True, help="Cache folder.")
@click.option("--to", type=click.IntRange(1), help="Generation to serve; the one before the served one without it.")
def rollback(run: Run, cache: str, to: int | None) -> int:
    """Serve an earlier generation again, at once.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge lexical:examples/pairs.jsonl --cache /tmp/cache --quiet
      $ lore-tier rollback --cache /tmp/cache
    """
    from lore_cli.tier.cache import roll_back

    before, now = roll_back(Path(cache), to)
    run.log.say(f"generation {now} is served, before it was {before}", before=before, now=now)
    return errors.EXIT_DONE


def _write_document(output: Output, document: dict[str, Any]) -> None:
    if output.path is None or output.path == "-":
        sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))
        sys.stdout.buffer.flush()
    else:
        stream.write_json_atomic(output.path, document)


main = entry(cli, "lore-tier")
if __name__ == "__main__":
    main()
