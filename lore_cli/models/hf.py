"""A causal language model in this process, through transformers.

Prompts are batched by length under a token budget, padded on the left, decoded with the KV cache. On a GPU in bfloat16; on a CPU in float32, but
for models of 50M parameters or more on a processor that computes in bfloat16 (`bfloat16_pays`). A model that sees is asked about pictures
through its own processor and chat template, one picture at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from lore_cli.errors import BadInput, Missing
from lore_cli.models import Blind, Cut, Heard, Look, directory_hash, refuse_no_model
from lore_cli.models.pictures import BadPicture, open_picture
from lore_cli.models.tokens import Tokenized, one_step

_SMALL = 50_000_000  # parameters
_CPU_TOKENS = 8_192  # of one batch on a CPU: twelve times as many took a third longer, waiting for the longest reply and copying the cache [measured]

Inputs = dict[str, torch.Tensor]


class HuggingFaceModel(Tokenized):
    """A `TextModel`. chat: wrap prompts in the tokenizer's chat template, for models that were tuned to talk. processor: of a model that sees."""

    def __init__(self, model: Any, tokenizer: Any, identity: str, chat: bool, processor: Any = None) -> None:
        super().__init__(tokenizer, chat, sees=processor is not None)
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._model, self._identity, self._processor = model.eval(), identity, processor
        self._token_budget = token_budget(model)
        known = model.generation_config.eos_token_id
        self._ends = torch.tensor([-1] if known is None else known if isinstance(known, list) else [known], device=model.device)

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[str | Look], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0, heard: Heard | None = None
    ) -> list[list[str | Exception]]:
        """See `TextModel`. Draws depend on the seed and on the prompts given together."""
        drawn = samples if temperature > 0 else 1
        replies: list[list[str | Exception]] = [[] for _ in prompts]
        with torch.random.fork_rng(devices=[self._model.device] if self._model.device.type == "cuda" else []):
            torch.manual_seed(seed)
            for batch, inputs in self._batched(prompts, drawn, max_new_tokens):
                if isinstance(inputs, Exception):
                    replies[batch[0]] = [inputs] * samples
                    continue
                ids = self._generate_batch(inputs, drawn, temperature, max_new_tokens)
                texts, lengths = self._decode(ids, max_new_tokens)
                for number, row in enumerate(batch):
                    own = slice(number * drawn, (number + 1) * drawn)
                    replies[row] = texts[own] * (samples // drawn)
                    for draw, text in enumerate(texts[own]) if heard else ():
                        heard(row, draw, text)
                    self.usage.add(int(inputs["attention_mask"][number].sum()), sum(lengths[own]))
        return replies

    def _generate_batch(self, inputs: Inputs, samples: int, temperature: float, max_new_tokens: int) -> torch.Tensor:
        options: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            options = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0, "num_return_sequences": samples}
        out = self._model.generate(**inputs, max_new_tokens=max_new_tokens, pad_token_id=self._tokenizer.pad_token_id, **options)
        return out[:, inputs["input_ids"].shape[1] :]

    @torch.inference_mode()
    def label_probabilities(
        self, prompts: Sequence[str | Look], labels: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[list[float] | Exception]:
        """See `TextModel`. One forward pass per prompt where labels differ in their last token only, else one per label."""
        endings = self._label_ids(len(prompts), labels, begun)
        found: list[list[float] | Exception] = [[] for _ in prompts]
        if not one_step(endings):
            return [self._scored(prompt, row) for prompt, row in zip(prompts, endings, strict=True)]
        for batch, inputs in self._batched(prompts, 1, 0, [row[0][:-1] for row in endings]):
            if isinstance(inputs, Exception):
                found[batch[0]] = inputs
                continue
            logits = self._next_logits(inputs)
            chosen = torch.tensor([[ending[-1] for ending in endings[row]] for row in batch], device=logits.device)
            for row, shares, read in zip(batch, logits.gather(1, chosen).float().softmax(-1).tolist(), inputs["attention_mask"].sum(-1).tolist(), strict=True):
                found[row] = shares
                self.usage.add(read, 0)
        return found

    def identity(self) -> dict[str, str]:
        """The content hash of the directory (or the hub id), and whether the chat template is used."""
        return {"model": self._identity, "chat": str(self._chat)}

    def _batched(
        self, prompts: Sequence[str | Look], rows_each: int, reply_tokens: int, endings: Sequence[list[int]] | None = None
    ) -> Iterator[tuple[list[int], Inputs | Exception]]:
        """(row numbers, the model's inputs) until every prompt had its turn: texts of similar length together, then pictures. `endings` follow the prompts."""
        after = endings if endings is not None else [[]] * len(prompts)
        texts = {row: self._prompt_ids(prompt) + after[row] for row, prompt in enumerate(prompts) if isinstance(prompt, str)}
        rows = list(texts)
        for batch in _batches([len(texts[row]) + reply_tokens for row in rows], rows_each, self._token_budget):
            yield [rows[place] for place in batch], self._pad([texts[rows[place]] for place in batch])
        for row, prompt in enumerate(prompts):
            if isinstance(prompt, Look):
                yield [row], self._looked(prompt, after[row])

    def _looked(self, prompt: Look, ending: list[int]) -> Inputs | Exception:
        """The inputs of one prompt with its picture; what went wrong with it instead."""
        try:
            text = self._prompt_text(prompt)
            found = self._processor(text=[text], images=[[open_picture(prompt.image)]], add_special_tokens=False, return_tensors="pt")
        except (Blind, BadPicture) as problem:
            return problem
        inputs, shape = dict(found), found["input_ids"].shape
        for name, value in inputs.items():
            if value.shape == shape:  # one number a token
                added = torch.tensor([ending]) if name == "input_ids" else torch.full((1, len(ending)), int(name == "attention_mask"))
                inputs[name] = torch.cat([value, added.to(value.dtype)], 1)
            inputs[name] = inputs[name].to(self._model.device, self._model.dtype if value.is_floating_point() else None)
        return inputs

    def _next_logits(self, inputs: Inputs) -> torch.Tensor:
        """Logits [rows, vocabulary] of the token that follows."""
        if len(inputs["input_ids"]) > 1:
            inputs = inputs | {"position_ids": (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)}
        return self._model(**inputs, logits_to_keep=1).logits[:, -1]

    def _scored(self, prompt: str | Look, endings: list[list[int]]) -> list[float] | Exception:
        """Probability of each ending as a whole, normalised; one forward pass each."""
        scores = []
        for ending in endings:
            ((_, inputs),) = self._batched([prompt], 1, 0, [ending])
            if isinstance(inputs, Exception):
                return inputs
            ids = inputs["input_ids"][0, -len(ending) :, None]
            scores.append(self._model(**inputs).logits[0, -len(ending) - 1 : -1].float().log_softmax(-1).gather(1, ids).sum())
            self.usage.add(inputs["input_ids"].shape[1], 0)
        return torch.stack(scores).softmax(-1).tolist()

    def _pad(self, rows: list[list[int]]) -> Inputs:
        padded = self._tokenizer.pad({"input_ids": rows}, return_tensors="pt")
        return {name: padded[name].to(self._model.device) for name in ("input_ids", "attention_mask")}

    def _decode(self, ids: torch.Tensor, max_new_tokens: int) -> tuple[list[str | Exception], list[int]]:
        """The text of each row [rows, tokens], `Cut` for one that fills all new tokens without an end token; and the tokens of each, its end included."""
        ended = torch.isin(ids, self._ends)
        lengths = torch.where(ended.any(-1), ended.int().argmax(-1) + 1, ids.shape[1])
        whole = ended.any(-1) | (ids.shape[1] < max_new_tokens)
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text if kept else Cut(text, max_new_tokens) for text, kept in zip(texts, whole.tolist(), strict=True)], lengths.tolist()


