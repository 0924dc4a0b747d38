"""DPO through TRL, the offline alternative to GRPO: learn from pairs of a better and a worse answer to the same prompt (Rafailov et al. 2023).

The margin of a pair is β · (log π(chosen)/π₀(chosen) − log π(rejected)/π₀(rejected)), π₀ the model that training starts from; the loss is −log σ(margin).
Ours:
1. prompt and answer are tokenised apart, as a judge sees the prompt alone; nothing is cut, so a pair that is too long is refused, not shortened;
2. an SFT loss on the chosen answer stands beside DPO's (RPO, Pang et al. 2024), because DPO alone may lower the probability of both answers;
3. a model of a few million parameters needs a higher rate than a large one, as in GRPO.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from lore_cli.errors import BadInput
from lore_cli.models.hf import is_small
from lore_cli.progress import Log
from lore_cli.train.checkpoints import Checkpoints, Resumable
from lore_cli.train.common import Clock, Watch, encode, load_for_training, run, trainer_basics
from lore_cli.train.curves import write_history
from lore_cli.train.quiet import hush

RATES = {"small": 3e-5, "large": 1e-6}


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt with a better and a worse answer. id: the row's."""

    id: str
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. rate None: by the model's size. beta: how far the model may move for a margin; batch: pairs in one update."""

    beta: float = 0.1
    loss_type: str = "sigmoid"
    sft_weight: float = 0.1
    rate: float | None = None
    batch: int = 16
    max_steps: int = 100
    max_seconds: float | None = None
    seed: int = 0


def train(preferences: Sequence[Preference], base: str, settings: Settings, folder: Path, checkpoints: Checkpoints, log: Log) -> dict[str, float]:
    """Train from the model in `base`, write the aligned model, `metrics.jsonl` and `curves.html` to `folder`; returns the summary of the run.

    Goes on from the last of `checkpoints`. Buffers the pairs; holds the model twice. Raises `BadInput` for a pair longer than the model's context and when the
    numbers of the run cease to be finite, `Interrupted` when the user stopped it.
    """
    hush()
    model, tokenizer = load_for_training(base)
    rate = settings.rate if settings.rate is not None else RATES["small" if is_small(model) else "large"]
    rows = _rows(preferences, tokenizer, int(getattr(model.config, "max_position_embeddings", 0)))
    clock = Clock(lambda done: 1 - 0.9 * done, settings.max_steps, settings.max_seconds)
    trainer = _Trainer(
        order=_order(len(rows), settings.max_steps * settings.batch, settings.seed),
        model=model,
        ref_model=copy.deepcopy(model),
        args=_config(model, settings, rate, checkpoints.folder),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[clock, Watch(log, clock, settings.max_steps, settings.max_seconds, ("loss", "rewards/margins", "rewards/accuracies")), checkpoints],
    )
    run(trainer, clock, checkpoints, "take fewer pairs in a batch (--batch)")
    trainer.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_history(folder, trainer.state.log_history, "Preference learning")
    return {"steps": trainer.state.global_step, "seconds": round(clock.seconds, 1), "rate": rate, "pairs": len(rows), **_closing(trainer.state.log_history)}


class _Trainer(Resumable, DPOTrainer):
    """DPOTrainer over rows that are token ids already, in an order formed ahead of time: one that a resumed run finds again."""

    def __init__(self, *, order: Sequence[int], **options: Any) -> None:
        self._order = order
        super().__init__(**options)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _get_train_sampler(self, *_: Any) -> Sequence[int]:
        return self._order


def _order(rows: int, wanted: int, seed: int) -> list[int]:
    """`wanted` row numbers: all rows, shuffled, then all of them again."""
    shuffled = random.Random(seed)
    rounds = (shuffled.sample(range(rows), rows) for _ in itertools.count())
    return list(itertools.islice(itertools.chain.from_iterable(rounds), wanted))


def _rows(preferences: Sequence[Preference], tokenizer: Any, context: int) -> list[dict[str, list[int]]]:
    """Token ids of each pair: prompt_ids, and chosen_ids and rejected_ids with the end token. Raises `BadInput` for one beyond the context."""
    prompts = [preference.prompt for preference in preferences]
    better, worse = (encode(tokenizer, prompts, [getattr(preference, side) for preference in preferences]) for side in ("chosen", "rejected"))
    for preference, *sides in zip(preferences, better, worse, strict=True):
        longest = max(len(side.ids) for side in sides)
        if context and longest > context:
            raise BadInput(f"{longest} tokens, the model reads {context}", where=f"row '{preference.id}'", hint="leave such rows out, or draw shorter answers")
    return [{"prompt_ids": one.ids[: one.prompt], "chosen_ids": one.ids[one.prompt :], "rejected_ids": two.ids[two.prompt :]} for one, two in zip(better, worse, strict=True)]


def _config(model: Any, settings: Settings, rate: float, folder: Path) -> DPOConfig:
    with_sft = settings.sft_weight > 0
    return DPOConfig(
        output_dir=str(folder),
        **trainer_basics(model, settings.seed),
        per_device_train_batch_size=settings.batch,
        learning_rate=rate,
        lr_scheduler_type="constant",
        optim="adamw_torch",
        beta=settings.beta,
        loss_type=[settings.loss_type, "sft"] if with_sft else [settings.loss_type],
        loss_weights=[1.0, settings.sft_weight] if with_sft else None,
        max_length=None,
        max_steps=settings.max_steps,
        logging_steps=1,
        report_to="none",
    )


def _closing(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """Margin, share of pairs with a positive one, and the log-probability of the chosen answer, over the first and the last fifth of the run."""
    steps = [row for row in history if "rewards/margins" in row]
    fifth = max(1, len(steps) // 5)
    names = {"rewards/margins": "margin", "rewards/accuracies": "preferred", "logps/chosen": "logp_chosen"}
    parts = {"first": steps[:fifth], "last": steps[-fifth:]}
    return {f"{short}_{when}": round(sum(row[name] for row in part) / len(part), 4) for name, short in names.items() for when, part in parts.items() if part}
