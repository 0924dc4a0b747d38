"""A causal language model in this process, through transformers.

Prompts are batched by length under a token budget, padded on the left, decoded with the KV cache. On a GPU in bfloat16, on a CPU in float32:
for models of a few million parameters the two tie there, and large ones do not belong on a CPU [measured].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from lore_cli.errors import BadInput, Missing
from lore_cli.models import Cut, directory_hash, refuse_no_model

_SMALL = 50_000_000  # parameters
_CPU_TOKENS = 8_192  # of one batch on a CPU: twelve times as many took a third longer, waiting for the longest reply and copying the cache [measured]


class HuggingFaceModel:
    """A `TextModel`. chat: wrap prompts in the tokenizer's chat template, for models that were tuned to talk."""

    def __init__(self, model: Any, tokenizer: Any, identity: str, chat: bool) -> None:
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._model, self._tokenizer, self._identity, self._chat = model.eval(), tokenizer, identity, chat
        self._token_budget = token_budget(model)

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[str], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0
    ) -> list[list[str | Exception]]:
        """See `TextModel`. Draws depend on the seed and on the prompts given together."""
        ids = [self._prompt_ids(prompt) for prompt in prompts]
        drawn = samples if temperature > 0 else 1
        replies: list[list[str | Exception]] = [[] for _ in prompts]
        with torch.random.fork_rng(devices=[self._model.device] if self._model.device.type == "cuda" else []):
            torch.manual_seed(seed)
            for batch in _batches([len(row) + max_new_tokens for row in ids], drawn, self._token_budget):
                texts = self._decode(self._generate_batch([ids[row] for row in batch], drawn, temperature, max_new_tokens), max_new_tokens)
                for number, row in enumerate(batch):
                    replies[row] = texts[number * drawn : (number + 1) * drawn] * (samples // drawn)
        return replies

    def _generate_batch(self, rows: list[list[int]], samples: int, temperature: float, max_new_tokens: int) -> torch.Tensor:
        inputs = self._pad(rows)
        options: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            options = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0, "num_return_sequences": samples}
        out = self._model.generate(**inputs, max_new_tokens=max_new_tokens, pad_token_id=self._tokenizer.pad_token_id, **options)
        return out[:, inputs["input_ids"].shape[1] :]

    @torch.inference_mode()
    def label_probabilities(self, prompts: Sequence[str], labels: Sequence[str], *, begun: Sequence[str] | None = None) -> list[list[float] | Exception]:
        """See `TextModel`. One forward pass per prompt where labels differ in their last token only, else one per label."""
        begun = begun if begun is not None else [""] * len(prompts)
        heads = [self._prompt_ids(prompt) for prompt in prompts]
        endings = [[self._plain_ids(start + label) for label in labels] for start in begun]
        if all(len({tuple(ending[:-1]) for ending in row}) == 1 for row in endings):
            logits = self._last_logits([head + row[0][:-1] for head, row in zip(heads, endings, strict=True)])
            chosen = torch.tensor([[ending[-1] for ending in row] for row in endings], device=logits.device)
            return logits.gather(1, chosen).float().softmax(-1).tolist()
        scores = torch.tensor([[self._log_probability(head, ending) for ending in row] for head, row in zip(heads, endings, strict=True)])
        return scores.softmax(-1).tolist()

    def identity(self) -> dict[str, str]:
        """The content hash of the directory (or the hub id), and whether the chat template is used."""
        return {"model": self._identity, "chat": str(self._chat)}

    def _last_logits(self, rows: list[list[int]]) -> torch.Tensor:
        logits: list[torch.Tensor | None] = [None] * len(rows)
        for batch in _batches([len(row) for row in rows], 1, self._token_budget):
            inputs = self._pad([rows[row] for row in batch])
            positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            for row, value in zip(batch, self._model(**inputs, position_ids=positions, logits_to_keep=1).logits[:, -1], strict=True):
                logits[row] = value
        return torch.stack(logits)  # type: ignore[arg-type]

    def _log_probability(self, head: list[int], ending: list[int]) -> float:
        ids = torch.tensor([head + ending], device=self._model.device)
        log_probabilities = self._model(input_ids=ids).logits[0, len(head) - 1 : -1].float().log_softmax(-1)
        return float(log_probabilities.gather(1, ids[0, len(head) :, None]).sum())

    def _prompt_ids(self, prompt: str) -> list[int]:
        if not self._chat:
            return self._plain_ids(prompt)
        return self._tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=True)["input_ids"]

    def _plain_ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def _pad(self, rows: list[list[int]]) -> dict[str, torch.Tensor]:
        padded = self._tokenizer.pad({"input_ids": rows}, return_tensors="pt")
        return {name: padded[name].to(self._model.device) for name in ("input_ids", "attention_mask")}

    def _decode(self, ids: torch.Tensor, max_new_tokens: int) -> list[str | Exception]:
        """The text of each row [rows, tokens]; `Cut` for one that fills all new tokens without an end token."""
        known = self._model.generation_config.eos_token_id
        ends = [-1] if known is None else known if isinstance(known, list) else [known]
        whole = torch.isin(ids, torch.tensor(ends, device=ids.device)).any(-1) | (ids.shape[1] < max_new_tokens)
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text if ended else Cut(text, max_new_tokens) for text, ended in zip(texts, whole.tolist(), strict=True)]


def open_hf(path: str, *, chat: bool) -> HuggingFaceModel:
    """Load a local directory or hub id. `chat` holds where the tokenizer has a template. Raises as `load_causal`."""
    model, tokenizer = load_causal(path)
    folder = Path(path)
    name = f"sha256:{directory_hash(folder)}" if folder.is_dir() else path
    return HuggingFaceModel(model.to("cuda") if torch.cuda.is_available() else model, tokenizer, name, chat and bool(tokenizer.chat_template))


def load_causal(path: str) -> tuple[Any, Any]:
    """(model, tokenizer) of a directory or hub id, on the CPU: float32, or bfloat16 where there is a GPU to move it to.

    Raises `Missing` when it is not there, `BadInput` when it is no causal LM.
    """
    refuse_no_model(path)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    on_gpu = torch.cuda.is_available()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16 if on_gpu else torch.float32)
    except OSError as error:
        raise Missing(f"model {path}: {str(error).splitlines()[0]}", hint="give a local model directory, or a hub id that this machine can reach") from error
    except (ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"not a loadable causal language model: {reason}", where=path, hint="is the directory complete? train or download it again") from error
    if not on_gpu and is_small(model):
        model.set_attn_implementation("eager")  # 1.2 to 1.6 times the speed of SDPA on short rows on a CPU
    return model, tokenizer


def is_small(model: Any) -> bool:
    """Whether a model has under 50M parameters: it then learns at other rates, and on a CPU runs faster with eager attention."""
    return sum(weight.numel() for weight in model.parameters()) < _SMALL


def token_budget(model: Any) -> int:
    """Tokens (rows × longest prompt with its reply) that one batch may hold; on a GPU as many as fit their KV cache in a third of the memory that is free."""
    if model.device.type != "cuda":
        return _CPU_TOKENS
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token_bytes = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    return max(1, torch.cuda.mem_get_info(model.device)[0] // 3 // token_bytes)


def _batches(lengths: Sequence[int], rows_each: int, budget: int) -> Iterator[list[int]]:
    """Row numbers in batches under the token budget, longest first, rows of similar length together."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        rows = max(1, budget // (lengths[order[start]] * rows_each))
        yield order[start : start + rows]
        start += rows
