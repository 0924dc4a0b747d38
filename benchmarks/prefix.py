"""What vLLM's prefix cache saves, and how much of it depends on the order of the prompts.

    .venv-vllm/bin/python benchmarks/prefix.py            the table (make test-vllm makes the environment)
    .venv-vllm/bin/python benchmarks/prefix.py --write    and put it in docs/results.md

The full `judge` prompt of general models: rulebook, then query, then item. The KV cache is kept small, as it is for a real model and millions of
pairs. `in order` is how `vllm:` asks, whatever order it is given; `shuffled` is LLM.generate on the same shuffled prompts; `no reuse` the same with a
salt of its own for every prompt, so that none finds another's tokens in the cache.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from shared import random_model, sections

NEW_TOKENS = 8
BLOCK = 32  # tokens; what vLLM's CPU attention takes
CACHE_TOKENS = 375 * BLOCK  # room for a few prompts


def prompts_of(count: int) -> list[str]:
    """Prompts of `count` pairs, shuffled."""
    from lore_cli.prompts import pair_prompt
    from lore_cli.rulebook import load_rulebook

    book, rows = load_rulebook(), random_model.pairs(count)
    random.Random(0).shuffle(rows)
    return [pair_prompt(pair, book, "judge") for pair in rows]


class Counting:
    """vLLM's engine, and how many tokens of its prompts came from the cache."""

    def __init__(self, engine: Any) -> None:
        self._engine, self.read, self.cached = engine, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, *arguments: Any, **options: Any) -> Any:
        outputs = self._engine.generate(*arguments, **options)
        self.read += sum(len(output.prompt_token_ids) for output in outputs)
        self.cached += sum(output.num_cached_tokens or 0 for output in outputs)
        return outputs


ORDERS = ("in order", "shuffled", "no reuse")


def turn(engine: Any, prompts: list[str], order: str) -> tuple[float, float]:
    """(seconds, share of the prompts' tokens that came from the cache) from an empty cache on."""
    from vllm import SamplingParams

    from lore_cli.models.vllm import VllmModel

    counting = Counting(engine)
    model = VllmModel(counting, "random", chat=False)
    engine.reset_prefix_cache()
    start = time.perf_counter()
    if order == "in order":
        model.generate(prompts, max_new_tokens=NEW_TOKENS)
    else:
        salted = [{"prompt": prompt, "cache_salt": str(number)} for number, prompt in enumerate(prompts)]
        counting.generate(prompts if order == "shuffled" else salted, SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS), use_tqdm=False)
    return time.perf_counter() - start, counting.cached / counting.read


def spread(ratios: list[float]) -> str:
    """Median, lowest and highest of sorted ratios."""
    return f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all orders (default: 3)")
    parser.add_argument("--pairs", type=int, default=64, help="pairs of a round (default: 64)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where = sections.machine()
    import vllm

    prompts = prompts_of(given.pairs)
    options = {"dtype": "float32", "gpu_memory_utilization": 0.4, "block_size": BLOCK, "num_gpu_blocks_override": CACHE_TOKENS // BLOCK, "max_num_seqs": 4}
    with tempfile.TemporaryDirectory() as folder:
        weights = random_model.save(Path(folder), prompts)
        engine = vllm.LLM(model=folder, enable_prefix_caching=True, **options)
        rounds = [[turn(engine, prompts, order) for order in ORDERS] for _ in range(given.rounds + 1)][1:]
    rows = []
    for name, column in zip(ORDERS, zip(*rounds, strict=True), strict=True):
        seconds, share = (statistics.median(values) for values in zip(*column, strict=True))
        rows.append([name, f"{given.pairs / seconds:.1f}", f"{share:.1%}"])
    table = sections.markdown(["order", "pairs/s", "prompt tokens from the cache"], rows)
    shuffled, alone = (sorted(others[place][0] / others[0][0] for others in rounds) for place in (1, 2))
    about = f"In order: {spread(shuffled)} times the speed of shuffled, {spread(alone)} times that of no reuse. {weights / 1e6:.1f}M weights, a cache of {CACHE_TOKENS:,} tokens."
    sections.publish("prefix", "vLLM's prefix cache and the order of prompts", sections.command(), f"{table}\n\n{about}", where, given.write)


if __name__ == "__main__":
    main()
