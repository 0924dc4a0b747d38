"""Train a student on sentence-transformers' machinery: a cross-encoder by its CrossEncoderTrainer, a bi-encoder by its SentenceTransformerTrainer.

What is ours: the losses (losses.py), batches that keep the items of a query together (examples.py), Muon for a fresh encoder, a schedule that follows the
clock (common.py). Multi-GPU runs come with the trainer: `accelerate launch`.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Transformer
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from lore_cli.judges.encoders import HEAD_FILE
from lore_cli.progress import Log
from lore_cli.train import encoder
from lore_cli.train.common import Clock, Watch, run, trainer_basics, warm_cosine
from lore_cli.train.examples import Examples, batches
from lore_cli.train.losses import Targets, total_loss
from lore_cli.train.optimizer import MuonAdamW
from lore_cli.train.soft import PRESETS, Weights

_WARM = 0.05
_ABOVE = 10  # times the rate of a given encoder's layers, for what stands above them [ours]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. epochs: passes over the rows; max_seconds ends earlier, the learning rate following the clock.

    rates: (Muon, AdamW) of a fresh encoder; (0, AdamW) of a given one's layers, whose pooler and head learn ten times as fast.
    """

    weights: Weights = PRESETS["lore"]
    max_length: int = 128
    batch_size: int = 64
    epochs: float = 8.0
    max_seconds: float | None = None
    rates: tuple[float, float] = (0.01, 2e-3)
    seed: int = 0


class CrossLoss(nn.Module):
    """The losses of a cross-encoder. It is given texts, and row numbers as labels."""

    def __init__(self, model: Any, targets: Targets, weights: Weights) -> None:
        super().__init__()
        self.model, self.targets, self.weights = model, targets, weights

    def forward(self, inputs: list[Any], labels: torch.Tensor, **_: Any) -> torch.Tensor:
        return total_loss(self.logits(inputs), self.targets.of(labels.view(-1)), self.weights)

    def logits(self, inputs: list[list[str]]) -> torch.Tensor:
        features = self.model.preprocess(list(zip(*inputs, strict=True)))
        return self.model({name: value.to(self.model.device) if hasattr(value, "to") else value for name, value in features.items()})["scores"]


class BiLoss(CrossLoss):
    """The losses of a bi-encoder, with its head over (u, v, |u − v|, u·v)."""

    def __init__(self, model: Any, targets: Targets, weights: Weights, outputs: int) -> None:
        super().__init__(model, targets, weights)
        self.head = nn.Linear(4 * model.get_embedding_dimension(), outputs)

    def logits(self, inputs: list[dict[str, torch.Tensor]]) -> torch.Tensor:
        u, v = (self.model(features)["sentence_embedding"] for features in inputs)
        return self.head(torch.cat([u, v, (u - v).abs(), u * v], dim=1))


def open_learner(folder: Path, architecture: str, settings: Settings, targets: Targets, outputs: int) -> CrossLoss:
    """The encoder in a directory with the losses around it; both are one torch module."""
    torch.manual_seed(settings.seed)
    if architecture == "cross":
        model = CrossEncoder(str(folder), max_length=settings.max_length, activation_fn=nn.Identity(), local_files_only=True)
        return CrossLoss(model, targets, settings.weights)
    reader = Transformer(str(folder), max_seq_length=settings.max_length)
    return BiLoss(SentenceTransformer(modules=[reader, Pooling(reader.get_embedding_dimension())]), targets, settings.weights, outputs)


def fit(learner: CrossLoss, examples: Examples, rows: Sequence[int], settings: Settings, fresh: bool, log: Log) -> dict[str, Any]:
    """Train on `rows` of the examples. The rate rises over the first 5 % and falls by a cosine, over the steps or the seconds, whichever end first."""
    texts = [examples.texts[row] for row in rows]
    data = Dataset.from_dict({"query": [query for query, _ in texts], "item": [item for _, item in texts], "label": list(rows)})
    queries = examples.targets.query.tolist()
    together = [queries[row] for row in rows] if settings.weights.margin else rows  # margins alone compare the items of a query
    schedule = _schedule([len(query) + len(item) for query, item in texts], together, settings)
    clock = Clock(warm_cosine(_WARM), len(schedule), settings.max_seconds)
    optimizer = _optimizer(learner, settings, fresh)
    of_texts = not isinstance(learner, BiLoss)
    trainer = (CrossEncoderTrainer if of_texts else SentenceTransformerTrainer)(
        model=learner.model,
        args=_config(learner.model, CrossEncoderTrainingArguments if of_texts else SentenceTransformerTrainingArguments, settings, schedule),
        train_dataset=data,
        loss=learner,
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
        callbacks=[clock, Watch(log, clock, len(schedule), settings.max_seconds, ("loss",))],
    )
    run(trainer, clock)
    learner.eval()
    return {"steps": trainer.state.global_step, "planned_steps": len(schedule), "seconds": round(clock.seconds, 1)}


def _schedule(lengths: Sequence[int], together: Sequence[int], settings: Settings) -> list[list[int]]:
    """The batches of all epochs in turn, each epoch shuffled anew; rows of one number in `together` share a batch."""
    rng = random.Random(settings.seed)
    steps = max(1, math.ceil(settings.epochs * math.ceil(len(lengths) / settings.batch_size)))
    found: list[list[int]] = []
    while len(found) < steps:
        found += batches(lengths, together, settings.batch_size, rng)
    return found[:steps]


def _optimizer(learner: nn.Module, settings: Settings, fresh: bool) -> Any:
    muon, adamw = settings.rates
    if not fresh:
        layers, above = encoder.above_layers(learner)
        return torch.optim.AdamW([{"params": layers, "lr": adamw}, {"params": above, "lr": _ABOVE * adamw}], weight_decay=0.01)
    matrices, others = encoder.parameter_groups(learner)
    return MuonAdamW(matrices, others, muon_rate=muon, adamw_rate=adamw)


def _config(model: Any, kind: type, settings: Settings, schedule: list[list[int]]) -> Any:
    return kind(
        output_dir=tempfile.gettempdir(),  # nothing is written there: the caller saves
        **trainer_basics(model, settings.seed) | {"gradient_checkpointing": False},  # an encoder is small
        max_steps=len(schedule),
        per_device_train_batch_size=settings.batch_size,
        batch_sampler=lambda *_, **__: schedule,
        logging_steps=50,
        report_to="none",
    )


def save(learner: CrossLoss, folder: Path) -> None:
    """Write encoder, tokenizer and, of a bi-encoder, the head and what sentence-transformers needs to read it."""
    if isinstance(learner, BiLoss):
        from safetensors.torch import save_file

        learner.model.save_pretrained(str(folder), create_model_card=False)
        save_file({"weight": learner.head.weight.detach().contiguous(), "bias": learner.head.bias.detach().contiguous()}, folder / HEAD_FILE)
        return
    reader = cast(Any, learner.model[0])
    encoder.save(reader.model, reader.tokenizer, folder)
