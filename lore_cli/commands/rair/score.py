"""lore-rair score: verdicts against graded pairs, with intervals."""

from __future__ import annotations

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Run, input_options, run_options
from lore_cli.commands.gold import Gold, gold_options, refusing
from lore_cli.commands.rair.documents import Documents, document_options
from lore_cli.commands.sections import Command
from lore_cli.manifest import write_manifest
from lore_cli.records import Verdict


@click.command(cls=Command)
@run_options("rair score")
@input_options
@gold_options
@document_options("report")
@click.option("--failures", type=click.IntRange(min=0), default=12, help="Wrong verdicts to describe in the report.")
@click.option("--ranking", metavar="FILE", help="Also measure a ranking: rows of query, item_id and rank (1 is the top) or score.")
@click.option("--depth", type=click.IntRange(min=1), default=10, help="Places of the ranking that count: the k of nDCG@k.")
def cli(
    inputs: Inputs, run: Run, gold: Gold, documents: Documents, failures: int, ranking: str | None, depth: int
) -> int:  # fmt: skip
    """Score verdicts: Acc@2, Macro-F1 and more, per subset, criterion and tier, with 95 % intervals.

    An error is never a grade: metrics are over judged pairs, coverage stands beside them, and the variants ending in _all count an unjudged pair
    as not right. Intervals: BCa bootstrap over queries, beside them the delta method's for Macro-F1. Slices are tested against the other rows, with
    Holm's correction for their number. Memory: some 100 bytes a verdict, whatever it holds; with --ranking the gold pairs' items, too.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge rulebook: --quiet | lore-rair score - --gold examples/pairs.jsonl
      $ lore-rair run examples/pairs.jsonl --judge rulebook: -o /tmp/verdicts.jsonl --force
      $ echo '{"query": "lipstick 4 pack for bridal", "item_id": "i02861", "rank": 1}' > /tmp/ranking.jsonl
      $ lore-rair score /tmp/verdicts.jsonl --gold examples/pairs.jsonl --ranking /tmp/ranking.jsonl --json /tmp/report.json --force
    """
    for package in ("scipy", *(["ir_measures"] if ranking else [])):
        errors.require(package, "report")
    from lore_cli.rair import report as reporting
    from lore_cli.rair.failures import Failures
    from lore_cli.rair.join import joined
    from lore_cli.rair.markdown import score_markdown
    from lore_cli.rair.page import score_page
    from lore_cli.rair.ranking import Ranked, gains, ranked, ranking_document
    from lore_cli.rair.tally import Tally
    from lore_cli.rair.terminal import show_report, stdout
    from lore_cli.rair.tradeoff import run_cost

    documents.refuse_existing()
    book = gold.rulebook(inputs.sources)
    settings = reporting.Settings(gold.draws, run.seed, gold.partial, failures, gold.folder, documents.beside)
    tally, wrong = Tally(book, gold.fields), Failures(failures)
    reporting.collect(joined(gold.pairs(), run.log.track(inputs.read(Verdict), "verdicts"), refusing(inputs)), tally, wrong, gold.partial)
    document = reporting.report(tally, wrong, gold.named(), settings)
    document["cost"] = run_cost(inputs.sources)
    if ranking:
        document["ranking"] = ranking_document(gains(gold.pairs()), ranked(stream.read(Ranked, (ranking,))), depth, gold.draws, run.seed)
    if not documents.on_stdout:
        show_report(document, stdout())
    documents.write(document, lambda: score_page(document, documents.beside), lambda: score_markdown(document))
    counts = {"pairs": len(tally.cell), "queries": len(tally.queries), **document["unjudged"], "bad_rows": inputs.rejects.count}
    for path in documents.files:
        write_manifest(path, command=run.name, inputs=[s for s in (*inputs.sources, *filter(None, [ranking])) if s != "-"] + gold.files(), settings=run.settings, identity={"rulebook": book.hash}, counts=counts)
    return inputs.exit_code
