"""lore-distill train: from labelled pairs to a student."""

from __future__ import annotations

import shutil
from typing import Any

import click
import msgspec

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Output, Run, input_options, output_options, run_options, theory_options
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.manifest import write_manifest

_WEIGHTS = ("distribution", "ordinal", "margin", "states", "human")
_NEEDED = (("torch", "train"), ("transformers", "train"), ("sentence_transformers", "train"), ("datasets", "train"), ("scipy", "report"), ("sklearn", "report"))


@click.command(cls=Command)
@run_options("distill train")
@input_options
@output_options
@click.option("--model", "base", metavar="ENCODER", help="Encoder to start from: a local directory or hub id.")
@click.option("--from-scratch", type=click.Choice(["tiny", "small"]), help="A new encoder and tokenizer from the rows' own text; tiny without --model.")
@click.option("--architecture", type=click.Choice(["cross", "bi"]), default="cross", help="Query and item are read together, or apart, so that an item's vector can be kept.")
@click.option("--features", type=click.Choice(["path", "text"]), help="Read the expert's path beside the text, or the text alone; path, and of --architecture bi text.")
@theory_options
@options_of(
    Section.LOSS,
    click.option("--preset", type=click.Choice(["lore", "walmart", "mkd"]), default="lore", help="Weights of the losses; those given below count before it."),
    click.option("--distribution-weight", type=click.FloatRange(min=0), help="Weight of the teacher's grade distribution (KL)."),
    click.option("--ordinal-weight", type=click.FloatRange(min=0), help="Weight of the distance on the grade scale (squared earth mover's distance)."),
    click.option("--margin-weight", type=click.FloatRange(min=0), help="Weight of the margins between items of one query."),
    click.option("--states-weight", type=click.FloatRange(min=0), help="Weight of the attribute heads; 0 leaves them out."),
    click.option("--human-weight", type=click.FloatRange(0, 1), help="Share of a human grade in the target, where a row has one."),
)
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), default=8.0, help="Passes over the rows.")
@click.option("--max-seconds", type=click.FloatRange(min=0, min_open=True), help="Train at most so long; the schedule follows the clock.")
@click.option("--batch-size", type=click.IntRange(1), default=64, help="Rows in a step.")
@click.option("--max-length", type=click.IntRange(16, 8192), default=128, help="Tokens of a pair, or of each side of --architecture bi; longer items are cut.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="AdamW's rate; 2e-3 from scratch, 5e-5 from a model and ten times that for its new head.")
@options_of(
    Section.CALIBRATION,
    click.option("--held-out", type=click.FloatRange(0, 0.9), default=0.1, help="Share of queries held out for calibration and the agreement report."),
    click.option("--calibration", type=click.Choice(["temperature", "isotonic"]), default="temperature", help="How scores become probabilities."),
    click.option("--decide", type=click.Choice(["likeliest", "macro-f1"]), default="likeliest", help="The likeliest grade, or rare ones favoured for the best Macro-F1."),
    click.option("--target-error", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Mark answers unsure that are wrong more often; tier:PLAN asks the model."),
)
def cli(
    inputs: Inputs, output: Output, run: Run, base: str | None, from_scratch: str | None, features: str | None, rulebook: str | None,
    knowledge: tuple[str, ...], preset: str, **options: Any,
) -> int:  # fmt: skip
    """Train the student on labelled pairs; writes a directory for student:PATH.

    Reads rows of `lore-distill label` (pairs with a human grade alone do too) and holds them in memory. A row whose teacher failed counts by its human
    grade or not at all. The directory is an ordinary Hugging Face one, with student.json: calibration, and agreement with teacher and humans on
    held-out queries, whole and by grade, criterion, attribute and frequency (`count`).

    \b
    Presets: distribution, ordinal, margin, states, human weight
      lore     1    0  0.3  0.2  0.3   the defaults
      walmart  0.1  0  1    0    0     arXiv 2505.07105: margins between items of one query, teacher labels alone
      mkd      1    0  0    1    0     ELLM-MKD, arXiv 2411.13045: distribution, and attribute heads from the teacher's reasoning

    \b
    Example:
      $ lore-distill train examples/pairs.jsonl --from-scratch tiny --epochs 1 -o /tmp/student --force
    """
    if base and from_scratch:
        raise errors.UsageError("--model and --from-scratch exclude each other")
    if options["architecture"] == "bi" and features == "path":
        raise errors.UsageError("--architecture bi reads query and item apart; their path is known of both together only", hint="leave --features out")
    if output.path is None or stream.is_pipe(output.path):
        raise errors.UsageError("a student is a directory", hint="pass --output student/")
    stream.refuse_existing(output.path, output.force, directory=True)
    from lore_cli.judges import student as judge
    from lore_cli.path.knowledge import load_glossary
    from lore_cli.rulebook import DEFAULT, load_rulebook
    from lore_cli.train.soft import PRESETS, SoftRow, target_of

    loaded = load_rulebook(rulebook)
    reader = judge.Reader(features or ("text" if options["architecture"] == "bi" else "path"), loaded, load_glossary(list(knowledge)))  # type: ignore[arg-type]
    given = {name: options.pop(f"{name}_weight") for name in _WEIGHTS}
    weights = msgspec.structs.replace(PRESETS[preset], **{name: weight for name, weight in given.items() if weight is not None})
    rows = list(inputs.read(SoftRow))
    if all(target_of(row, weights.human) is None for row in rows):
        raise errors.BadInput("no row has a teacher's verdict or a human grade", field="teacher", hint="make them with lore-distill label")
    for package, extra in _NEEDED:
        errors.require(package, extra)

    from lore_cli.train import agreement, distilling

    plan = distilling.Plan(weights=weights, base=base, size=from_scratch or "tiny", **options)
    with stream.output_directory(output.path, force=output.force) as folder:
        info = distilling.distil(rows, reader, plan, folder, run.seed, run.log)
        shutil.copyfile(rulebook or DEFAULT, folder / "rulebook.toml")
        if knowledge:
            (folder / "glossary.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in reader.glossary.rows()))
    counts = {"rows": len(rows), "skipped": info.report["rows"]["skipped"], "bad_rows": inputs.rejects.count}
    identity = {"rulebook": loaded.hash, "glossary": reader.glossary.hash, "features": reader.features, **{f"teacher.{name}": value for name, value in info.teacher.items()}}
    write_manifest(output.path, command=run.name, inputs=[s for s in inputs.sources if s != "-"], settings=run.settings, identity=identity, counts=counts)
    for line in agreement.table(info.report["agreement"]).splitlines():
        run.log.say(line)
    run.log.say(distilling.summary(info), **counts)
    return inputs.exit_code
