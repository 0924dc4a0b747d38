"""lore-tier refresh: the head cache brought up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Judging, Run, judge_options, refuse_secret, run_options
from lore_cli.commands.sections import Command
from lore_cli.commands.tier.shared import Duration, publish_served
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair

if TYPE_CHECKING:
    from lore_cli.tier.refresh import Policy, Summary, Wanted

_HOW_ASKED = ("language", "prompt", "samples", "temperature", "soft", "max_new_tokens", "structured", "seed")  # options that change answers


@click.command(cls=Command)
@run_options("tier refresh")
@judge_options()
@click.option("--plan", "plan_path", metavar="FILE", required=True, help="The plan whose head is cached.")
@click.option("--pairs", metavar="FILE", multiple=True, required=True, help="All candidates of the head's queries (pairs); repeatable, - is standard input.")
@click.option("--cache", metavar="DIR", required=True, help="Cache folder.")
@click.option("--ttl", type=Duration(), help="Age at which a verdict is judged again; the plan's without it.")
@click.option("--max-pairs", type=click.IntRange(0), help="Judge at most so many pairs, those with the most traffic first.")
@click.option("--max-seconds", type=click.FloatRange(0), help="Give the judge no more pairs after so long.")
@click.option("--if-changed", is_flag=True, help="End at once when plan, candidates, rulebook and judge are what they were and nothing is due.")
@click.option("--dry-run", is_flag=True, help="Judge nothing: list on standard output what would be judged, and why.")
@click.option("--keep", type=click.IntRange(1), default=3, help="Generations kept for rollback.")
@click.option("--publish", metavar="URL", help="Also serve the generation from a Redis, for many hosts: redis://HOST:PORT/DB#NAME.")
@click.option("--max-failed", type=click.FloatRange(0, 1), default=0.1, help="Largest share of failed judgements with which a generation is still published.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.7,
    help="Least share of pairs judged again that stay relevant or irrelevant; 0 publishes whatever came.",
)
@click.option("--max-shrink", type=click.FloatRange(0, 1), default=0.5, help="Largest share of entries that may go at once.")
def cli(
    judging: Judging, run: Run, plan_path: str, pairs: tuple[str, ...], cache: str, ttl: float | None, max_pairs: int | None, max_seconds: float | None,
    if_changed: bool, dry_run: bool, keep: int, publish: str | None, max_failed: float, min_agreement: float, max_shrink: float,
) -> int:  # fmt: skip
    """Bring the head cache up to date; safe to run from cron.

    Judges what is new, too old, or whose item, rule or judge changed; publishes a new generation by an atomic swap, and none when nothing
    changed. An edited rule makes only those entries stale that rest on it; --dry-run lists them. With a budget (--max-pairs, --max-seconds, --max-cost)
    the pairs with the most traffic come first, and the next run goes on with the rest. A generation that disagrees with the one before, or lost
    half of it, is not published (exit 1). Killed at any moment, the old generation is served on and the next run goes on where this one
    stopped. Two runs at once: the second exits with 1. Candidates that are gone leave the cache. See docs/operating.md.

    \b
    A line of a crontab:
      15 3 * * *  lore-tier refresh --plan plan.json --pairs candidates.jsonl --judge hf:rl/ --cache cache/ --quiet

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --max-pairs 100
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --dry-run | head -3
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --if-changed
    """
    from lore_cli.judges.plan import load_plan
    from lore_cli.rulebook import DEFAULT
    from lore_cli.tier import refresh as refreshing
    from lore_cli.tier import unchanged
    from lore_cli.tier.validation import Limits

    refuse_secret(publish)
    made, folder, rulebook = load_plan(plan_path), Path(cache), judging.settings.rulebook
    if if_changed and "-" in pairs:
        raise errors.UsageError("--if-changed needs candidates in files: a pipe cannot be read twice")
    files = [file for file in pairs if file != "-"]
    policy = refreshing.Policy(made.ttl_s if ttl is None else ttl, keep, max_failed, max_pairs, max_seconds, Limits(min_agreement, max_shrink))
    how = {name: run.settings[name] for name in _HOW_ASKED} | {"ttl_s": policy.ttl_s}
    inputs = unchanged.inputs_hash(made.hash, rulebook.hash, judging.uri, how, [*files, *judging.options["knowledge"]])
    if if_changed and unchanged.unchanged(folder, inputs):
        run.log.say("nothing changed since the last refresh, and nothing is due")
        return publish_served(run, folder, publish, keep)
    wanted = refreshing.Wanted(plan_path, made, judging.open(), rulebook.hash, Path(judging.rulebook_path or DEFAULT))
    if dry_run:
        return _tell_due(run, folder, wanted, pairs, policy)
    summary = refreshing.refresh(folder, wanted, stream.read(Pair, pairs, unique=False), policy, track=lambda rows: run.log.track(rows, "pairs judged"))
    unchanged.remember(folder, inputs, summary, policy)
    code = _tell(run, judging, cache, [plan_path, *files], wanted, summary)
    return code if summary.refused else publish_served(run, folder, publish, keep) or code


def _tell_due(run: Run, folder: Path, wanted: Wanted, pairs: tuple[str, ...], policy: Policy) -> int:
    from lore_cli.tier import refresh as refreshing

    with stream.open_output(None) as output:
        summary = refreshing.due(folder, wanted, stream.read(Pair, pairs, unique=False), policy.ttl_s, output.write)
    run.log.say(f"{sum(summary.reasons.values())} pairs would be judged ({_why(summary)}), {summary.kept} kept, {summary.dropped} dropped", **_counts(summary))
    return errors.EXIT_DONE


def _tell(run: Run, judging: Judging, cache: str, files: list[str], wanted: Wanted, summary: Summary) -> int:
    counts = _counts(summary)
    if summary.problem:
        run.log.say(f"warning: the generation served could not be read and is replaced: {summary.problem}")
    if summary.refused:
        run.log.say(f"not published, the generation served before is served on: {summary.refused}", **counts)
        return errors.EXIT_PARTIAL if summary.comparison is None else errors.EXIT_GATE
    write_manifest(
        cache,
        command=run.name,
        inputs=files,
        settings=run.settings,
        identity=wanted.judge.identity(),
        counts=counts | (judging.spending.counts() if judging.spending else {}),
    )
    if summary.number is None:
        run.log.say(f"nothing changed: {summary.kept} entries still hold, no new generation", **counts)
        return errors.EXIT_DONE
    run.log.say(
        f"generation {summary.number} published: {summary.kept} kept, {summary.judged} judged ({_why(summary)}), {summary.failed} failed, {summary.postponed} postponed, {summary.dropped} dropped",
        **counts,
    )
    if judging.spending and (spent := judging.spending.line()):
        run.log.say(spent)
    return errors.EXIT_PARTIAL if summary.failed else errors.EXIT_DONE


def _why(summary: Summary) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in sorted(summary.reasons.items())) or "none"


def _counts(summary: Summary) -> dict[str, Any]:
    names = ("kept", "confirmed", "taken_up", "judged", "failed", "postponed", "dropped", "not_head", "repeated")
    reasons = {f"judged because {reason}": number for reason, number in sorted(summary.reasons.items())}
    compared = summary.comparison.counts() if summary.comparison else {}
    return {"generation": summary.number, **{name: getattr(summary, name) for name in names}, **compared, **reasons}
