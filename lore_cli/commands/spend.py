"""Options that say what language models may cost, and where their replies are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lore_cli.errors import UsageError

if TYPE_CHECKING:
    from lore_cli.models.spending import Spending

SPENDING_OPTIONS = (
    click.option("--reply-cache", metavar="FILE", help="Keep replies in this file (SQLite) and take from it those that are there; runs may share it."),
    click.option("--price-in", type=click.FloatRange(min=0), default=0.0, help="Price of a million prompt tokens, in any currency."),
    click.option("--price-out", type=click.FloatRange(min=0), default=0.0, help="Price of a million tokens of replies."),
    click.option("--max-cost", type=click.FloatRange(min=0), help="Ask nothing that might cost this run more; rows not asked fail, for --retry-failed."),
)


def spending_of(reply_cache: str | None, price_in: float, price_out: float, max_cost: float | None) -> Spending:
    """What the options come to. Raises `UsageError` for a limit without prices."""
    from lore_cli.models.metered import Meter
    from lore_cli.models.replies import ReplyStore
    from lore_cli.models.spending import Spending

    if max_cost is not None and not (price_in or price_out):
        raise UsageError("--max-cost needs prices", hint="pass --price-in and --price-out, in money for a million tokens")
    return Spending(ReplyStore(reply_cache) if reply_cache else None, Meter(price_in, price_out, max_cost))
