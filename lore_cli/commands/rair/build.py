"""lore-rair build: a benchmark from graded pairs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Run, input_options, knowledge_option, run_options
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.images import Relocation
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair, row_of


@click.command(cls=Command)
@run_options("rair build")
@input_options
@options_of(
    Section.OUTPUT,
    click.option("-o", "--output", metavar="DIR", required=True, help="Benchmark directory; appears whole or not at all."),
    click.option("--rest", metavar="FILE", help="Write the other rows, for training: none has a held-out query."),
    click.option("--held-out", metavar="FILE", help="Write every graded pair that is held out, more than the subsets take: gold for lore-tier replay."),
    click.option("--force", is_flag=True, help="Replace an existing benchmark."),
)
@click.option("--where", metavar="FIELD=VALUE", multiple=True, help="Hold out the rows with this value; repeatable, all must hold. Without it: --share.")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=0.2, help="Share of the queries to hold out, told by a hash of the normalised query.")
@options_of(
    Section.CONTAMINATION,
    click.option("--train", metavar="FILE", multiple=True, help="Training rows elsewhere: no pair with one of their queries or items is held out; repeatable."),
    click.option("--shared-items", is_flag=True, help="Allow items of --train: only its queries count."),
)
@click.option("--general", type=click.IntRange(min=0), default=1000, help="Pairs of the General subset.")
@click.option("--hard", type=click.IntRange(min=0), default=600, help="Pairs of the Hard subset.")
@click.option("--visual", type=click.IntRange(min=0), default=400, help="Pairs of the Visual subset.")
@click.option("--per-query", type=click.IntRange(min=0), default=4, help="At most so many pairs of a query; 0: all of them.")
@click.option("--log", metavar="FILE", multiple=True, help="Query log (query, count) to tell the tail by; the pairs' counts without it.")
@options_of(Section.THEORY, click.option("--rulebook", metavar="FILE", help="Rulebook (TOML), copied into the benchmark; the built-in one without it."))
@knowledge_option
@click.option("--licence", metavar="TEXT", help="Licence of the pairs, for the card.")
def cli(
    inputs: Inputs, run: Run, output: str, where: tuple[str, ...], share: float, rest: str | None, held_out: str | None, train: tuple[str, ...], shared_items: bool, general: int,
    hard: int, visual: int, per_query: int, log: tuple[str, ...], knowledge: tuple[str, ...], rulebook: str | None, licence: str | None, force: bool,
) -> int:  # fmt: skip
    """Build a benchmark from graded pairs: general, hard, visual and all.jsonl, the rulebook, and a card.

    General: categories in turn. Hard: stated criteria (negation, units, price, glossary, unlisted, many-needs, script, tail, baseline).
    Visual: the grade depends on what only the image shows, as its caption tells. card.json says what was taken from where and how. Memory: the held-out pairs.

    What --rest holds shares no query with the benchmark; the card counts the items that it nearly shares (`lore-synth clean --benchmark` takes them out).
    Of what training has elsewhere (--train), neither queries nor items are held out.

    \b
    Example:
      $ lore-rair build examples/pairs.jsonl --share 0.5 --rest /tmp/train.jsonl -o /tmp/bench --force
    """
    errors.require("sklearn", "report")
    from lore_cli.path.disjoint import load_known
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
    held, trained = bench.uncontaminated(held, load_known(train, shared_items=shared_items))
    chosen = building.choose(held, aside.pairs(building.BASELINE_PAIRS), bench.asked_counts(log), book, glossary, policy)
    moved, moved_rest, moved_held = (Relocation(inputs.folder, Path(path).resolve()) for path in (output, Path(rest or ".").parent, Path(held_out or ".").parent))
    with stream.output_directory(output, force=force) as folder:
        with stream.open_output(rest, force=force) if rest else contextlib.nullcontext() as writer:
            left = bench.write_rest(aside, held, chosen, writer, moved_rest)
        if held_out:
            with stream.open_output(held_out, force=force) as writer:
                for pair in held:
                    writer.write(moved_held.row(row_of(pair)))
        files = bench.write_bench(folder, chosen, rulebook, moved)
        elsewhere = {"files": bench.named(train), "shared_items_allowed": shared_items, "left_out": trained} if train else None
        card = bench.card(chosen, policy, left, len(held), elsewhere, inputs.sources, book, glossary, files, licence)
        stream.write_json_atomic(folder / "card.json", card)
    counts = {name: entry["pairs"] for name, entry in card["subsets"].items()}
    counts |= {"rest": left.rows, "left_out": left.left_out, "trained_elsewhere": sum(trained.values()), "bad_rows": inputs.rejects.count}
    sources = [s for s in (*inputs.sources, *train, *log, *knowledge) if s != "-"]
    for path in (rest, held_out, output):
        write_manifest(path, command=run.name, inputs=sources, settings=run.settings, identity={"rulebook": book.hash, "knowledge": glossary.hash}, counts=counts)
    notes = [f"{name}: {note}" for name, note in chosen.notes.items()]
    if train:
        notes.append(f"not held out because --train has them: {trained['query']} pairs by their query, {trained['item']} by their item")
    if moved.missing:
        notes.append(f"{moved.missing} images are not where their rows say; those paths were left as they are")
    for note in notes:
        run.log.say(note)
    run.log.say(", ".join(f"{name} {entry['pairs']} pairs of {entry['queries']} queries" for name, entry in card["subsets"].items()) + f"; {left.rows} pairs for training, {left.left_out} left out for a held-out query", **counts)
    return inputs.exit_code
