"""lore-tier status: what a cache folder holds."""

from __future__ import annotations

from pathlib import Path

import click

from lore_cli import errors
from lore_cli.commands.common import Run, run_options
from lore_cli.commands.tier.shared import write_document
from lore_cli.commands.verbs import SETTINGS


@click.command(context_settings=SETTINGS)
@run_options("tier status")
@click.option("--cache", metavar="DIR", required=True, help="Cache folder.")
@click.option("--plan", "plan_path", metavar="FILE", help="Also tell how much of this plan's head is held, and what is due.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def cli(run: Run, cache: str, plan_path: str | None, as_json: bool) -> int:
    """Show generations, entries and their ages.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ lore-tier status --cache /tmp/cache --plan /tmp/plan.json
    """
    from lore_cli.judges.plan import load_plan
    from lore_cli.tier import status as reporting

    document = reporting.status(Path(cache), plan_path, load_plan(plan_path) if plan_path else None)
    if as_json:
        write_document(None, document)
    else:
        click.echo(reporting.table(document))
    damaged = "damaged" in document.get("served_state", {})
    return errors.EXIT_BAD_INPUT if damaged else errors.EXIT_DONE
