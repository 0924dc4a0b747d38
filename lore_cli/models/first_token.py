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


class _Linear(nn.Module):
    """A linear layer in bfloat16. Where oneDNN has it, its weights are laid out for the processor once: torch's own does it at every call."""

    def __init__(self, *layers: nn.Linear) -> None:
        """Several layers become one, their outputs beside each other."""
        super().__init__()
        self.weight, self.bias = (torch.cat([getattr(layer, part).detach() for layer in layers]).to(torch.bfloat16) for part in ("weight", "bias"))
        self.laid_out = _lays_out()
        if self.laid_out:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, None)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = values.to(torch.bfloat16)
        if self.laid_out:
            return torch.ops.mkldnn._linear_pointwise(values, self.weight, self.bias, "none", [], "")
        return nn.functional.linear(values, self.weight, self.bias)


def _lays_out() -> bool:
    """Whether oneDNN computes in bfloat16 here; by the operators that torch's own compiler calls."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class _Attention(nn.Module):
    """Attention of a BERT layer: what it asks of the tokens by one product in bfloat16, the attention itself in float32. As `BertSelfAttention` in `eval` mode."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads, self.asked = attention.num_attention_heads, _Linear(attention.query, attention.key, attention.value)

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        rows, tokens, wide = hidden.shape
        asked = self.asked(hidden).view(rows, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = asked.to(torch.float32, memory_format=torch.contiguous_format)
        return nn.functional.scaled_dot_product_attention(query, key, value, attention_mask).transpose(1, 2).reshape(rows, tokens, wide), None


def in_bfloat16(model: Any) -> Any:
    """The same model, its weights in bfloat16. Of a BERT only the matrices of its layers but the last: attention, sums, norms and all that is of the first token
    alone stay in float32 [ours]. That is as fast, and rounds less: docs/results.md.
    """
    if model.config.model_type != "bert":
        return model.to(torch.bfloat16)
    for layer in model.bert.encoder.layer[:-1]:
        layer.attention.self = _Attention(layer.attention.self)
        for part in (layer.attention.output, layer.intermediate, layer.output):
            part.dense = _Linear(part.dense)
    return model
