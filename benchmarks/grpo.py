"""Useful samples a second of `lore-rl train`, with and without refills, against TRL's GRPOTrainer on the same model, pool, rewards and settings.

    python benchmarks/grpo.py RUN            RUN: a folder of `make lifecycle`, its cot-sft, rl-pairs.jsonl and traces.jsonl are used
    python benchmarks/grpo.py RUN --write    and put the table in docs/results.md

A sample is useful when its group's rewards differ, so that it has an advantage. Two pools: the pairs that lore-rl select kept, and traces as they come.
Each way is a process of its own; medians of the steps, TRL's own measure of a step's seconds (`step_time`, drawing included).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from shared import memory, sections

WAYS = {"GRPOTrainer": None, "lore-rl train --max-refills 0": 0, "lore-rl train": 3}
PROMPTS, GENERATIONS, NEW_TOKENS, POOL = 16, 8, 96, 400
GOAL = 1.0  # times GRPOTrainer's useful samples a second; peak memory within 5 %


def measure(way: str, run: str, pool: str, steps: int, told: str) -> None:
    """Train and write [useful samples, seconds] of each step to the file `told`. Runs in a child."""
    from lore_cli import modelcard
    from lore_cli.records import Trace
    from lore_cli.rulebook import load_rulebook
    from lore_cli.stream import read
    from lore_cli.train import rewards, rl

    card = modelcard.require(f"{run}/cot-sft")
    pairs = [pair for _, pair in zip(range(POOL), read(Trace, [f"{run}/{pool}"]), strict=False)]
    task = rl.Task(pairs, [frozenset()] * len(pairs), [], load_rulebook(), card.layout, card.prompt, rewards.WEIGHTS)
    settings = rl.Settings(generations=GENERATIONS, prompts_per_step=PROMPTS, max_steps=steps, max_new_tokens=NEW_TOKENS, max_refills=WAYS[way] or 0)
    with tempfile.TemporaryDirectory() as folder:
        train = plain if WAYS[way] is None else ours
        Path(told).write_text(json.dumps(train(task, f"{run}/cot-sft", settings, Path(folder))))


def ours(task: Any, base: str, settings: Any, folder: Path) -> list[tuple[float, float]]:
    from lore_cli.progress import Log
    from lore_cli.train import rl
    from lore_cli.train.checkpoints import Checkpoints
    from lore_cli.train.tracking import tracking

    rl.train(task, base, settings, folder, Checkpoints(folder / "unfinished", None), tracking(None, str(folder)), Log("grpo", quiet=True))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["sampling/useful_share"] * PROMPTS * GENERATIONS, row["step_time"]) for row in rows if "step_time" in row]


def plain(task: Any, base: str, settings: Any, folder: Path) -> list[tuple[float, float]]:
    from datasets import Dataset
    from trl import GRPOTrainer

    from lore_cli.prompts import pair_prompt
    from lore_cli.train import rewards, rl
    from lore_cli.train.common import load_for_training
    from lore_cli.train.quiet import hush
    from lore_cli.train.rl_sampling import Completion, Group

    useful = []

    def verifiable(completions: list[str], place: list[int], **_: Any) -> list[float]:
        parts = [rewards.reward_parts(text, task.pairs[at], task.rulebook, task.layout) for text, at in zip(completions, place, strict=True)]
        scored = [rewards.total(part, task.weights) for part in parts]
        drawn = [Completion([], {}, reward, False) for reward in scored]
        groups = [Group(0, tuple(drawn[start : start + GENERATIONS])) for start in range(0, len(drawn), GENERATIONS)]
        useful.append(GENERATIONS * sum(group.teaches(settings.min_spread, mask_cut=False) for group in groups))
        return scored

    hush()
    model, tokenizer = load_for_training(base)
    tokenizer.padding_side = "left"
    rows = Dataset.from_list([{"prompt": pair_prompt(pair, task.rulebook, task.prompt), "place": place} for place, pair in enumerate(task.pairs)])
    config = rl.grpo_config(model, settings, rl.default_rate(model), folder, {"report_to": "none"})
    trainer = GRPOTrainer(model=model, reward_funcs=verifiable, args=config, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    return list(zip(useful, [row["step_time"] for row in trainer.state.log_history if "step_time" in row], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help="a folder of make lifecycle")
    parser.add_argument("--steps", type=int, default=8, help="updates of each way (default: 8)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    if not (given.run / "cot-sft").is_dir():
        parser.error(f"{given.run} holds no cot-sft: make lifecycle writes such a folder")
    where = sections.machine()
    rows = []
    for pool in ("rl-pairs.jsonl", "traces.jsonl"):
        found: dict[str, tuple[list[list[float]], float]] = {}
        for way in WAYS:
            with tempfile.NamedTemporaryFile() as told:
                work = f"import grpo; grpo.measure({way!r}, {str(given.run)!r}, {pool!r}, {given.steps}, {told.name!r})"
                peak = memory.peak(work, [])
                found[way] = json.loads(Path(told.name).read_text()), peak
        base_steps, base_memory = found["GRPOTrainer"]
        base = statistics.median(useful / seconds for useful, seconds in base_steps)
        for way, (steps, peak) in found.items():
            speed = statistics.median(useful / seconds for useful, seconds in steps)
            share = sum(useful for useful, _ in steps) / (len(steps) * PROMPTS * GENERATIONS)
            seconds = statistics.median(seconds for _, seconds in steps)
            rows.append([pool, f"`{way}`", f"{share:.0%}", f"{seconds:.2f}", f"{speed:.1f}", f"{speed / base:.2f}", f"{peak:.0f}", f"{peak / base_memory:.2f}"])
    table = sections.markdown(["pool", "way", "useful share of a batch", "s/step", "useful samples/s", "ratio", "peak MiB", "ratio"], rows)
    about = (
        f"{given.steps} steps of {PROMPTS} prompts × {GENERATIONS} answers of at most {NEW_TOKENS} tokens, KL to the starting model."
        f" Goal: at least {GOAL:g} times GRPOTrainer, memory within 5 %."
    )
    sections.publish("grpo", "Useful samples of reinforcement learning", sections.command(), f"{table}\n\n{about}", where, given.write)


if __name__ == "__main__":
    main()
