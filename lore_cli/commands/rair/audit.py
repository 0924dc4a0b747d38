"""lore-rair audit: the judge judged."""

from __future__ import annotations

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Run, input_options, run_options
from lore_cli.commands.gold import Gold, gold_options, refusing
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.manifest import write_manifest
from lore_cli.records import Verdict


@click.command(cls=Command)
@run_options("rair audit")
@input_options
@gold_options
@click.option("--variants", metavar="FILE", help="The judge's verdicts on variants of the gold pairs (lore-rair perturb): how often the grade changes.")
@click.option("--unlabelled", metavar="FILE", help="Its verdicts on many pairs like those of --gold: what humans would say of them.")
@options_of(
    Section.OUTPUT,
    click.option("--json", "json_path", metavar="FILE", help="Write what was found as JSON."),
    click.option("--force", is_flag=True, help="Replace an existing output."),
)
def cli(inputs: Inputs, run: Run, gold: Gold, variants: str | None, unlabelled: str | None, json_path: str | None, force: bool) -> int:
    """Judge a judge: its agreement with humans, which way it errs, whether it holds to its grades, and what its verdicts are worth.

    Agreement: kappa, Krippendorff's alpha, bias, by grade too, and self-consistency where verdicts have samples. --variants: how often the grade
    changes when nothing that matters does. --unlabelled: rates of all those pairs, from the judge's verdicts on them and the human grades of --gold, which must
    be drawn from them at random (lore-rair sample; its `inclusion` is heeded), with intervals that hold however wrong the judge is (PPI++). All intervals
    are clustered by query. Memory: the gold pairs' ids and the queries.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge rulebook: -o /tmp/verdicts.jsonl --force
      $ head -12 examples/pairs.jsonl > /tmp/labelled.jsonl
      $ head -12 /tmp/verdicts.jsonl | lore-rair audit - --gold /tmp/labelled.jsonl --unlabelled /tmp/verdicts.jsonl --json /tmp/audit.json --force
    """
    errors.require("scipy", "report")
    from lore_cli.rair.audit import Audit, sections
    from lore_cli.rair.join import joined
    from lore_cli.rair.tally import Tally
    from lore_cli.rair.terminal import show_sections, stdout

    stream.refuse_existing(json_path, force)
    files = [*inputs.sources, *filter(None, (variants, unlabelled))]
    if files.count("-") > 1:
        raise errors.UsageError("only one of the files can be standard input", hint="give the others as files")
    audit = Audit(Tally(gold.rulebook(files), gold.fields))
    for pair, verdict in joined(gold.pairs(), run.log.track(inputs.read(Verdict), "verdicts"), refusing(inputs)):
        audit.add(pair, verdict)
    audit.tally.check(gold.partial)
    if variants:
        audit.add_variants(stream.read(Verdict, (variants,)))
    if unlabelled:
        for verdict in stream.read(Verdict, (unlabelled,)):
            audit.powered.add_unlabelled(verdict)
    document = audit.document(gold.draws, run.seed)
    show_sections(sections(document), stdout())
    if json_path:
        stream.write_json_atomic(json_path, document)
        counts = {"pairs": document["pairs"], "unjudged": document["unjudged"], "bad_rows": inputs.rejects.count}
        write_manifest(json_path, command=run.name, inputs=[s for s in files if s != "-"] + gold.files(), settings=run.settings, counts=counts)
    return inputs.exit_code
