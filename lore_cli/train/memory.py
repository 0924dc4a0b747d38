"""Memory that training takes, computed: what docs/training.md tabulates. Nothing here was measured.

Bytes a weight: float32 weight 4, gradient 4, AdamW's two moments 8, and the bfloat16 copy that it is computed with 2; a frozen weight 2, in NF4 with
its scales 0.52. Activations with gradient checkpointing: each layer's input (2 bytes a number), one layer at work (34 bytes a number; Korthikanti et al.,
arXiv 2205.05198, § 4, without the attention matrix, which FlashAttention and SDPA do not keep), and logits of the answer's tokens (10 bytes: bfloat16,
float32, gradient).
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
TRAINED, FROZEN, FOUR_BITS = 4 + 4 + 8 + 2, 2, 0.52
_ANSWER = 0.5  # of a row's tokens: the share that has a label [ours]


@dataclass(frozen=True, slots=True)
class Shape:
    """A model: parameters in all, layers, width of the residual stream and of the feed-forward layer, entries of the vocabulary."""

    parameters: float
    layers: int
    width: int
    feed_forward: int
    vocabulary: int = 151_936

    @property
    def adapter(self) -> float:
        """Weights of a rank-16 adapter on all linear layers: 16 · (in + out), attention taken as four square matrices."""
        return 16 * self.layers * (4 * 2 * self.width + 3 * (self.width + self.feed_forward))


SHAPES = {
    "0.6B": Shape(0.60e9, 28, 1024, 3072),
    "4B": Shape(4.02e9, 36, 2560, 9728),
    "8B": Shape(8.19e9, 36, 4096, 12288),
    "32B": Shape(32.8e9, 64, 5120, 25600),
}  # Qwen3


def weights_gib(shape: Shape, how: str) -> float:
    """Weights, gradients and optimiser. how: `full`, `lora` or `qlora`.

    >>> round(weights_gib(SHAPES["8B"], "full")), round(weights_gib(SHAPES["8B"], "lora")), round(weights_gib(SHAPES["8B"], "qlora"))
    (137, 16, 5)
    """
    if how == "full":
        return shape.parameters * TRAINED / GIB
    return (shape.parameters * (FOUR_BITS if how == "qlora" else FROZEN) + shape.adapter * TRAINED) / GIB


def activations_gib(shape: Shape, tokens: int) -> float:
    """Activations of a batch of `tokens` on one GPU, with gradient checkpointing."""
    layers = tokens * shape.width * (2 * shape.layers + 34)
    return (layers + tokens * _ANSWER * shape.vocabulary * 10) / GIB


def table(tokens: int) -> list[list[str]]:
    """Rows of size, full, on each of eight GPUs, lora, qlora, activations; GiB."""
    rows = []
    for name, shape in SHAPES.items():
        full, lora, qlora = (weights_gib(shape, how) for how in ("full", "lora", "qlora"))
        rows.append([name, *(f"{number:.1f}" for number in (full, full / 8, lora, qlora, activations_gib(shape, tokens)))])
    return rows
