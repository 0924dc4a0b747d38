"""Language models as text in, text or label scores out. Nothing here knows of relevance.

`hf` runs a model in this process (transformers), `vllm` in vLLM's offline engine, `http` on an OpenAI-compatible server.
A reply stops at the model's end token; the end token is not part of the text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_WHOLE_BYTES = 64 << 20
_SAMPLED_BLOCK, _SAMPLED_BLOCKS = 1 << 20, 16


class TextModel(Protocol):
    """A language model. Raises `Missing` when it cannot be reached at all; what one prompt makes it do is in that prompt's reply."""

    def generate(
        self, prompts: Sequence[str], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0
    ) -> list[list[str]]:
        """`samples` replies to each prompt, in the order of the prompts. Temperature 0 is greedy, and then all samples are equal.

        Same prompts, settings and seed give the same replies. A reply cut at `max_new_tokens` is returned as it is.
        """
        ...

    def label_probabilities(self, prompts: Sequence[str], labels: Sequence[str], *, begun: Sequence[str] | None = None) -> list[list[float]]:
        """For each prompt the probability of every label as the next text of the reply, normalised over the labels.

        begun: the part of each reply that stands already, the same number as prompts (default: nothing). A label carries its leading space.
        """
        ...

    def identity(self) -> dict[str, str]:
        """What determines the replies beside the prompt: at least `model`, a name or content hash without machine paths."""
        ...


def directory_hash(folder: Path) -> str:
    """A content hash of a model directory: every file but logs and checkpoints, in name order, 16 hex digits.

    Files over 64 MiB are hashed by size and 16 evenly spaced blocks of 1 MiB, so that a 60 GB model takes milliseconds.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.suffix in (".jsonl", ".md", ".txt") or file.name.endswith("manifest.json"):
            continue
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as content:
            if size <= _WHOLE_BYTES:
                digest.update(content.read())
            else:
                for block in range(_SAMPLED_BLOCKS):
                    content.seek((size - _SAMPLED_BLOCK) * block // (_SAMPLED_BLOCKS - 1))
                    digest.update(content.read(_SAMPLED_BLOCK))
    return digest.hexdigest()[:16]
