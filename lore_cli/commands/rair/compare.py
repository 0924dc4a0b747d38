"""lore-rair compare: runs on the same pairs."""

from __future__ import annotations

from typing import Any

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Run, run_options
from lore_cli.commands.gold import Gold, filled, gold_options
from lore_cli.commands.rair.documents import Documents, document_options
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.manifest import write_manifest


@click.command(cls=Command)
@run_options("rair compare")
@click.argument("runs", nargs=-1, required=True, metavar="A B [C]...")
@gold_options
@document_options("comparison", "; of more than two runs a list of them under `comparisons`")
@options_of(
    Section.OUTPUT,
    click.option("--flips", metavar="FILE", help="Write the pairs that only one of two runs has right (JSONL); of more than two runs with `run`, its number after A."),
)
@click.option("--changes", type=click.IntRange(min=0), default=12, help="Pairs that only one of two runs has right to describe on the page.")
def cli(run: Run, runs: tuple[str, ...], gold: Gold, documents: Documents, flips: str | None, changes: int) -> int:
    """Compare runs on the same pairs: differences from the first, A, with paired intervals and a permutation test, clustered by query.

    p is corrected for the number of slices and runs (Holm) where it says so. McNemar's test counts the pairs that only one run has right, as if
    pairs of one query were independent: with many pairs a query trust the permutation test.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge lexical:examples/pairs.jsonl -o /tmp/a.jsonl --force
      $ lore-rair run examples/pairs.jsonl --judge rulebook: -o /tmp/b.jsonl --force
      $ lore-rair compare /tmp/a.jsonl /tmp/b.jsonl --gold examples/pairs.jsonl --flips /tmp/flips.jsonl --html /tmp/changed.html --force
    """
    errors.require("scipy", "report")
    from lore_cli.rair.compare import comparisons
    from lore_cli.rair.failures import Changes
    from lore_cli.rair.markdown import comparison_markdown
    from lore_cli.rair.page import comparison_page
    from lore_cli.rair.terminal import show_comparison, stdout

    documents.refuse_existing(flips)
    if len(runs) < 2 or runs.count("-") > 1:
        raise errors.UsageError("two runs or more are compared, one of them from standard input at most", hint="lore-rair compare A.jsonl B.jsonl --gold PAIRS")
    flipped: list[dict[str, Any]] = []
    changed = [Changes(changes) for _ in runs[1:]]
    tallies = filled(runs, gold, flipped, changed)
    found = comparisons(tallies, gold.draws, run.seed)
    for document, change in zip(found, changed, strict=True):
        document |= change.document(tallies[0].rulebook, gold.folder, documents.beside)
        if not documents.on_stdout:
            show_comparison(document, stdout())
    if flips:
        with stream.open_output(flips, force=documents.force) as writer:
            for row in flipped:
                writer.write(row)
    whole = found[0] if len(found) == 1 else {"comparisons": found}
    documents.write(whole, lambda: comparison_page(found, documents.beside), lambda: comparison_markdown(found))
    for path in (*documents.files, flips):
        counts = {"pairs": len(tallies[0].cell), "flips": len(flipped)}
        write_manifest(path, command=run.name, inputs=[s for s in runs if s != "-"] + gold.files(), settings=run.settings, counts=counts)
    return errors.EXIT_DONE
