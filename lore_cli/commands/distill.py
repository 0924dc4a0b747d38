"""lore-distill: a small encoder that answers like a large judge.

\b
From pairs to verdicts of the student:
  lore-distill label pairs.jsonl --judge hf:rl/ -o soft.jsonl
  lore-distill train soft.jsonl --from-scratch tiny -o student/
  lore-rair run bench/general.jsonl --judge student:student/ -o verdicts.jsonl

\b
Example:
  $ lore-distill label examples/pairs.jsonl --judge rulebook: | head -3
"""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

import click
import msgspec

from lore_cli import errors, stream
from lore_cli.commands.common import (
    SETTINGS, Inputs, Judging, Output, Run, Verbs, entry, input_options, judge_options, judge_to_output, output_options, resume_options, run_options, version_option,
)
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair, Verdict, row_of


@click.group(cls=Verbs, context_settings=SETTINGS, help=__doc__)
@version_option
def cli() -> None:
    pass


@cli.command()
@run_options("distill label")
@input_options
@output_options
@resume_options
@judge_options()
def label(inputs: Inputs, output: Output, judging: Judging, run: Run) -> int:
    """Let a judge label pairs: each row with `teacher` (grade, scores, matches).

    Scores are always asked for, whether or not --soft is given. Human grades that the rows have stay beside the teacher's.

    \b
    Example:
      $ lore-distill label examples/pairs.jsonl --judge rulebook: -o /tmp/soft.jsonl --force
    """
    soft = dataclasses.replace(judging, options={**judging.options, "soft": True, "samples": 0})
    return judge_to_output(inputs, output, soft, run, labelled)


def labelled(pair: Pair, verdict: Verdict) -> dict[str, Any]:
    """The pair's row with what the teacher said of it."""
    said = row_of(verdict)
    return {**row_of(pair), "teacher": {name: said[name] for name in ("grade", "scores", "matches", "rules", "judge", "error") if said.get(name) is not None}}


@cli.command()
@run_options("distill train")
@input_options
@output_options
@click.option("--model", metavar="ENCODER", help="Encoder to start from: a local directory or hub id.")
@click.option("--from-scratch", type=click.Choice(["tiny", "small"]), help="A new encoder and tokenizer from the rows' own text; tiny without --model.")
@click.option("--features", type=click.Choice(["path", "text"]), default="path", help="Read the deterministic expert's path beside the text, or the text alone.")
@click.option("--rulebook", metavar="FILE", help="Rulebook (TOML) of the path; the built-in one without it.")
@click.option("--knowledge", metavar="FILE", multiple=True, help="Glossary and taxonomy rows of the shop (JSONL) for the path; repeatable.")
@click.option("--distribution-weight", type=click.FloatRange(min=0), default=1.0, help="Weight of the teacher's grade distribution (KL).")
@click.option("--margin-weight", type=click.FloatRange(min=0), default=0.3, help="Weight of the margins between items of one query.")
@click.option("--states-weight", type=click.FloatRange(min=0), default=0.2, help="Weight of the attribute heads; 0 leaves them out.")
@click.option("--human-weight", type=click.FloatRange(0, 1), default=0.3, help="Share of a human grade in the target, where a row has one.")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), default=8.0, help="Passes over the rows.")
@click.option("--max-seconds", type=click.FloatRange(min=0, min_open=True), help="Train at most so long; the schedule follows the clock.")
@click.option("--batch-size", type=click.IntRange(1), default=64, help="Rows in a step.")
@click.option("--max-length", type=click.IntRange(16, 8192), default=128, help="Tokens of a pair; longer items are cut.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="AdamW's rate; 2e-3 from scratch, 5e-5 from a model.")
@click.option("--held-out", type=click.FloatRange(0, 0.9), default=0.1, help="Share of queries held out for calibration and the agreement report.")
def train(inputs: Inputs, output: Output, run: Run, model: str | None, from_scratch: str | None, features: str, rulebook: str | None, knowledge: tuple[str, ...], **options: Any) -> int:
    """Train the student on labelled pairs; writes a directory for student:PATH.

    Reads rows of `lore-distill label` (pairs with a human grade alone do too) and holds them in memory. The directory is an ordinary Hugging Face
    one, with student.json: temperature, and agreement with teacher and humans on held-out queries.

    \b
    Example:
      $ lore-distill train examples/pairs.jsonl --from-scratch tiny --epochs 1 -o /tmp/student --force
    """
    if model and from_scratch:
        raise errors.UsageError("--model and --from-scratch exclude each other")
    if output.path is None or stream.is_pipe(output.path):
        raise errors.UsageError("a student is a directory", hint="pass --output student/")
    stream.refuse_existing(output.path, output.force, directory=True)
    from lore_cli.judges import student as judge
    from lore_cli.rulebook import DEFAULT, load_rulebook
    from lore_cli.path.knowledge import load_glossary
    from lore_cli.train.soft import SoftRow, target_of

    loaded = load_rulebook(rulebook)
    reader = judge.Reader(features, loaded, load_glossary(list(knowledge)))  # type: ignore[arg-type]
    rows = list(inputs.read(SoftRow))
    if all(target_of(row, options["human_weight"]) is None for row in rows):
        raise errors.BadInput("no row has a teacher's verdict or a human grade", field="teacher", hint="make them with lore-distill label")
    for package, extra in (("torch", "train"), ("transformers", "train"), ("scipy", "report"), ("sklearn", "report")):
        errors.require(package, extra)

    from lore_cli.train import distill, distilling

    weights = distill.Weights(options["distribution_weight"], options["margin_weight"], options["states_weight"], options["human_weight"])
    made = distilling.distil(rows, reader, weights, model, from_scratch or "tiny", options, run.seed, run.log)
    with stream.output_directory(output.path, force=output.force) as folder:
        distilling.save(made, folder)
        shutil.copyfile(rulebook or DEFAULT, folder / "rulebook.toml")
        if knowledge:
            (folder / "glossary.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in reader.glossary.rows()))
    report = made.info.report
    counts = {"rows": len(rows), "skipped": report["rows"]["skipped"], "bad_rows": inputs.rejects.count}
    identity = {"rulebook": loaded.hash, "glossary": reader.glossary.hash, "features": features, **{f"teacher.{name}": value for name, value in made.info.teacher.items()}}
    write_manifest(output.path, command=run.name, inputs=[s for s in inputs.sources if s != "-"], settings=run.settings, identity=identity, counts=counts)
    run.log.say(distilling.summary(made.info), **counts)
    return errors.EXIT_PARTIAL if inputs.rejects.count else errors.EXIT_DONE


main = entry(cli, "lore-distill")
if __name__ == "__main__":
    main()
