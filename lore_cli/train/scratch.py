"""A small Qwen3-architecture language model and its tokenizer from nothing but the training text.

For machines without a model hub: the directory that is saved is an ordinary Hugging Face one, so judges, RL and vLLM read it
like any other. Sizes, initialisation and tokenizer are ours, found by measuring what is learnt per CPU second (docs/results.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from lore_cli.records import STATES

END, PAD = "<|end|>", "<|pad|>"
# What a text is cut into before pairs of bytes are merged [ours]. The frame of an answer is a piece for each decision (" ; found", " ; exact",
# "\ncolour =", " ; not found ; unknown"), a field's name one piece with its line break: a third fewer tokens than word by word. One word with its
# space is one piece, so that " navy" is the same token in a title, a field, a need and a finding; a grade and a rule keep their number; digits
# stand alone (numbers are compared, not remembered), and so do Chinese characters (no spaces).
_PIECES = "|".join(
    (
        r" ; not found ; unknown",
        rf" ; (?:found|{'|'.join(STATES)})(?!\S)",
        r"\n?[a-z][a-z-]* =(?= )",
        r"(?:^|\n)[^\n:=;]{1,24}:(?= )",
        r" \[[a-z]+\]",
        r" [LR]\d+",
        r" ?[\p{L}\p{M}&&[^\p{Han}]][\p{L}\p{M}'&&[^\p{Han}]]*",
        r" ?\p{Han}",
        r" ?\d",
        r" ?[^\s\p{L}\p{M}\d]",
        r"\s",
    )
)


@dataclass(frozen=True, slots=True)
class Size:
    """Shape of a model: `width` of the residual stream, `layers`, attention `heads` of 32, `feed_forward` width, `vocabulary` of the tokenizer."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int


SIZES: dict[str, Size] = {"tiny": Size(192, 2, 6, 512, 1600), "small": Size(256, 4, 8, 704, 2048)}


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocabulary` entries, learnt from `texts`. Any text round-trips: bytes are the alphabet."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_PIECES), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[PAD, END], initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, padding_side="left", clean_up_tokenization_spaces=False, model_max_length=1024
    )


def build_model(tokenizer: PreTrainedTokenizerFast, size: Size, seed: int) -> Qwen3ForCausalLM:
    """A model with random weights. Matrices N(0, 1/√fan_in); those that write to the residual stream divided by √(2·layers) [ours]."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        head_dim=32,
        intermediate_size=size.feed_forward,
        tie_word_embeddings=True,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",  # 1.2 to 1.6 times the speed of SDPA on short rows on a CPU
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config).float()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.ndim != 2:
                    continue
                deviation = 1 / math.sqrt(weight.shape[1])
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    deviation /= math.sqrt(2 * size.layers)
                weight.normal_(0, deviation)
    return model
