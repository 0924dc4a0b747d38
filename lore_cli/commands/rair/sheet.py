"""lore-rair sheet: pairs as sheets for human raters, and their ratings read back."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Output, Run, input_options, output_options, run_options
from lore_cli.commands.sections import Section, options_of
from lore_cli.commands.verbs import Verbs
from lore_cli.images import Relocation
from lore_cli.manifest import write_manifest
from lore_cli.rair.sheets import KINDS
from lore_cli.records import Pair, change, row_of

_QUERY_ID = click.option("--query-id", metavar="FIELD", help="Field of the pairs that names the query in qrels; without it the query itself, percent-encoded.")


@click.group(cls=Verbs)
def cli() -> None:
    """Labelling sheets: CSV for raters, Quepid's judgements, TREC qrels."""


@cli.command()
@run_options("rair sheet export")
@input_options
@options_of(
    Section.OUTPUT,
    click.option("-o", "--output", metavar="FILE", help="The sheet; standard output without it."),
    click.option("--force", is_flag=True, help="Replace an existing sheet."),
)
@click.option("--kind", type=click.Choice(KINDS), default="csv", help="csv: for raters. quepid: query,docid,rating. trec: qrels.")
@click.option("--rated", is_flag=True, help="Write the grades that pairs have into a csv sheet too; the other kinds always hold them.")
@_QUERY_ID
def export(inputs: Inputs, run: Run, output: str | None, kind: str, rated: bool, query_id: str | None, force: bool) -> int:
    """A sheet of pairs. A csv sheet shows what a rater needs to see and has an empty column `rating` for L1 to L4.

    It is UTF-8 with a byte order mark, and cells that a spreadsheet would take for formulas begin with an apostrophe: `sheet import` takes both away.
    Quepid and qrels have grades as 0 to 3.

    \b
    Example:
      $ lore-rair sheet export examples/pairs.jsonl --limit 20 -o /tmp/sheet.csv --force
      $ lore-rair sheet export examples/pairs.jsonl --kind trec > /tmp/pairs.qrels
    """
    from lore_cli.rair.sheets import sheet

    stream.refuse_existing(output, force)
    pairs = list(run.log.track(inputs.read(Pair), "pairs"))
    text = sheet(pairs, kind, rated, query_id)
    if output is None or output == "-":
        sys.stdout.buffer.write(text.encode("utf-8"))
    else:
        stream.write_text_atomic(output, text)
        counts = {"written": len(pairs), "bad_rows": inputs.rejects.count}
        write_manifest(output, command=run.name, inputs=[s for s in inputs.sources if s != "-"], settings=run.settings, counts=counts)
    run.log.say(f"{len(pairs)} pairs", written=len(pairs))
    return inputs.exit_code


@cli.command("import")
@run_options("rair sheet import")
@click.argument("sheets", nargs=-1, required=True, metavar="SHEET...")
@click.option("--pairs", metavar="FILE", multiple=True, required=True, help="The pairs that the sheets are about; repeatable.")
@click.option("--adjudicator", metavar="NAME", help="The rater whose grade is taken where the others disagree.")
@_QUERY_ID
@options_of(
    Section.INPUT,
    click.option("--on-bad", type=click.Choice(["fail", "skip"]), default="fail", help="At a line that is no rating: stop (exit 3), or skip it (exit 5)."),
    click.option("--rejects", metavar="FILE", help="Where such lines go, with sheet, line, field and reason."),
)
@output_options
def take(
    run: Run, sheets: tuple[str, ...], pairs: tuple[str, ...], adjudicator: str | None, query_id: str | None, on_bad: str, rejects: str | None, output: Output
) -> int:  # fmt: skip
    """Graded pairs from rated sheets of any kind, which their first line tells. A sheet's name is its rater's, unless a csv sheet has a column `rater`.

    Every pair that somebody rated is written with its `ratings` and how its grade came about (`decided`): single, unanimous, majority (more than half) or
    adjudicated. Without a majority it is open: no grade, exit 5, until an adjudicator has rated it. Agreement is Krippendorff's alpha for ordered grades.
    A line that is blank, off the scale, about no pair or a second rating by the same rater is refused. Memory: a few keys for each pair.

    \b
    Example:
      $ lore-rair sheet export examples/pairs.jsonl --rated -o /tmp/ann.csv --force
      $ lore-rair sheet export examples/pairs.jsonl --kind quepid -o /tmp/ben.csv --force
      $ lore-rair sheet import /tmp/ann.csv /tmp/ben.csv --pairs examples/pairs.jsonl -o /tmp/labelled.jsonl --force
    """
    from lore_cli.rair.agreement import krippendorff_alpha
    from lore_cli.rair.sheets import Labels, Reader

    stream.refuse_existing(output.path, output.replaces)
    stream.refuse_existing(rejects, output.force)
    lines = Inputs(sheets, None, on_bad, stream.Rejects(rejects))
    lines.rejects.start()
    reader, labels = Reader(stream.read(Pair, pairs), query_id), Labels(adjudicator)
    for path in sheets:
        for rating in reader.ratings(_text(path), path, Path(path).stem, lines.refuse):
            labels.add(rating)
    lines.rejects.close()
    if adjudicator and adjudicator not in labels.raters():
        raise errors.UsageError(f"--adjudicator {adjudicator} rated nothing", hint=f"raters are {', '.join(labels.raters()) or 'none'}")
    folder = Path(pairs[0]).resolve().parent
    moved = Relocation(folder, folder if stream.is_pipe(output.path) else Path(str(output.path)).resolve().parent)
    unrated, decided = 0, dict.fromkeys(("single", "unanimous", "majority", "adjudicated", "open"), 0)
    with output.open() as writer:
        for pair in stream.read(Pair, pairs):
            if pair.id not in labels.ratings:
                unrated += 1
                continue
            grade, how = labels.decision(pair.id)
            decided[how] += 1
            writer.write(moved.row(row_of(change(pair, grade=grade))) | {"ratings": labels.ratings[pair.id], "decided": how})
    alpha = krippendorff_alpha(labels.units())
    counts = {"written": writer.count, "decided": decided, "unrated": unrated, "raters": labels.raters(), "alpha": alpha, "bad_rows": lines.rejects.count}
    write_manifest(output.path, command=run.name, inputs=[*sheets, *pairs], settings=run.settings, counts=counts)
    told = [f"{count} {how}" for how, count in decided.items() if count]
    run.log.say(f"{writer.count} pairs by {len(labels.raters())} raters ({', '.join(told)}), {unrated} rated by nobody, {lines.rejects.count} lines refused")
    run.log.say("agreement: no pair has two ratings that could differ" if alpha is None else f"agreement: Krippendorff's alpha {alpha:.3f}")
    return errors.EXIT_PARTIAL if lines.rejects.count or decided["open"] else errors.EXIT_DONE


def _text(path: str) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise errors.Missing(f"{path}: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise errors.BadInput(f"is not UTF-8 text: {error}", where=path, hint="save the sheet as CSV UTF-8") from error
