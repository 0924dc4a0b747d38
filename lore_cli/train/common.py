"""What SFT and RL share: rows as token ids, batches by token budget, the clock that a learning rate follows."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Row:
    """One training row as token ids; the first `prompt` of them are read, the rest are learnt."""

    ids: list[int]
    prompt: int


def encode(tokenizer: Any, prompts: Sequence[str], completions: Sequence[str]) -> list[Row]:
    """Token ids of prompt, completion and end token. Both texts are tokenised apart, as a judge will see the prompt alone."""
    heads = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    tails = tokenizer(list(completions), add_special_tokens=False)["input_ids"]
    return [Row(head + tail + [tokenizer.eos_token_id], len(head)) for head, tail in zip(heads, tails, strict=True)]


def token_batches(lengths: Sequence[int], budget: int, seed: int) -> list[list[int]]:
    """Row numbers in batches of at most `budget` padded tokens, rows of similar length together, batches in random order.

    Every row is in exactly one batch; a row longer than the budget is a batch of its own.
    """
    shuffled = random.Random(seed)
    order = list(range(len(lengths)))
    shuffled.shuffle(order)
    order.sort(key=lambda row: lengths[row])  # stable: rows of one length stay shuffled
    batches: list[list[int]] = []
    batch: list[int] = []
    for row in order:
        if batch and lengths[row] * (len(batch) + 1) > budget:
            batches.append(batch)
            batch = []
        batch.append(row)
    if batch:
        batches.append(batch)
    shuffled.shuffle(batches)
    return batches


def pad(rows: Sequence[Row], padding: int) -> dict[str, torch.Tensor]:
    """A batch as int64 tensors of shape (rows, longest row): input_ids, attention_mask and labels, padded on the right."""
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), padding)
    labels = torch.full((len(rows), width), IGNORED)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for number, row in enumerate(rows):
        values = torch.tensor(row.ids)
        ids[number, : len(values)] = values
        labels[number, row.prompt : len(values)] = values[row.prompt :]
        mask[number, : len(values)] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class Clock(TrainerCallback):
    """Sets the learning rate by how much of the run is over, in steps or in seconds, whichever is nearer its end, and stops at the limit.

    shape: from the share done in [0, 1] to a factor on each group's own rate. A schedule by steps alone would leave a run that the clock ends
    at a high rate.
    """

    def __init__(self, shape: Callable[[float], float], max_steps: int, max_seconds: float | None) -> None:
        self._shape, self._steps, self._limit = shape, max_steps, max_seconds
        self._started, self._rates = 0.0, []

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        self._started = time.monotonic()
        self._rates = [group["lr"] for group in optimizer.param_groups]

    def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        done = max(state.global_step / self._steps, self.seconds / self._limit if self._limit else 0.0)
        for group, rate in zip(optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._shape(min(done, 1.0))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._limit and self.seconds >= self._limit:
            control.should_training_stop = True

    @property
    def seconds(self) -> float:
        """Since training began."""
        return time.monotonic() - self._started


def warm_cosine(warm: float = 0.03) -> Callable[[float], float]:
    """Linear warm-up over the first `warm` of the run, then a cosine to zero."""
    return lambda done: min((done + 1e-3) / warm, 1.0) * 0.5 * (1 + math.cos(math.pi * done))
