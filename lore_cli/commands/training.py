"""Options of commands that train a language model: resuming, checkpoints, evaluation on the way."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lore_cli import stream
from lore_cli.commands.sections import Section, options_of
from lore_cli.errors import BadInput, UsageError
from lore_cli.records import Pair, Record

if TYPE_CHECKING:
    from lore_cli.answer import Layout
    from lore_cli.rulebook import Rulebook
    from lore_cli.train.evaluation import HeldOut

_BEST = ("macro_f1", "macro_f1_all", "weighted_f1", "acc2", "acc2_all", "acc4", "acc4_all", "qwk", "adherence")


@dataclass(frozen=True)
class Training:
    """The circumstances of a training run."""

    resume: bool
    save_steps: int | None
    evaluate: str | None
    evaluate_every: int
    best: str | None
    patience: int | None
    report_to: str | None

    @functools.cached_property
    def judged(self) -> list[Pair]:
        """The held-out pairs. Raises `BadInput` for a file without any, and for one without a grade."""
        pairs = list(stream.read(Pair, [self.evaluate], needs=("grade",))) if self.evaluate else []
        if self.evaluate and not pairs:
            raise BadInput("holds no pairs", where=self.evaluate, hint="--evaluate takes graded pairs")
        return pairs

    def held_out(self, rulebook: Rulebook, layout: Layout, prompt: str) -> HeldOut | None:
        """What the model is evaluated on; None without --evaluate."""
        if not self.evaluate:
            return None
        from lore_cli.rair.measure import metrics_of
        from lore_cli.train.evaluation import HeldOut

        return HeldOut(self.judged, self.evaluate_every, metrics_of, rulebook, layout, prompt, self.best, self.patience)

    def identity(self) -> dict[str, Any]:
        """What of it determines the weights."""
        if not self.evaluate:
            return {}
        return {"evaluate": digest(self.judged), "evaluate_every": self.evaluate_every, "best": self.best, "patience": self.patience}


def digest(rows: Iterable[Record]) -> str:
    """A hash of the rows' content, in order."""
    found = hashlib.sha256()
    for row in rows:
        found.update(stream.content_key(row))
    return found.hexdigest()[:16]


def training_options(function: Any) -> Any:
    """--resume --save-steps --evaluate --evaluate-every --best --patience --report-to → `training: Training`."""

    @options_of(
        Section.CHECKPOINTS,
        click.option("--resume", is_flag=True, help="Go on from the last checkpoint of an interrupted run."),
        click.option("--save-steps", type=click.IntRange(min=1), help="Updates between checkpoints; without it only an interruption (Ctrl-C) writes one."),
        click.option("--evaluate", metavar="FILE", help="Graded pairs that the model judges on the way; metrics in metrics.jsonl as eval_NAME."),
        click.option("--evaluate-every", type=click.IntRange(min=1), default=200, help="Updates between evaluations; there is always one at the end."),
        click.option("--best", type=click.Choice(_BEST), help="Write the weights with the highest value of this metric; without it the last ones."),
        click.option("--patience", type=click.IntRange(min=1), help="End training after N evaluations without a new best."),
        click.option("--report-to", type=click.Choice(["tensorboard", "trackio", "wandb"]), help="Also follow the run there; TensorBoard's files go to DIR.runs."),
    )
    @functools.wraps(function)
    def call(**given: Any) -> Any:
        training = Training(*(given.pop(name) for name in Training.__dataclass_fields__))
        if (training.best and not training.evaluate) or (training.patience and not training.best):
            raise UsageError("--patience needs --best, and --best needs --evaluate", hint="for example --evaluate held-out.jsonl --best macro_f1_all --patience 3")
        return function(training=training, **given)

    return call


model_output_options = options_of(
    Section.OUTPUT,
    click.option("-o", "--output", required=True, metavar="DIR", help="Model directory to write."),
    click.option("--force", is_flag=True, help="Replace an existing output."),
)
not_in_options = options_of(  # for path/disjoint.py
    Section.CONTAMINATION,
    click.option("--not-in", metavar="DIR|FILE", multiple=True, help="A benchmark: rows that it has by query or by item are refused; repeatable."),
    click.option("--shared-items", is_flag=True, help="Of --not-in only the queries count."),
)
