"""A model with random weights and pairs to ask it about: the speed is that of a real one of its size, what it says means nothing."""

from __future__ import annotations

import random
from pathlib import Path

from shared import sections  # noqa: F401  puts the checkout on the path

from lore_cli.prompts import pair_prompt
from lore_cli.records import Pair, change, change_item
from lore_cli.rulebook import load_rulebook
from lore_cli.stream import read

SHORTEST, LONGEST = 5, 100  # words of a description: rows of a shop differ in length


def pairs(count: int, seed: int = 0) -> list[Pair]:
    """The example pairs over and over, rows of one query together, each with a description of its own length."""
    drawn, known = random.Random(seed), list(read(Pair, [str(sections.ROOT / "examples" / "pairs.jsonl")]))
    words = sorted({word for pair in known for word in pair.item.title.split()})
    found = []
    for number in range(count):
        description = " ".join(drawn.choices(words, k=drawn.randint(SHORTEST, LONGEST)))
        found.append(change(change_item(known[number * len(known) // count], description=description), id=f"{number:06}"))
    return found


def save(folder: Path, texts: list[str], *, size: str = "small", longest: int = 4096) -> int:
    """Write a Qwen3 of a size that lore-sft trains from scratch, its tokenizer learnt from `texts`. Returns the number of its weights."""
    from lore_cli.train import scratch

    tokenizer = scratch.train_tokenizer(texts, scratch.SIZES[size].vocabulary)
    model = scratch.build_model(tokenizer, scratch.SIZES[size], seed=0)
    model.config.max_position_embeddings = longest
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.num_parameters()


def short_prompts(rows: list[Pair]) -> list[str]:
    """What a model that lore trained is asked."""
    book = load_rulebook()
    return [pair_prompt(pair, book) for pair in rows]
