"""lore-tier: who answers which query, the head cache, and what the deployment is worth.

\b
Example:
  $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force
  $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache
  $ lore-tier route examples/pairs.jsonl --plan /tmp/plan.json -o /tmp/routed.jsonl --force
"""

from __future__ import annotations

import click

from lore_cli.commands.common import version_option
from lore_cli.commands.ending import entry
from lore_cli.commands.verbs import Verb, Verbs

VERBS: dict[str, Verb] = {
    "plan": Verb("tier.plan", "Cut a query log into head, middle and tail."),
    "refresh": Verb("tier.refresh", "Bring the head cache up to date; safe to run from cron."),
    "rollback": Verb("tier.rollback", "Serve an earlier generation again, at once."),
    "status": Verb("tier.status", "Show generations, entries and their ages."),
    "route": Verb("tier.route", "Judge pairs as the deployed system does."),
    "serve": Verb("tier.serve", "Answer by HTTP as the deployed system does."),
    "replay": Verb("tier.replay", "Run a log through a plan: traffic, hits, GoodRate, cost."),
}


@click.group(cls=Verbs, verbs=VERBS, help=__doc__)
@version_option
def cli() -> None:
    pass


main = entry(cli, "lore-tier")
