"""lore-rair compare: two runs on the same pairs."""

from __future__ import annotations

from typing import Any

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Run, run_options
from lore_cli.commands.gold import Gold, gold_options, refusing
from lore_cli.commands.verbs import SETTINGS
from lore_cli.manifest import write_manifest
from lore_cli.records import Verdict


@click.command(context_settings=SETTINGS)
@run_options("rair compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@gold_options
@click.option("--json", "json_path", metavar="FILE", help="Write the comparison as JSON.")
@click.option("--flips", metavar="FILE", help="Write the pairs that only one of the runs has right (JSONL).")
@click.option("--force", is_flag=True, help="Replace existing outputs.")
def cli(run: Run, a: str, b: str, gold: Gold, json_path: str | None, flips: str | None, force: bool) -> int:
    """Compare two runs on the same pairs: differences B - A with paired intervals and a permutation test, clustered by query.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge lexical:examples/pairs.jsonl -o /tmp/a.jsonl --force
      $ lore-rair run examples/pairs.jsonl --judge rulebook: -o /tmp/b.jsonl --force
      $ lore-rair compare /tmp/a.jsonl /tmp/b.jsonl --gold examples/pairs.jsonl
    """
    errors.require("scipy", "report")
    from lore_cli.rair import compare as comparing
    from lore_cli.rair.join import joined
    from lore_cli.rair.tally import Tally
    from lore_cli.rair.terminal import show_comparison, stdout

    for path in (json_path, flips):
        stream.refuse_existing(path, force)
    if a == b == "-":
        raise errors.UsageError("A and B cannot both be standard input", hint="give one of them as a file")
    sides = [Inputs((path,), None, "fail", stream.Rejects(None)) for path in (a, b)]
    book = gold.rulebook((a, b))
    tallies = [Tally(book, gold.fields) for _ in sides]
    flipped: list[dict[str, Any]] = []
    comparing.paired(*(joined(gold.pairs(), side.read(Verdict), refusing(side)) for side in sides), *tallies, flipped)
    for path, tally in zip((a, b), tallies, strict=True):
        if tally.missing and not gold.partial:
            raise errors.BadInput(f"{tally.missing} of {len(tally.cell)} gold pairs have no verdict", where=path, field="id", hint="finish the run, or pass --partial")
    document = comparing.comparison(*tallies, gold.draws, run.seed)
    show_comparison(document, stdout())
    if flips:
        with stream.open_output(flips, force=force) as writer:
            for row in flipped:
                writer.write(row)
    if json_path:
        stream.write_json_atomic(json_path, document)
    for path in (json_path, flips):
        write_manifest(path, command=run.name, inputs=[s for s in (a, b) if s != "-"] + gold.files(), settings=run.settings, counts={"pairs": len(tallies[0].cell), "flips": len(flipped)})
    return errors.EXIT_DONE
