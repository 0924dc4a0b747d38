"""lore-rair perturb: pairs in other words that mean the same."""

from __future__ import annotations

from pathlib import Path

import click

from lore_cli import stream
from lore_cli.commands.common import Inputs, Output, Run, input_options, output_options, rulebook_option, run_options
from lore_cli.commands.sections import Command
from lore_cli.images import Relocation
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair
from lore_cli.rulebook import Rulebook


@click.command(cls=Command)
@run_options("rair perturb")
@input_options
@output_options
@rulebook_option
def cli(inputs: Inputs, output: Output, run: Run, rulebook: Rulebook) -> int:
    """Write variants of pairs that mean the same, to see whether a judge holds to its grades: lore-rair audit --variants.

    \b
    fields      the attributes in the other order (lore's own prompts always show them in alphabetical order)
    length      a longer description that says no more of the item
    paraphrase  a value of the query by a synonym of the rulebook, or the query in a sentence

    A variant's id is the pair's, `~` and the kind; `of` and `variant` tell both, other fields ride along. Pairs that a kind cannot change have no variant of it.
    Bounded memory.

    \b
    Example:
      $ lore-rair perturb examples/pairs.jsonl -o /tmp/variants.jsonl --force
      $ lore-rair run /tmp/variants.jsonl --judge rulebook: -o /tmp/on-variants.jsonl --force
      $ lore-rair run examples/pairs.jsonl --judge rulebook: -o /tmp/verdicts.jsonl --force
      $ lore-rair audit /tmp/verdicts.jsonl --gold examples/pairs.jsonl --variants /tmp/on-variants.jsonl
    """
    from lore_cli.rair.perturb import kinds, variants

    stream.refuse_existing(output.path, output.replaces)
    variations = kinds(rulebook)
    written = dict.fromkeys(variations, 0)
    moved = Relocation(inputs.folder, inputs.folder if stream.is_pipe(output.path) else Path(str(output.path)).resolve().parent)
    with output.open() as writer:
        for pair in run.log.track(inputs.read(Pair), "pairs"):
            for row in variants(pair, variations):
                written[row["variant"]] += 1
                writer.write(moved.row(row))
    counts = {**written, "bad_rows": inputs.rejects.count}
    write_manifest(output.path, command=run.name, inputs=[s for s in inputs.sources if s != "-"], settings=run.settings, identity={"rulebook": rulebook.hash}, counts=counts)
    run.log.say(", ".join(f"{kind} {count:,}" for kind, count in written.items()), **counts)
    return inputs.exit_code
