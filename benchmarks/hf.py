"""How fast `hf:` generates, against a loop over `transformers.pipeline("text-generation")` on the same prompts.

    python benchmarks/hf.py            the table
    python benchmarks/hf.py --write    and put it in docs/results.md

A Qwen3 of random weights, prompts of different lengths, greedy, the same number of new tokens. Rounds of all ways in turn; medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shared import random_model, sections

GOAL = 2.0  # times the pipeline, one prompt at a time
NEW_TOKENS = 64


def timed(work: Callable[[], list[str]]) -> tuple[float, list[str]]:
    start = time.perf_counter()
    texts = work()
    return time.perf_counter() - start, texts


def ways(folder: str, prompts: list[str]) -> dict[str, Callable[[], list[str]]]:
    """Each way to the texts, ours first."""
    import transformers

    from lore_cli.models.hf import open_hf

    model = open_hf(folder, chat=False)
    pipeline = transformers.pipeline("text-generation", model=folder, dtype="float32", device="cpu")
    options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "return_full_text": False, "add_special_tokens": False}

    def ours() -> list[str]:
        replies = [row[0] for row in model.generate(prompts, max_new_tokens=NEW_TOKENS)]
        return [getattr(reply, "text", reply) for reply in replies]  # a model of random weights seldom ends: most are cut

    def loop() -> list[str]:
        return [pipeline(prompt, **options)[0]["generated_text"] for prompt in prompts]

    def batched() -> list[str]:
        return [found[0]["generated_text"] for found in pipeline(prompts, batch_size=32, **options)]

    return {"hf:": ours, "pipeline, one at a time": loop, "pipeline, batches of 32": batched}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all ways (default: 3)")
    parser.add_argument("--prompts", type=int, default=64, help="prompts of a round (default: 64)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where = sections.machine()
    prompts = random_model.short_prompts(random_model.pairs(given.prompts))
    with tempfile.TemporaryDirectory() as folder:
        weights = random_model.save(Path(folder), prompts)
        work = ways(folder, prompts)
        rounds = [{name: timed(way) for name, way in work.items()} for _ in range(given.rounds)]
    rows = []
    for name in work:
        seconds = statistics.median(found[name][0] for found in rounds)
        ratios = sorted(found[name][0] / found["hf:"][0] for found in rounds)
        same = sum(one == other for one, other in zip(rounds[0][name][1], rounds[0]["hf:"][1], strict=True))
        slower = f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
        rows.append([f"`{name}`", f"{len(prompts) / seconds:.1f}", slower, f"{same} of {len(prompts)}"])
    table = sections.markdown(["way", "prompts/s", "times slower than `hf:`, median [lowest, highest]", "same text"], rows)
    about = f"{weights / 1e6:.1f}M weights, {len(prompts)} prompts, {NEW_TOKENS} new tokens. Goal: `hf:` at least {GOAL:g} times the loop over single prompts."
    sections.publish("hf", "Generating with hf:", sections.command(), f"{table}\n\n{about}", where, given.write)


if __name__ == "__main__":
    main()
