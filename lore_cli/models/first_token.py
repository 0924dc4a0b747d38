"""The shortest ways through an encoder whose head reads the first token.

A BERT's last layer is computed for that token alone [ours]: the same logits with 48 % less work in an encoder of two layers, 16 % less in one of six. Used where
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
    """What the first token takes from all of them, (rows, 1, width).

    Keys and values of the tokens are not made: q · (K h) = (Kᵀ q) · h, and the sum of weighted values is V of the weighted sum; a key's bias moves all of a row's
    scores alike. With a single query for each head that is a product for a row instead of one for each token.
    """
    heads, width = attention.num_attention_heads, attention.attention_head_size
    rows, _, wide = hidden.shape
    key, value = attention.key.weight.view(heads, width, wide), attention.value.weight.view(heads, width, wide)
    asked = torch.einsum("rhw,hwd->rhd", attention.query(first).view(rows, heads, width), key)
    of_first = None if mask is None else mask[:, :, :1]  # none where nothing is padded
    taken = nn.functional.scaled_dot_product_attention(asked[:, None], hidden[:, None], hidden[:, None], of_first, scale=width**-0.5)
    return torch.einsum("rhd,hwd->rhw", taken[:, 0], value).reshape(rows, 1, heads * width) + attention.value.bias


def grading(model: Any) -> Any:
    """The shortest way from a batch to the logits of a sequence classifier: `FirstToken` of a BERT, else the model's own."""
    return FirstToken(model) if model.config.model_type == "bert" else lambda **batch: model(**batch).logits
