"""Held-out pairs judged by the model in training, for SFT and RL alike: greedy answers, measured as a finished model's are.

Decides which weights are the best so far, and when more training no longer pays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback

from lore_cli.answer import Layout
from lore_cli.judges import JudgeSettings
from lore_cli.judges.language import LanguageJudge
from lore_cli.models.hf import HuggingFaceModel
from lore_cli.records import Pair, Verdict
from lore_cli.rulebook import Rulebook
from lore_cli.train.checkpoints import Checkpoints

Measure = Callable[[Iterable[tuple[Pair, Verdict]], Rulebook], dict[str, float]]
"""From judged pairs to metrics by name: rair/measure.py, handed in because rooms on one floor do not import each other."""
TOLD = ("eval_acc2", "eval_macro_f1", "eval_adherence", "eval_coverage")
"""What the progress line and the summary tell of an evaluation."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is judged and how. best: the metric whose highest value marks the best weights; patience: evaluations without a new best after which training ends."""

    pairs: Sequence[Pair]
    every: int
    measure: Measure
    rulebook: Rulebook
    layout: Layout
    prompt: str
    best: str | None = None
    patience: int | None = None
    max_new_tokens: int = 256

    def metrics(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """The model's metrics on the pairs, under `eval_NAME`. Random state and training mode are left as they were."""
        training = model.training
        settings = JudgeSettings(self.rulebook, max_new_tokens=self.max_new_tokens)
        judge = LanguageJudge(HuggingFaceModel(model, tokenizer, "in training", chat=False), settings, "in training", self.prompt, self.layout)
        found = self.measure(zip(self.pairs, judge(self.pairs), strict=True), self.rulebook)
        model.train(training)
        return {f"eval_{name}": round(value, 6) for name, value in found.items()}


class Evaluation(TrainerCallback):
    """Asks for an evaluation after every `every` steps and at the end, keeps the best weights as a checkpoint, and stops when patience is over.

    All it knows is in the trainer's log, so that a resumed run decides as an uninterrupted one.
    """

    def __init__(self, held_out: HeldOut, checkpoints: Checkpoints) -> None:
        self._held_out, self._checkpoints = held_out, checkpoints

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._checkpoints.best = self.best_step(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._held_out.every == 0 or control.should_training_stop:
            control.should_evaluate = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        best = self.best_step(state)
        if best is None:
            return
        self._checkpoints.best = best
        since = sum(step > best for step, _ in self._history(state))
        if self._held_out.patience and since >= self._held_out.patience:
            control.should_training_stop = True
        if best == state.global_step and not control.should_training_stop:
            control.should_save = True

    def best_step(self, state: Any) -> int | None:
        """The first step with the highest value of the metric so far; None when no best is asked for, or none was measured."""
        return max(self._history(state), key=lambda entry: entry[1], default=(None, 0.0))[0]

    def _history(self, state: Any) -> list[tuple[int, float]]:
        name = f"eval_{self._held_out.best}"
        return [(row["step"], row[name]) for row in state.log_history if name in row]


def told(history: Sequence[dict[str, float]], step: int | None) -> dict[str, float]:
    """The figures of the evaluation at `step`, of the last one for None."""
    found = [row for row in history if any(name in row for name in TOLD) and step in (None, row["step"])]
    return {name: value for name, value in (found[-1] if found else {}).items() if name in TOLD}


class Evaluated(Trainer):
    """A Trainer that is evaluated by what the model says; `held_out` None: not at all."""

    held_out: HeldOut | None = None

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Judge the held-out pairs and log the metrics."""
        assert self.held_out is not None
        found = [self.held_out.metrics(self.accelerator.unwrap_model(self.model), self.processing_class)]
        metrics = broadcast_object_list(found)[0]  # all processes decide by the figures of the first
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def take_best(self, checkpoints: Checkpoints) -> None:
        """Go back to the best weights, where they are not the last."""
        best = checkpoints.at(checkpoints.best)
        if best is not None and checkpoints.best != self.state.global_step:
            self._load_from_checkpoint(str(best))
