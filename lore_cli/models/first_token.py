"""The shortest ways through an encoder whose head reads the first token.

A BERT's last layer is computed for that token alone [ours]: the same logits with 40 % less work in an encoder of two layers, 14 % less in one of six. Used where
a student is run by torch, and in its ONNX graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask


class FirstToken(nn.Module):
    """A `BertForSequenceClassification` in `eval` mode, by its own weights. A batch as that takes it → logits, (rows, labels)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *, attention_mask: torch.Tensor, **batch: torch.Tensor) -> torch.Tensor:
        bert = self.model.bert
        hidden = bert.embeddings(**batch)
        mask = create_bidirectional_mask(config=bert.config, inputs_embeds=hidden, attention_mask=attention_mask)
        *layers, last = bert.encoder.layer
        for layer in layers:
            hidden = layer(hidden, mask)
        first = hidden[:, :1]
        attended = last.attention.output(_attended(last.attention.self, first, hidden, mask), first)
        return self.model.classifier(bert.pooler(last.output(last.intermediate(attended), attended)))


def _attended(attention: Any, first: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """What the first token takes from all of them, (rows, 1, width)."""
    heads, width = attention.num_attention_heads, attention.attention_head_size

    def split(values: torch.Tensor) -> torch.Tensor:
        return values.view(values.shape[0], values.shape[1], heads, width).transpose(1, 2)

    query, key, value = split(attention.query(first)), split(attention.key(hidden)), split(attention.value(hidden))
    of_first = None if mask is None else mask[:, :, :1]  # none where nothing is padded
    return nn.functional.scaled_dot_product_attention(query, key, value, of_first).transpose(1, 2).flatten(2)


def grading(model: Any) -> Any:
    """The shortest way from a batch to the logits of a sequence classifier: `FirstToken` of a BERT, else the model's own."""
    return FirstToken(model) if model.config.model_type == "bert" else lambda **batch: model(**batch).logits


def in_bfloat16(model: Any) -> Any:
    """The same model, its weights in bfloat16. Of a BERT only the matrices of its layers: sums, norms and the head stay in float32 [ours].

    That is as fast, and rounds less: logits off by 0.004 instead of 0.007 in the mean with MiniLM, by 0.0002 instead of 0.001 with two layers from scratch.
    """
    if model.config.model_type != "bert":
        return model.to(torch.bfloat16)
    for part in model.bert.encoder.modules():
        if isinstance(part, nn.Linear):
            part.to(torch.bfloat16).register_forward_pre_hook(_rounded)
    return model


def _rounded(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(values.to(torch.bfloat16) for values in inputs)
