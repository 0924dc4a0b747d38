"""lore-rair: build a benchmark, run a judge on it, score the verdicts, compare runs, gate a release, put systems on a board."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from lore_cli import errors, stream
from lore_cli.commands.common import SETTINGS, Inputs, Judging, Output, Run, Verbs, entry, input_options, judge_options, judge_to_output, output_options, resume_options, run_options, version_option
from lore_cli.commands.gold import Gold, check_benchmarks, gold_options, refusing, rulebook_path
from lore_cli.images import Relocation
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair, Verdict, row_of


@click.group(cls=Verbs, context_settings=SETTINGS)
@version_option
def cli() -> None:
    """RAIR: a relevance benchmark with capabilities, intervals clustered by query, and gates."""


@cli.command()
@run_options("rair build")
@input_options
@click.option("-o", "--output", metavar="DIR", required=True, help="Benchmark directory; appears whole or not at all.")
@click.option("--where", metavar="FIELD=VALUE", multiple=True, help="Hold out the rows with this value; repeatable, all must hold. Without it: --share.")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=0.2, help="Share of the queries to hold out, told by a hash of the normalised query.")
@click.option("--rest", metavar="FILE", help="Write the other rows, for training: none has a held-out query.")
@click.option("--held-out", metavar="FILE", help="Write every graded pair that is held out, more than the subsets take: gold for lore-tier replay.")
@click.option("--general", type=click.IntRange(min=0), default=1000, help="Pairs of the General subset.")
@click.option("--hard", type=click.IntRange(min=0), default=600, help="Pairs of the Hard subset.")
@click.option("--visual", type=click.IntRange(min=0), default=400, help="Pairs of the Visual subset.")
@click.option("--per-query", type=click.IntRange(min=0), default=4, help="At most so many pairs of a query; 0: all of them.")
@click.option("--log", metavar="FILE", multiple=True, help="Query log (query, count) to tell the tail by; the pairs' counts without it.")
@click.option("--knowledge", metavar="FILE", multiple=True, help="Glossary and taxonomy rows of the shop (JSONL); repeatable.")
@click.option("--rulebook", metavar="FILE", help="Rulebook (TOML), copied into the benchmark; the built-in one without it.")
@click.option("--licence", metavar="TEXT", help="Licence of the pairs, for the card.")
@click.option("--force", is_flag=True, help="Replace an existing benchmark.")
def build(
    inputs: Inputs, run: Run, output: str, where: tuple[str, ...], share: float, rest: str | None, held_out: str | None, general: int, hard: int, visual: int, per_query: int,
    log: tuple[str, ...], knowledge: tuple[str, ...], rulebook: str | None, licence: str | None, force: bool,
) -> int:  # fmt: skip
    """Build a benchmark from graded pairs: general, hard, visual and all.jsonl, the rulebook, and a card.

    General: categories in turn. Hard: stated criteria (negation, units, price, glossary, unlisted, many-needs, script, tail, baseline).
    Visual: the grade depends on what only the image shows, as its caption tells. card.json says what was taken from where and how. Memory: the held-out pairs.

    \b
    Example:
      $ lore-rair build examples/pairs.jsonl --share 0.5 --rest /tmp/train.jsonl -o /tmp/bench --force
    """
    errors.require("sklearn", "report")
    from lore_cli.path.knowledge import load_glossary
    from lore_cli.rair import bench
    from lore_cli.rair import build as building
    from lore_cli.rulebook import load_rulebook

    book, glossary = load_rulebook(rulebook), load_glossary(knowledge)
    policy = building.Policy(bench.read_where(where), share, {"general": general, "hard": hard, "visual": visual}, per_query, run.seed)
    stream.refuse_existing(output, force, directory=True)
    for path in (rest, held_out):
        stream.refuse_existing(path, force)
    aside = bench.Aside()
    held = building.held_out(run.log.track(inputs.read(Pair), "pairs"), policy, aside.put)
    chosen = building.choose(held, aside.pairs(building.BASELINE_PAIRS), bench.asked_counts(log), book, glossary, policy)
    moved, moved_rest, moved_held = (Relocation(inputs.folder, Path(path).resolve()) for path in (output, Path(rest or ".").parent, Path(held_out or ".").parent))
    with stream.output_directory(output, force=force) as folder:
        with stream.open_output(rest, force=force) if rest else contextlib.nullcontext() as writer:
            left = bench.write_rest(aside, held, writer, moved_rest)
        if held_out:
            with stream.open_output(held_out, force=force) as writer:
                for pair in held:
                    writer.write(moved_held.row(row_of(pair)))
        files = bench.write_bench(folder, chosen, rulebook, moved)
        items = {row.pair.item.id for rows in chosen.subsets.values() for row in rows}
        card = bench.card(chosen, policy, left, len(held), inputs.sources, book, glossary, files, licence, items)
        stream.write_json_atomic(folder / "card.json", card)
    counts = {name: entry["pairs"] for name, entry in card["subsets"].items()} | {"rest": left.rows, "left_out": left.left_out, "bad_rows": inputs.rejects.count}
    sources = [s for s in (*inputs.sources, *log, *knowledge) if s != "-"]
    for path in (rest, held_out, output):
        write_manifest(path, command=run.name, inputs=sources, settings=run.settings, identity={"rulebook": book.hash, "knowledge": glossary.hash}, counts=counts)
    for name, note in chosen.notes.items():
        run.log.say(f"{name}: {note}")
    if moved.missing:
        run.log.say(f"{moved.missing} images are not where their rows say; those paths were left as they are")
    run.log.say(", ".join(f"{name} {entry['pairs']} pairs of {entry['queries']} queries" for name, entry in card["subsets"].items()) + f"; {left.rows} pairs for training, {left.left_out} left out for a held-out query", **counts)
    return errors.EXIT_PARTIAL if inputs.rejects.count else errors.EXIT_DONE


@cli.command()
@run_options("rair run")
@input_options
@output_options
@resume_options
@judge_options()
def run(inputs: Inputs, output: Output, judging: Judging, run: Run) -> int:
    """Judge a benchmark, or any pairs: one verdict per pair, in order.

    A benchmark's own rulebook is used unless --rulebook is given; a file that was edited after the build is refused. Bounded memory.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge rulebook: -o /tmp/verdicts.jsonl --force
    """
    judging = dataclasses.replace(judging, rulebook_path=rulebook_path(judging.rulebook_path, inputs.sources))
    check_benchmarks(inputs.sources, judging.settings.rulebook)
    return judge_to_output(inputs, output, judging, run)


@cli.command()
@run_options("rair score")
@input_options
@gold_options
@click.option("--json", "json_path", metavar="FILE", help="Write the report as JSON; - is standard output instead of the table.")
@click.option("--html", "html_path", metavar="FILE", help="Write the report as one self-contained page.")
@click.option("--failures", type=click.IntRange(min=0), default=12, help="Wrong verdicts to describe in the report.")
@click.option("--force", is_flag=True, help="Replace existing outputs.")
def score(inputs: Inputs, run: Run, gold: Gold, json_path: str | None, html_path: str | None, failures: int, force: bool) -> int:
    """Score verdicts: Acc@2, Macro-F1 and more, per subset, criterion and tier, with 95 % intervals.

    An error is never a grade: metrics are over judged pairs, coverage stands beside them, and the variants ending in _all count an unjudged pair
    as not right. Intervals: BCa bootstrap over queries. Memory: about 80 bytes a verdict, whatever it holds.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge rulebook: --quiet | lore-rair score - --gold examples/pairs.jsonl
    """
    errors.require("scipy", "report")
    from lore_cli.rair import report as reporting
    from lore_cli.rair.failures import Failures
    from lore_cli.rair.join import joined
    from lore_cli.rair.page import score_page
    from lore_cli.rair.tally import Tally
    from lore_cli.rair.terminal import show_report, stdout

    for path in (json_path, html_path):
        stream.refuse_existing(path, force)
    book = gold.rulebook(inputs.sources)
    written = next((path for path in (json_path, html_path) if path not in (None, "-")), None)
    beside = Path(written).resolve().parent if written else Path.cwd()
    settings = reporting.Settings(gold.draws, run.seed, gold.partial, failures, Path(gold.sources[0]).resolve().parent, beside)
    tally, wrong = Tally(book, gold.fields), Failures(failures)
    reporting.collect(joined(gold.pairs(), run.log.track(inputs.read(Verdict), "verdicts"), refusing(inputs)), tally, wrong, gold.partial)
    document = reporting.report(tally, wrong, gold.named(), settings)
    if json_path == "-":
        sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    else:
        show_report(document, stdout())
        if json_path:
            stream.write_json_atomic(json_path, document)
    if html_path:
        stream.write_text_atomic(html_path, score_page(document, beside))
    counts = {"pairs": len(tally.cell), "queries": len(tally.queries), **document["unjudged"], "bad_rows": inputs.rejects.count}
    for path in (json_path, html_path):
        write_manifest(path, command=run.name, inputs=[s for s in inputs.sources if s != "-"] + gold.files(), settings=run.settings, identity={"rulebook": book.hash}, counts=counts)
    return errors.EXIT_PARTIAL if inputs.rejects.count else errors.EXIT_DONE


@cli.command()
@run_options("rair compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@gold_options
@click.option("--json", "json_path", metavar="FILE", help="Write the comparison as JSON.")
@click.option("--flips", metavar="FILE", help="Write the pairs that only one of the runs has right (JSONL).")
@click.option("--force", is_flag=True, help="Replace existing outputs.")
def compare(run: Run, a: str, b: str, gold: Gold, json_path: str | None, flips: str | None, force: bool) -> int:
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
        if sum(tally.missing) and not gold.partial:
            raise errors.BadInput(f"{sum(tally.missing)} of {len(tally.cell)} gold pairs have no verdict", where=path, field="id", hint="finish the run, or pass --partial")
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


@cli.command()
@run_options("rair gate")
@click.argument("report", metavar="REPORT")
@click.option("--require", "requirements", metavar="REQUIREMENT", multiple=True, required=True, help="[SLICE:]METRIC[.lo|.hi]>=NUMBER; SLICE is a subset, field=value or *; repeatable.")
def gate(run: Run, report: str, requirements: tuple[str, ...]) -> int:
    """Exit 1, naming the slices, when a report does not meet its requirements. What is not measured does not meet them.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge rulebook: --quiet | lore-rair score - --gold examples/pairs.jsonl --json /tmp/report.json --force
      $ lore-rair gate /tmp/report.json --require 'coverage>=0.99' --require 'acc2.hi>=0.1'
    """
    from lore_cli.rair.gate import read_requirement, unmet
    from lore_cli.rair.report import read_report

    document = read_report(report)
    wanted = [read_requirement(text) for text in requirements]
    failing = unmet(document, wanted)
    for line in failing:
        click.echo(f"{run.name}: not met: {line}", err=True)
    if not failing:
        run.log.say(f"{len(wanted)} requirements met")
    return errors.EXIT_GATE if failing else errors.EXIT_DONE


@cli.command()
@run_options("rair board")
@click.argument("reports", nargs=-1, required=True, metavar="NAME=REPORT.json...")
@click.option("--tier", "replay", metavar="FILE", help="Report of lore-tier replay: adds traffic per tier, cache, GoodRate and cost.")
@click.option("--synth", "manifest", metavar="FILE", help="Manifest of traces (TRACES.manifest.json): adds the teacher's agreement and what was rejected.")
@click.option("--title", "heading", default="Relevance board", help="Heading.")
@click.option("--note", default="", help="A line under the heading, for example that the data is simulated.")
@click.option("--html", "html_path", metavar="FILE", help="Write the board as one self-contained page; with --quiet no table is printed.")
@click.option("--force", is_flag=True, help="Replace an existing page.")
def board(run: Run, reports: tuple[str, ...], replay: str | None, manifest: str | None, heading: str, note: str, html_path: str | None, force: bool) -> int:
    """Put reports of several systems side by side, a block per subset, in the order given.

    Reports that were scored with different gold pairs or rulebooks are refused.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge lexical:examples/pairs.jsonl --quiet | lore-rair score - --gold examples/pairs.jsonl --json /tmp/lexical.json --force
      $ lore-rair run examples/pairs.jsonl --judge rulebook: --quiet | lore-rair score - --gold examples/pairs.jsonl --json /tmp/rulebook.json --force
      $ lore-rair board lexical=/tmp/lexical.json rulebook=/tmp/rulebook.json --title 'Two judges' --html /tmp/board.html --force
    """
    from lore_cli.rair import board as boards
    from lore_cli.rair import sections
    from lore_cli.rair.page import board_page
    from lore_cli.rair.terminal import show_board, stdout

    stream.refuse_existing(html_path, force)
    systems = boards.read_systems(reports)
    synthesis = sections.synthesis_sections(sections.read_synthesis(manifest)) if manifest else []
    tiers = sections.tier_sections(sections.read_replay(replay)) if replay else []
    made = boards.board(systems, heading, note, synthesis, tiers)
    if not (html_path and run.log.quiet):
        show_board(made, stdout())
    if html_path:
        stream.write_text_atomic(html_path, board_page(made))
        sources = [*(system.path for system in systems), *(path for path in (replay, manifest) if path)]
        write_manifest(html_path, command=run.name, inputs=sources, settings=run.settings, counts={"systems": len(systems)})
    return errors.EXIT_DONE


main = entry(cli, "lore-rair")
if __name__ == "__main__":
    main()
