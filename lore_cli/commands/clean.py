"""lore-synth clean: quality gates over pairs and traces."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Output, Run, input_options, output_options, run_options
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.manifest import write_manifest
from lore_cli.records import Trace
from lore_cli.requirement import Requirement, read_requirement

if TYPE_CHECKING:
    from lore_cli.synth.clean import Gates, Summary


@click.command("clean", cls=Command)
@run_options("synth clean")
@input_options
@output_options
@options_of(Section.OUTPUT, click.option("--rejected", metavar="FILE", help="Where refused rows go, with the reason and the id of the row they repeat."))
@click.option("--near", type=click.FloatRange(0, 1), default=0.9, help="Similarity from which items are near-duplicates; 0 keeps near-duplicates.")
@options_of(
    Section.CONTAMINATION,
    click.option("--benchmark", metavar="DIR|FILE", multiple=True, help="Refuse what this benchmark holds, by query and by item; repeatable."),
    click.option("--shared-items", is_flag=True, help="Allow the benchmark's items: only its queries are refused."),
)
@click.option("--min-length", type=click.IntRange(min=0), default=0, help="Shortest prompt and completion (of a pair: query and title).")
@click.option("--max-length", type=click.IntRange(min=1), help="Longest prompt and completion.")
@click.option("--tokenizer", metavar="DIR", help="Count tokens of this model directory (tokenizer.json) instead of characters.")
@click.option("--balance", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Largest share of one grade; rows above it are refused at random.")
@click.option("--require", "requirements", metavar="REQUIREMENT", multiple=True, help="NAME>=NUMBER; NAME is kept, a reason (share of all rows) or a grade (share of the kept); repeatable.")
def cli(
    inputs: Inputs, output: Output, run: Run, rejected: str | None, near: float, benchmark: tuple[str, ...], shared_items: bool, min_length: int, max_length: int | None,
    tokenizer: str | None, balance: float, requirements: tuple[str, ...],
) -> int:  # fmt: skip
    """Quality gates over pairs or traces: what repeats, leaks from a benchmark, or is too short or long is refused.

    \b
    duplicate         the same content under another id
    repeated-id       other content under the same id
    benchmark-query   the query is one of --benchmark: the same words, as lore-rair build tells queries apart
    benchmark-item    the item is nearly one of --benchmark (--shared-items allows it)
    near-duplicate    same query, same grade, and nearly the same item
    too-short, too-long, balance

    Items are nearly the same when their words (title, brand, attributes) have a Jaccard similarity of --near or more; of several rows the first is kept.
    The search is exact. When a requirement is not met the exit code is 1 and an output file is not written; the file of refused rows is.
    Order is kept. Memory: about 100 bytes a row kept; with --balance rows wait in a temporary file until all are counted.

    \b
    Example:
      $ lore-synth clean examples/pairs.jsonl --rejected /tmp/refused.jsonl --require 'kept>=0.9' -o /tmp/clean.jsonl --force
    """
    from lore_cli.path.disjoint import load_known
    from lore_cli.synth.clean import Gates, Summary, text_of

    required = [_requirement(text) for text in requirements]
    stream.refuse_existing(rejected, output.force)
    size = _counter(tokenizer) if tokenizer else len
    gates = Gates(near, load_known(benchmark, near or 1.0, shared_items), min_length, max_length, lambda trace: size(text_of(trace)), balance)
    summary = Summary()
    unmet = _write(inputs, output, run, rejected, gates, summary, required)
    counts = {"rows": summary.document(), "bad_rows": inputs.rejects.count}
    if not unmet:
        write_manifest(output.path, command=run.name, inputs=[s for s in (*inputs.sources, *benchmark) if s != "-"], settings=run.settings, counts=counts)
    for reason, grades in summary.document().items():
        run.log.say(by_grade(reason, grades), reason=reason, grades=grades)
    if unmet:
        raise unmet
    return inputs.exit_code


def by_grade(name: str, grades: Mapping[str, int]) -> str:
    """`near-duplicate: 3 (L1 1, L4 2)`, a line of a summary."""
    return f"{name}: {sum(grades.values())} (" + ", ".join(f"{grade} {count}" for grade, count in grades.items()) + ")"


def _write(inputs: Inputs, output: Output, run: Run, rejected: str | None, gates: Gates, summary: Summary, required: Sequence[Requirement]) -> errors.Unmet | None:
    """Sort the rows into output and refused ones; what was required and not met, in which case the output is not published."""
    from lore_cli.synth.clean import Refused, cleaned

    with stream.open_output(rejected, force=True) if rejected else contextlib.nullcontext() as refused:
        try:
            with output.open() as writer:
                for outcome in run.log.track(cleaned(inputs.read(Trace, unique=False), gates, run.seed)):
                    summary.add(outcome)
                    if not isinstance(outcome, Refused):
                        writer.write(outcome)
                    elif refused is not None:
                        refused.write(outcome.row())
                failing = [f"{one.name} is {summary.share(one.name):.4f}; required {one.text}" for one in required if not one.met(summary.share(one.name))]
                if failing:
                    raise errors.Unmet("not met: " + "; ".join(failing), hint="look at the refused rows (--rejected FILE)")
        except errors.Unmet as problem:
            return problem
    return None


def _requirement(text: str) -> Requirement:
    from lore_cli.synth.clean import MEASURES

    required = read_requirement(text, "write NAME>=NUMBER, for example 'kept>=0.9' or 'L1>=0.1'")
    if required.name not in MEASURES:
        raise errors.UsageError(f"--require '{text}': '{required.name}' is nothing that is measured", hint=f"names: {', '.join(MEASURES)}")
    return required


def _counter(folder: str) -> Callable[[str], int]:
    """How many tokens a text has under the tokenizer of a model directory."""
    tokenizers = errors.require("tokenizers", "train")
    file = Path(folder, "tokenizer.json")
    if not file.is_file():
        raise errors.Missing(f"{file}: no such file", hint="--tokenizer names a model directory")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises Exception itself
        raise errors.BadInput(f"no tokenizer: {error}", where=str(file)) from error
    return lambda text: len(tokenizer.encode(text).ids)
