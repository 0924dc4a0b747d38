"""lore-synth mine: hard cases from what a judge got wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from lore_cli import errors, stream
from lore_cli.commands.clean import by_grade
from lore_cli.commands.common import Inputs, Output, Run, input_options, knowledge_option, output_options, run_options
from lore_cli.commands.gold import refusing, rulebook_path
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.images import Relocation
from lore_cli.manifest import write_manifest
from lore_cli.records import GRADES, Pair, Verdict
from lore_cli.rulebook import load_rulebook

KINDS = ("negation", "colour", "brand", "unit", "accessory", "compatibility")  # synth.variants.KINDS; a test holds them equal


@click.command("mine", cls=Command)
@run_options("synth mine")
@input_options
@output_options
@click.option("--gold", metavar="FILE", multiple=True, help="Graded pairs that were judged; needed for verdicts, and for the whole items of a report; repeatable.")
@click.option("--kinds", default=",".join(KINDS), help="What may be changed, separated by commas.")
@click.option("--per-failure", type=click.IntRange(min=1), default=4, help="At most so many variants of a pair.")
@options_of(
    Section.CONTAMINATION,
    click.option("--benchmark", metavar="DIR|FILE", multiple=True, help="Make nothing that this benchmark holds, by query or by item; repeatable."),
    click.option("--shared-items", is_flag=True, help="Allow the benchmark's items: only its queries are refused."),
)
@options_of(
    Section.THEORY,
    click.option("--rulebook", metavar="FILE", help="Rulebook that grades the variants; that of the gold's benchmark, else the built-in one without it."),
)
@knowledge_option
def cli(
    inputs: Inputs, output: Output, run: Run, gold: tuple[str, ...], kinds: str, per_failure: int, benchmark: tuple[str, ...], shared_items: bool, knowledge: tuple[str, ...],
    rulebook: str | None,
) -> int:  # fmt: skip
    """Hard cases: contrastive variants of failing pairs, graded by the rulebook, ready for lore-synth.

    FILE is a report of lore-rair score (NAME.json), whose `failures` are taken, or verdicts, whose wrong ones are. One demand of the query is said otherwise:

    \b
    negation       asked for ↔ excluded
    colour         a close one, a kind of it, one that is easily confused
    brand          another brand, so that the item is a substitute; the item's own
    unit           the same amount in another unit; another amount
    accessory      the accessory instead of the product, or the reverse
    compatibility  another thing that it must fit

    The item stays as it is. The grade is what the rulebook implies; where the expert reads the failing pair otherwise than its human grade, or the
    grade would hang on something unknown, nothing is made. `mined` in each row says what was changed. Train on the variants of a benchmark's failures
    only where another benchmark measures, or pass --benchmark. Memory: the failing pairs, and a key for each gold pair.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge lexical:examples/pairs.jsonl -o /tmp/lexical.jsonl --force
      $ lore-synth mine /tmp/lexical.jsonl --gold examples/pairs.jsonl --knowledge examples/glossary.jsonl | lore-synth - --images examples > /tmp/hard.jsonl
    """
    from lore_cli.path.disjoint import load_known, query_key
    from lore_cli.path.knowledge import load_glossary
    from lore_cli.synth.mine import Miner, names_of

    if len(inputs.sources) != 1:
        raise errors.UsageError(f"{len(inputs.sources)} files are given", hint="mine one report or one file of verdicts at a time")
    report = inputs.sources[0].endswith(".json")
    if not report and not gold:
        raise errors.UsageError("verdicts hold no items", hint="pass --gold FILE, the pairs that were judged; or a report (NAME.json) of lore-rair score")
    book, glossary = load_rulebook(rulebook_path(rulebook, gold)), load_glossary(knowledge)
    taken: set[tuple[str, str]] = set()
    failing = list(_of_report(inputs, gold, taken) if report else _of_verdicts(inputs, gold, taken))
    taken.update((query_key(pair.query), pair.item.id) for pair in failing)
    miner = Miner(book, glossary, names_of(failing, book, glossary), _kinds(kinds), per_failure, load_known(benchmark, shared_items=shared_items), run.seed, taken)
    folder = Path(gold[0] if gold else inputs.sources[0]).resolve().parent
    moved = Relocation(folder, folder if stream.is_pipe(output.path) else Path(str(output.path)).resolve().parent)
    with output.open() as writer:
        for pair in run.log.track(failing, "failures"):
            for row in miner.rows(pair):
                writer.write(moved.row(row))
    counts = _counts(miner.made) | {"failures": len(failing), "skipped": dict(miner.skipped.most_common()), "bad_rows": inputs.rejects.count}
    sources = [source for source in (*inputs.sources, *gold, *benchmark, *knowledge) if source != "-"]
    identity = {"rulebook": book.hash, "knowledge": glossary.hash}
    write_manifest(output.path, command=run.name, inputs=sources, settings=run.settings, identity=identity, counts=counts)
    for kind, grades in counts["variants"].items():
        run.log.say(by_grade(kind, grades))
    for reason, count in miner.skipped.most_common():
        run.log.say(f"no variant of {count} failures: {reason}")
    run.log.say(f"{sum(miner.made.values())} variants of {len(failing)} failures", **counts)
    return inputs.exit_code


def _kinds(text: str) -> tuple[str, ...]:
    named = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in named if name not in KINDS]
    if unknown or not named:
        raise errors.UsageError(f"--kinds {text}: {f'{unknown[0]!r} is no kind' if unknown else 'names no kind'}", hint=f"kinds are {', '.join(KINDS)}")
    return tuple(name for name in KINDS if name in named)


def _of_verdicts(inputs: Inputs, gold: tuple[str, ...], taken: set[tuple[str, str]]) -> Iterator[Pair]:
    """The gold pairs whose verdict is another grade; an error is no wrong grade. Every gold pair goes to `taken`."""
    from lore_cli.path.disjoint import query_key
    from lore_cli.rair.join import graded, joined

    if "-" in inputs.sources and "-" in gold:
        raise errors.UsageError("verdicts and --gold cannot both be standard input", hint="give one of them as a file")
    for pair, verdict in joined(graded(gold), inputs.read(Verdict), refusing(inputs)):
        taken.add((query_key(pair.query), pair.item.id))
        if verdict is not None and verdict.grade not in (None, pair.grade):
            yield pair


def _of_report(inputs: Inputs, gold: tuple[str, ...], taken: set[tuple[str, str]]) -> Iterator[Pair]:
    """The failures that a report describes; their gold pairs where --gold is given, else what the report shows of them."""
    from lore_cli.path.disjoint import query_key
    from lore_cli.rair.join import graded
    from lore_cli.rair.report import read_report

    described: list[dict[str, Any]] = read_report(inputs.sources[0])["failures"][: inputs.limit]
    if not gold:
        yield from (stream.check(Pair, {"id": row["id"], "query": row["query"], "item": row["item"], "grade": row["gold"]}) for row in described)
        return
    wanted = {row["id"] for row in described}
    for pair in graded(gold):
        taken.add((query_key(pair.query), pair.item.id))
        if pair.id in wanted:
            wanted.discard(pair.id)
            yield pair
    if wanted:
        raise errors.BadInput(f"failure '{min(wanted)}' is for no pair of --gold", where=inputs.sources[0], field="failures", hint="pass the pairs that the report was scored with")


def _counts(made: Counter[tuple[str, Any]]) -> dict[str, Any]:
    return {"variants": {kind: found for kind in KINDS if (found := {grade: made[kind, grade] for grade in GRADES if made[kind, grade]})}}