def open_hf(path: str, *, chat: bool) -> HuggingFaceModel:
    """Load a local directory or hub id. `chat` holds where the tokenizer has a template. Raises as `load_causal`."""
    model, tokenizer = load_causal(path, pictures=chat)
    folder = Path(path)
    name = f"sha256:{directory_hash(folder)}" if folder.is_dir() else path
    if torch.cuda.is_available():
        model = model.to("cuda")
    elif bfloat16_pays(model):
        model = model.to(torch.bfloat16)
    processor = _reading(path, transformers.AutoProcessor.from_pretrained) if chat and sees(model.config) else None
    return HuggingFaceModel(model, tokenizer, name, chat and bool(tokenizer.chat_template), processor)


def load_causal(path: str, *, pictures: bool = False, dtype: torch.dtype | None = None, quantization: Any = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a directory or hub id, on the CPU: in `dtype`, by default float32, or bfloat16 where there is a GPU to move it to.

    pictures: a model that sees is loaded with what it sees by, else its language part alone. quantization: a configuration of transformers.
    Raises `Missing` when it is not there, `BadInput` when it is no causal LM.
    """
    refuse_no_model(path)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    on_gpu = torch.cuda.is_available()
    tokenizer = _reading(path, transformers.AutoTokenizer.from_pretrained)
    seeing = pictures and sees(_reading(path, transformers.AutoConfig.from_pretrained))
    kind = transformers.AutoModelForImageTextToText if seeing else transformers.AutoModelForCausalLM
    model = _reading(path, kind.from_pretrained, dtype=dtype or (torch.bfloat16 if on_gpu else torch.float32), **({"quantization_config": quantization} if quantization else {}))
    if not on_gpu and is_small(model) and not seeing:
        model.set_attn_implementation("eager")  # 1.2 to 1.6 times the speed of SDPA on short rows on a CPU
    return model, tokenizer


def _reading(path: str, load: Callable[..., Any], **options: Any) -> Any:
    """`load(path)`, its errors told in ours."""
    try:
        return load(path, **options)
    except OSError as error:
        raise Missing(f"model {path}: {str(error).splitlines()[0]}", hint="give a local model directory, or a hub id that this machine can reach") from error
    except (ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"not a loadable causal language model: {reason}", where=path, hint="is the directory complete? train or download it again") from error


def sees(config: Any) -> bool:
    """Whether a model of this configuration takes pictures beside text."""
    return hasattr(config, "vision_config")


def is_small(model: Any) -> bool:
    """Whether a model has under 50M parameters: it then learns at other rates, and on a CPU runs faster with eager attention."""
    return sum(weight.numel() for weight in model.parameters()) < _SMALL


def bfloat16_pays(model: Any) -> bool:
    """Whether to compute in bfloat16 on this CPU: where it has units for it, else it is emulated and many times slower.

    Small models stay in float32: they gain little, and so give the same scores on every machine [ours].
    """
    return bfloat16_units() and not is_small(model)


def bfloat16_units() -> bool:
    """Whether this CPU computes in bfloat16 itself."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


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
