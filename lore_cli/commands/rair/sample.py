"""lore-rair sample: which pairs humans should label."""

from __future__ import annotations

from pathlib import Path

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Output, Run, input_options, output_options, run_options
from lore_cli.commands.sections import Command
from lore_cli.images import Relocation
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair, row_of


@click.command(cls=Command)
@run_options("rair sample")
@input_options
@output_options
@click.option("--size", type=click.IntRange(min=1), required=True, help="Pairs to label.")
@click.option("--by", metavar="FIELD", multiple=True, help="Stratify by this field of the rows or their items; repeatable.")
@click.option("--verdicts", metavar="FILE", multiple=True, help="A judge's verdicts: strata by the grade given too, most labels where it is in doubt; repeatable.")
@click.option("--pilot", metavar="FILE", multiple=True, help="Graded pairs that have verdicts: label most where the judge was wrong on them; repeatable.")
@click.option("--least", type=click.IntRange(min=0), default=2, help="Labels that every stratum gets, where it has so many rows.")
def cli(inputs: Inputs, output: Output, run: Run, size: int, by: tuple[str, ...], verdicts: tuple[str, ...], pilot: tuple[str, ...], least: int) -> int:
    """Draw the pairs that humans should label: a stratified random sample with optimal (Neyman) allocation.

    The more rows a stratum has and the less sure it is whether the judge is right on them, the more labels it gets. With neither --verdicts nor
    --pilot every stratum gets its share of the rows. Each row drawn carries `stratum` and `inclusion`, its probability to be drawn (in a sample of a sample, by
    both draws): means over the sample, weighted by 1 / inclusion, estimate those over all rows. The manifest has a table of the strata. Order is kept, and the
    same rows are drawn from any order. Memory: about 100 bytes a row, 200 more with --verdicts; rows wait in a temporary file.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge lexical:examples/pairs.jsonl --soft --quiet > /tmp/judged.jsonl
      $ lore-rair sample examples/pairs.jsonl --size 20 --verdicts /tmp/judged.jsonl -o /tmp/to-label.jsonl --force
      $ lore-rair sheet export /tmp/to-label.jsonl -o /tmp/sheet.csv --force
    """
    from lore_cli.rair.bench import Aside
    from lore_cli.rair.join import graded
    from lore_cli.rair.sampling import Frame, inclusion_of, read_given

    stream.refuse_existing(output.path, output.replaces)
    if pilot and not verdicts:
        raise errors.UsageError("--pilot needs --verdicts: its grades are held against them", hint="judge the pilot with lore-rair run")
    frame = Frame(by, read_given(verdicts) if verdicts else None, run.seed)
    aside = Aside()
    for pair in run.log.track(inputs.read(Pair), "pairs"):
        frame.add(pair)
        aside.put(pair)
    if pilot:
        frame.pilot(graded(pilot))
    chosen = frame.draw(size, least)
    moved = Relocation(inputs.folder, inputs.folder if stream.is_pipe(output.path) else Path(str(output.path)).resolve().parent)
    with output.open() as writer:
        for number, pair in enumerate(aside.pairs()):
            if number in chosen:
                name, row = frame.stratum_of(pair), moved.row(row_of(pair))
                writer.write(row | {"stratum": name, "inclusion": frame.strata[name].inclusion * inclusion_of(pair)})
    counts = {"written": writer.count, "failed": 0, "bad_rows": inputs.rejects.count, "strata": {name: stratum.document() for name, stratum in sorted(frame.strata.items())}}
    write_manifest(output.path, command=run.name, inputs=[s for s in (*inputs.sources, *verdicts, *pilot) if s != "-"], settings=run.settings, counts=counts)
    for name, stratum in sorted(frame.strata.items()):
        run.log.say(f"{name}: {stratum.drawn} of {stratum.rows} pairs")
    run.log.say(f"{writer.count} of {aside.count} pairs to label", written=writer.count)
    return inputs.end(run.log)
