"""lore-tier rollback: an earlier generation served again."""

from __future__ import annotations

from pathlib import Path

import click

from lore_cli.commands.common import Run, refuse_secret, run_options
from lore_cli.commands.sections import Command
from lore_cli.commands.tier.shared import publish_served


@click.command(cls=Command)
@run_options("tier rollback")
@click.option("--cache", metavar="DIR", required=True, help="Cache folder.")
@click.option("--to", type=click.IntRange(1), help="Generation to serve; the one before the served one without it.")
@click.option("--publish", metavar="URL", help="Serve it from this Redis too: redis://HOST:PORT/DB#NAME.")
def cli(run: Run, cache: str, to: int | None, publish: str | None) -> int:
    """Serve an earlier generation again, at once.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge lexical:examples/pairs.jsonl --cache /tmp/cache --quiet
      $ lore-tier rollback --cache /tmp/cache
    """
    from lore_cli.tier.cache import roll_back

    refuse_secret(publish)
    before, now = roll_back(Path(cache), to)
    run.log.say(f"generation {now} is served, before it was {before}", before=before, now=now)
    return publish_served(run, Path(cache), publish)
