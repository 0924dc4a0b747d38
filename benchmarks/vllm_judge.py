"""What a `vllm:` judge costs beside vLLM itself: the same prompts through the judge and through `LLM.generate`, in one engine.

    .venv-vllm/bin/python benchmarks/vllm_judge.py            the table (make test-vllm makes the environment)
    .venv-vllm/bin/python benchmarks/vllm_judge.py --write    and put it in docs/results.md

A Qwen3 of random weights, greedy. The prefix cache is emptied before every turn; both ways take turns; the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared import random_model, sections

GOAL = 0.95  # of the rows a second of LLM.generate
NEW_TOKENS = 32


def timed(engine: Any, work: Callable[[], object]) -> float:
    engine.reset_prefix_cache()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(folder: str, rows: list[Any], rounds: int) -> list[tuple[float, float]]:
    """(seconds of LLM.generate, seconds of the judge) of each round."""
    from vllm import SamplingParams

    from lore_cli.judges import JudgeSettings, open_judge
    from lore_cli.rulebook import load_rulebook

    judge = open_judge(f"vllm:{folder}", JudgeSettings(load_rulebook(), prompt="short", max_new_tokens=NEW_TOKENS, batch_size=64))
    engine, prompts = judge.model._model._engine, random_model.short_prompts(rows)  # the engine that the judge opened: two would not share the memory fairly
    parameters = SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS)
    found = []
    for _ in range(rounds + 1):
        direct = timed(engine, lambda: engine.generate(prompts, parameters, use_tqdm=False))
        ours = timed(engine, lambda: list(judge(rows)))
        found.append((direct, ours))
    return found[1:]  # the first round warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of both ways (default: 5)")
    parser.add_argument("--pairs", type=int, default=256, help="pairs of a round (default: 256)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where = sections.machine()
    rows = random_model.pairs(given.pairs)
    with tempfile.TemporaryDirectory() as folder:
        weights = random_model.save(Path(folder), random_model.short_prompts(rows))
        rounds = measure(folder, rows, given.rounds)
    direct, ours = (given.pairs / statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = sorted(one / other for one, other in rounds)
    row = [f"{direct:.1f}", f"{ours:.1f}", f"{statistics.median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]"]
    table = sections.markdown(["`LLM.generate`, pairs/s", "`vllm:` judge, pairs/s", "ratio, median [lowest, highest]"], [row])
    about = f"{weights / 1e6:.1f}M weights, {given.pairs} pairs, {NEW_TOKENS} new tokens. Goal: {GOAL} of `LLM.generate`."
    sections.publish("vllm", "Judging with vllm:", sections.command(), f"{table}\n\n{about}", where, given.write)


if __name__ == "__main__":
    main()
