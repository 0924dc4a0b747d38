"""The student's encoder: a small BERT from nothing but the training texts, or any Hugging Face encoder with the path tokens added.

Sizes and initialisation are ours; the directory that is saved is an ordinary one that `AutoModelForSequenceClassification`
and sentence-transformers' `CrossEncoder` read. Its first four labels are the grades; with attribute heads the others are `DIMENSION:STATE`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING, AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast,
)  # fmt: skip

from lore_cli.errors import BadInput, Missing
from lore_cli.judges.student import STATES_SEEN
from lore_cli.models import refuse_no_model
from lore_cli.records import GRADES

_ALPHABET = 2000
_ABOVE = re.compile(r"(^|\.)(pooler|pre_classifier|classifier|head)\.")  # as transformers names them in BERT, RoBERTa, DeBERTa, DistilBERT, ModernBERT
_CONTROL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True, slots=True)
class Size:
    """Shape of an encoder: `width` of the residual stream, `layers`, attention `heads`, `vocabulary` of the tokenizer."""

    width: int
    layers: int
    heads: int
    vocabulary: int


SIZES: dict[str, Size] = {"tiny": Size(128, 2, 4, 4000), "small": Size(256, 4, 8, 12000)}


def labels_of(dimensions: Sequence[str], attribute_heads: bool) -> list[str]:
    """Names of the outputs: the grades, then the states of each dimension when there are attribute heads."""
    return [*GRADES, *(f"{dimension}:{state}" for dimension in dimensions for state in STATES_SEEN)] if attribute_heads else list(GRADES)


def train_tokenizer(texts: Sequence[str], vocabulary: int, special: Sequence[str], max_length: int) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of at most `vocabulary` entries, lower case; Chinese characters stand alone. `special` are never split. Same texts, same tokenizer."""
    tokenizer = _untrained(models.WordPiece(unk_token="[UNK]"))
    # The trainer numbers `##x` pieces in the order of a hash map and breaks ties by number: named ahead, they are the same in every run
    inner = [f"##{letter}" for letter, _ in _letters(texts, tokenizer).most_common(_ALPHABET)]
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=[*_CONTROL, *special, *inner], limit_alphabet=_ALPHABET, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    trained = _untrained(models.WordPiece(tokenizer.get_vocab(with_added_tokens=True), unk_token="[UNK]"))  # in which those pieces are no special tokens
    trained.add_special_tokens([*_CONTROL, *special])
    ends = [(name, trained.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    trained.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]", model_max_length=max_length
    )


def _untrained(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _letters(texts: Sequence[str], tokenizer: Tokenizer) -> Counter[str]:
    """How often each character stands inside a word, in a fixed order."""
    words = Counter(word for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)))
    found: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word[1:]:
            found[letter] += count
    return Counter(dict(sorted(found.items())))


def build(tokenizer: PreTrainedTokenizerFast, size: Size, labels: Sequence[str], max_length: int, seed: int) -> Any:
    """A BERT with random weights: matrices N(0, 1/√fan_in), embeddings N(0, 1/√width), those that write to the residual stream divided by √(2·layers)."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        max_position_embeddings=max_length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config).float()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.ndim == 2:
                    deviation = 1 / math.sqrt(weight.shape[1])
                    if "output.dense" in name:
                        deviation /= math.sqrt(2 * size.layers)
                    weight.normal_(0, deviation)
            model.classifier.weight.mul_(0.1)
    return model


def load(base: str, labels: Sequence[str], special: Sequence[str]) -> tuple[Any, Any]:
    """(tokenizer, model) of an encoder directory or hub id, with the special tokens added and a new head over `labels`. Raises `Missing` and `BadInput`."""
    refuse_no_model(base)
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
        config = AutoConfig.from_pretrained(base, num_labels=len(labels), id2label=dict(enumerate(labels)), label2id={label: number for number, label in enumerate(labels)})
        if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:  # the types that can be masked language models read in both directions
            raise BadInput(f"a model of type '{config.model_type}' is no encoder", where=base, hint="name an encoder (BERT, RoBERTa, ModernBERT …), or --from-scratch tiny")
        model = AutoModelForSequenceClassification.from_pretrained(base, config=config, ignore_mismatched_sizes=True, dtype=torch.float32)
    except OSError as error:
        raise Missing(f"encoder {base}: {str(error).splitlines()[0]}", hint="pass a local directory, or --from-scratch tiny") from error
    except (ValueError, KeyError) as error:
        raise BadInput(f"not an encoder with a classification head: {str(error).splitlines()[0]}", where=base, hint="name an encoder, or --from-scratch tiny") from error
    if not tokenizer.is_fast:
        raise BadInput("its tokenizer is written in Python alone; a fast one is needed", where=base, field="tokenizer.json", hint="convert it, or name another encoder")
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special], special_tokens=True)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return tokenizer, model


def parameter_groups(model: Any) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """(matrices inside the encoder, everything else: embeddings, norms, biases, the head)."""
    matrices, others = [], []
    for name, weight in model.named_parameters():
        (matrices if weight.ndim == 2 and "embedding" not in name and "classifier" not in name and not name.startswith("head.") else others).append(weight)
    return matrices, others


def above_layers(model: Any) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """(embeddings and layers, what turns their output into grades: head and pooler).

    A given encoder knows the former and must not forget it; the head is new, and an encoder of sentence vectors, whose training passed its pooler by,
    hands it features near zero: at one rate for both, a student still gives every pair the same answer after 8,000 pairs.
    """
    layers, above = [], []
    for name, weight in model.named_parameters():
        (above if _ABOVE.search(name) else layers).append(weight)
    return layers, above


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights, config and tokenizer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
