"""lore-rair: build a benchmark, run a judge on it, score the verdicts, compare runs, gate a release, put systems on a board."""

from __future__ import annotations

import click

from lore_cli.commands.common import version_option
from lore_cli.commands.ending import entry
from lore_cli.commands.verbs import Verb, Verbs

VERBS: dict[str, Verb] = {
    "build": Verb("rair.build", "Build a benchmark from graded pairs."),
    "sample": Verb("rair.sample", "Draw the pairs that humans should label."),
    "sheet": Verb("rair.sheet", "Sheets for human raters: export, import."),
    "run": Verb("rair.run", "Judge a benchmark, or any pairs."),
    "score": Verb("rair.score", "Score verdicts, with 95 % intervals."),
    "compare": Verb("rair.compare", "Compare runs on the same pairs."),
    "perturb": Verb("rair.perturb", "Write variants of pairs that mean the same."),
    "audit": Verb("rair.audit", "Judge a judge: agreement, bias, steadiness, worth."),
    "gate": Verb("rair.gate", "Exit 1 when a report does not meet its requirements."),
    "board": Verb("rair.board", "Put reports of several systems side by side."),
}


@click.group(cls=Verbs, verbs=VERBS)
@version_option
def cli() -> None:
    """RAIR: a relevance benchmark with capabilities, intervals clustered by query, and gates.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge rulebook: --quiet | lore-rair score - --gold examples/pairs.jsonl
    """


main = entry(cli, "lore-rair")
