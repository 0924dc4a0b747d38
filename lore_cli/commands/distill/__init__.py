"""lore-distill: a small encoder that answers like a large judge."""

from __future__ import annotations

import click

from lore_cli.commands.common import version_option
from lore_cli.commands.ending import entry
from lore_cli.commands.verbs import Verb, Verbs

VERBS: dict[str, Verb] = {
    "label": Verb("distill.label", "A judge labels pairs: what the student is to learn."),
    "train": Verb("distill.train", "Train the student on labelled pairs."),
    "export": Verb("distill.export", "Write the student as ONNX, fp32 or int8."),
}


@click.group(cls=Verbs, verbs=VERBS)
@version_option
def cli() -> None:
    """A small encoder that answers like a large judge: label pairs, train the student, export it, judge by it.

    \b
    From pairs to verdicts of the student:
      lore-distill label pairs.jsonl --judge hf:rl/ -o soft.jsonl
      lore-distill train soft.jsonl --from-scratch tiny -o student/
      lore-distill export student/ --pairs pairs.jsonl -o student-onnx/
      lore-rair run bench/general.jsonl --judge student:student-onnx/ -o verdicts.jsonl

    \b
    Example:
      $ lore-distill label examples/pairs.jsonl --judge rulebook: | head -3
    """


main = entry(cli, "lore-distill")
