"""lore-tier refresh: the head cache brought up to date."""

from __future__ import annotations

from pathlib import Path

import click

from lore_cli import errors, stream
from lore_cli.commands.common import SETTINGS, Judging, Run, judge_options, run_options
from lore_cli.commands.tier.shared import Duration
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair


@click.command(context_settings=SETTINGS)
@run_options("tier refresh")
@judge_options()
@click.option("--plan", "plan_path", metavar="FILE", required=True, help="The plan whose head is cached.")
@click.option("--pairs", metavar="FILE", multiple=True, required=True, help="All candidates of the head's queries (pairs); repeatable, - is standard input.")
@click.option("--cache", metavar="DIR", required=True, help="Cache folder.")
@click.option("--ttl", type=Duration(), help="Age at which a verdict is judged again; the plan's without it.")
@click.option("--keep", type=click.IntRange(1), default=3, help="Generations kept for rollback.")
@click.option("--max-failed", type=click.FloatRange(0, 1), default=0.1, help="Largest share of failed judgements with which a generation is still published.")
def cli(judging: Judging, run: Run, plan_path: str, pairs: tuple[str, ...], cache: str, ttl: float | None, keep: int, max_failed: float) -> int:
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
    from lore_cli.judges.plan import load_plan
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
