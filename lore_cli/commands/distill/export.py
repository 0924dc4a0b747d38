"""lore-distill export: a student that needs neither torch nor transformers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Output, Run, output_options, run_options
from lore_cli.commands.sections import Command
from lore_cli.manifest import write_manifest
from lore_cli.records import Pair

_NEEDED = (("torch", "train"), ("transformers", "train"), ("onnx", "onnx"), ("onnxruntime", "onnx"))


@click.command(cls=Command)
@run_options("distill export")
@click.argument("student", metavar="STUDENT")
@output_options
@click.option("--precision", type=click.Choice(["int8", "fp32"]), help="Numbers of the exported weights; int8 with --pairs, else fp32.")
@click.option("--pairs", metavar="FILE", help="Pairs on which the export is held against the student: score differences, grade flips, speed.")
@click.option("--sample", type=click.IntRange(min=1), default=2000, help="Of --pairs take so many, chosen by a hash of their content.")
@click.option("--max-flips", type=click.FloatRange(0, 1), default=0.005, help="Share of grades that may differ; with more nothing is written (exit 1).")
def cli(output: Output, run: Run, student: str, precision: str | None, pairs: str | None, sample: int, max_flips: float) -> int:
    """Write a student as an ONNX directory, which student:PATH runs by ONNX Runtime alone.

    int8 halves the time of a pair and more, and flips a grade here and there: it is written only with --pairs to count them on. The table tells of
    the student itself, fp32 and int8 how far scores differ, which share of grades flips, and how fast each is; parity.json in the directory holds it.

    \b
    Example:
      $ lore-distill train examples/pairs.jsonl --from-scratch tiny --epochs 1 -o /tmp/student --force
      $ lore-distill export /tmp/student --pairs examples/pairs.jsonl --max-flips 0.1 -o /tmp/student-onnx --force
    """
    if output.path is None or stream.is_pipe(output.path):
        raise errors.UsageError("a student is a directory", hint="pass --output student-onnx/")
    if precision == "int8" and pairs is None:
        raise errors.UsageError("int8 is held against the student on pairs", hint="pass --pairs FILE, or --precision fp32")
    stream.refuse_existing(output.path, output.force, directory=True)
    rows = stream.sample(stream.read(Pair, [pairs]), sample) if pairs else []
    if pairs and not rows:
        raise errors.BadInput("no pairs", where=pairs, hint="give pairs like those the student will judge")
    for package, extra in _NEEDED:
        errors.require(package, extra)
    from lore_cli.train import export

    chosen: export.Precision = precision or ("int8" if pairs else "fp32")  # type: ignore[assignment]
    with stream.output_directory(output.path, force=output.force) as folder:
        measured = export.export(Path(student), folder, chosen, rows, max_flips)
        stream.write_json_atomic(folder / "parity.json", {"precision": chosen, "pairs": len(rows), "runtimes": [dataclasses.asdict(one) for one in measured]})
    write_manifest(output.path, command=run.name, inputs=[pairs] if pairs else [], settings=run.settings, identity={"student": student}, counts={"pairs": len(rows)})
    for line in export.table(measured):
        run.log.say(line)
    run.log.say(f"{chosen} written to {output.path}" + ("" if pairs else "; without --pairs nothing was held against the student"))
    return errors.EXIT_DONE
