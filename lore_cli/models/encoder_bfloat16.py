"""A trained encoder in bfloat16, to be run and not to be trained.

Of a BERT only the matrices of its layers but the last are: attention, sums, norms and all that is of the first token alone stay in float32 [ours]. That is as fast
as all of it, and rounds less: docs/results.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def in_bfloat16(model: Any) -> Any:
    """The same sequence classifier with its weights in bfloat16, in `eval` mode; the one that is given is changed."""
    if model.config.model_type != "bert":
        return model.to(torch.bfloat16)
    for layer in model.bert.encoder.layer[:-1]:
        layer.attention.self = _Attention(layer.attention.self)
        for part in (layer.attention.output, layer.intermediate, layer.output):
            part.dense = _Linear(part.dense)
    return model


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
