"""Packed batches: rows end to end in one sequence instead of padded side by side, each row attending to itself alone.

Positions begin anew with each row; transformers makes a block-diagonal attention mask of that (eager and SDPA) or hands the boundaries to
FlashAttention. TRL's own packing needs FlashAttention for the same (SFTConfig.padding_free), so the batches are ours. That the model in hand does keep
rows apart is checked before it is trained (`require_separation`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from lore_cli.errors import BadInput
from lore_cli.train.common import IGNORED, Row

_LEAK = 0.05  # of the largest logit: in bfloat16 rows that are kept apart differ by up to 0.004, rows that see each other by 0.5 and more [measured on Qwen3, Llama, GPT-2]


def packed_batches(lengths: Sequence[int], budget: int, seed: int) -> list[list[int]]:
    """Row numbers in batches of at most `budget` tokens, in random order. Every row is in exactly one batch; a row longer than the budget is a batch of its own."""
    order = list(range(len(lengths)))
    random.Random(seed).shuffle(order)
    batches: list[list[int]] = []
    left = 0
    for row in order:
        if lengths[row] > left:
            batches.append([])
            left = budget
        batches[-1].append(row)
        left -= lengths[row]
    return batches


def pack(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """A batch as int64 tensors of shape (1, tokens): input_ids, position_ids and labels. A row's first token is nobody's prediction."""
    ids = [token for row in rows for token in row.ids]
    positions = [place for row in rows for place in range(len(row.ids))]
    labels = [token if place >= max(row.prompt, 1) else IGNORED for row in rows for place, token in enumerate(row.ids)]
    return {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([positions]), "labels": torch.tensor([labels])}


@torch.no_grad()
def require_separation(model: Any, rows: Sequence[Row]) -> None:
    """Raise `BadInput` when a row reads differently behind another one than alone: such a model would learn from its neighbours."""
    first, second = rows[0], rows[-1]
    batch = pack([first, second])
    training = model.training
    model.eval()
    together = model(input_ids=batch["input_ids"].to(model.device), position_ids=batch["position_ids"].to(model.device), use_cache=False).logits[0, len(first.ids) :].float()
    alone = model(input_ids=torch.tensor([second.ids], device=model.device), use_cache=False).logits[0].float()
    model.train(training)
    if float((together - alone).abs().max()) > _LEAK * float(alone.abs().max()):
        raise BadInput("the model's attention does not keep packed rows apart", field="--packing", hint="leave --packing out: rows of similar length share a batch, so little of it is padding")
