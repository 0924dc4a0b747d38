"""Language models as text in, text or label scores out. Nothing here knows of relevance.

`hf` runs a model in this process (transformers), `vllm` in vLLM's offline engine, `http` on an OpenAI-compatible server.
A reply stops at the model's end token; the end token is not part of the text. What went wrong with one prompt stands in that prompt's
place as an exception: a batch of thousands is not lost for one of them, and nobody takes a failure for a text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lore_cli.errors import Missing

_WHOLE_BYTES = 64 << 20
_SAMPLED_BLOCK, _SAMPLED_BLOCKS = 1 << 20, 16


class Cut(Exception):
    """A reply that reached `max_new_tokens` before the model ended it. `text` is what there is of it: what was still to come is not known."""

    def __init__(self, text: str, tokens: int) -> None:
        super().__init__(f"cut off after {tokens} tokens (--max-new-tokens allows more)")
        self.text = text


class Unasked(Exception):
    """A prompt that was not put to the model, on purpose: asking again in this run gives the same."""


class Blind(Exception):
    """A prompt with a picture was put to a model that reads text only."""


@dataclass(frozen=True, slots=True)
class Look:
    """A prompt about a picture: `text`, and the image file it speaks of. Models that see take it wherever a prompt may stand; others answer `Blind`."""

    text: str
    image: Path


@dataclass(slots=True)
class Usage:
    """What a model has been asked so far: requests, and the tokens that went in and came out, as the server or the tokenizer counts them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count one answered request."""
        self.requests += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens


Heard = Callable[[int, int, str | Exception], None]
"""Takes (number of the prompt, number of the draw, reply): a reply as it came."""


class TextModel(Protocol):
    """A language model. Raises `Missing` when it cannot be used at all; what goes wrong with one prompt is in that prompt's place."""

    def generate(
        self, prompts: Sequence[str], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0, heard: Heard | None = None
    ) -> list[list[str | Exception]]:
        """`samples` replies to each prompt, in the order of the prompts. Temperature 0 is greedy, and then all samples are equal.

        heard: is told of every reply, whole or cut, when it comes, in any order; perhaps of failures as well. A greedy reply is draw 0, whatever `samples`.

        Same prompts, settings and seed give the same replies, as far as the engine keeps to its seed. An exception stands where there is no
        reply: `Cut` for one that is not whole, any other for a prompt that could not be answered. Its text is one line for the user.
        """
        ...

    def label_probabilities(
        self, prompts: Sequence[str], labels: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[list[float] | Exception]:
        """For each prompt the probability of every label as the next text of the reply, normalised over the labels; or what went wrong.

        begun: the part of each reply that stands already, the same number as prompts (default: nothing). A label carries its leading space.
        Raises `Missing` when the model cannot tell probabilities at all.
        """
        ...

    def identity(self) -> dict[str, str]:
        """What determines the replies beside the prompt: at least `model`, a name or content hash without machine paths."""
        ...


def draw_seed(seed: int, draw: int, prompt: str) -> int:
    """The seed of one draw, 31 bits: the same whichever prompts are asked with it, and unrelated between draws, prompts and seeds."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{draw}\0{prompt}".encode("utf-8", "surrogatepass"), digest_size=4).digest()) >> 1


def refuse_no_model(path: str) -> None:
    """Raise `Missing` for a path that leads to no model directory, before an engine takes it for a hub id."""
    folder = Path(path)
    if (folder.is_absolute() or path.startswith(".") or path.endswith("/") or folder.exists()) and not (folder / "config.json").is_file():
        found = "holds no config.json" if folder.is_dir() else "no such directory"
        raise Missing(f"model {path}: {found}", hint="give a local model directory, or a hub id that this machine can reach")


def directory_hash(folder: Path) -> str:
    """A content hash of a model directory: every file but logs and checkpoints, in name order, 16 hex digits.

    Files over 64 MiB are hashed by size and 16 evenly spaced blocks of 1 MiB, so that a 60 GB model takes milliseconds.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.suffix in (".jsonl", ".html", ".md", ".txt") or file.name.endswith("manifest.json"):
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
