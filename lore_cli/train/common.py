"""What SFT and RL share: rows as token ids, batches by token budget, the clock that a learning rate follows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

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
