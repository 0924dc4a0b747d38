"""What fine-tuning begins from, and what becomes of it: a model from scratch, a given one, a low-rank adapter on one, the same on one of four bits (QLoRA)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lore_cli.errors import Missing, require
from lore_cli.files import is_first_process, process_count
from lore_cli.models.hf import load_causal
from lore_cli.records import Trace
from lore_cli.train import scratch
from lore_cli.train.common import load_for_training

_TOKENIZER_ROWS = 8_000


def from_scratch(rows: Sequence[Trace], size: str, seed: int) -> tuple[Any, Any]:
    """(model, tokenizer) of a size in `scratch.SIZES`, the tokenizer learnt from the rows' prompts and completions."""
    sample = rows[:: -(-len(rows) // _TOKENIZER_ROWS)]
    texts = (text or "" for row in sample for text in (row.prompt, row.completion))
    tokenizer = scratch.train_tokenizer(texts, scratch.SIZES[size].vocabulary)
    return scratch.build_model(tokenizer, scratch.SIZES[size], seed), tokenizer


def adapted(base: str, rank: int, quantize: str | None) -> tuple[Any, Any]:
    """(model, tokenizer) of a base whose weights stay as they are, with an adapter of this rank on every linear layer.

    LoRA: Hu et al., arXiv 2106.09685; alpha is twice the rank [ours]. quantize `4bit`: the base is kept in NF4, computed in bfloat16 (QLoRA, Dettmers et
    al., arXiv 2305.14314). Raises as `load_for_training` and `require_four_bits`.
    """
    import peft

    four_bits = quantize == "4bit"
    model, tokenizer = load_for_training(base, frozen=True, quantization=require_four_bits() if four_bits else None)
    if four_bits:
        model = peft.prepare_model_for_kbit_training(model)
    return peft.get_peft_model(model, peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")), tokenizer


def require_four_bits() -> Any:
    """The quantisation for transformers. Raises `Missing` without a CUDA GPU, and without bitsandbytes."""
    if not torch.cuda.is_available():
        raise Missing("--quantize 4bit needs a CUDA GPU, and there is none", hint="leave it out: --lora alone trains on this machine, at 2 bytes a weight instead of half a byte")
    require("bitsandbytes", "quantize")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)


def write_model(trainer: Any, folder: Path, adapted_base: str | None, quantize: str | None = None) -> None:
    """Save what a trainer trained, an adapter merged into its base. On a GPU in bfloat16, as it will be judged: the updates are over.

    In a run of several processes all must call it: weights that are spread over them are gathered, the first process writes.
    """
    many = process_count() > 1
    with tempfile.TemporaryDirectory(prefix=".lore-", dir=folder) as adapter:
        if many or quantize:
            trainer.save_model(adapter if adapted_base else str(folder))
        if not is_first_process():
            return
        if adapted_base is None:
            model = load_causal(str(folder))[0] if many else trainer.model
        else:
            model = merged_anew(adapted_base, adapter) if many or quantize else trainer.model.merge_and_unload()
    (model.to(torch.bfloat16) if torch.cuda.is_available() else model).save_pretrained(folder)


def merged_anew(base: str, adapter: str) -> Any:
    """A base as it was with a saved adapter merged in: merging into the four bits of a quantised one would round the adapter away."""
    import peft

    return peft.PeftModel.from_pretrained(load_causal(base)[0], adapter).merge_and_unload()
