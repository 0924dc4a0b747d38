"""lore-sft against TRL's SFTTrainer: the same small model, rows, optimiser and number of steps.

    python benchmarks/sft.py            the table
    python benchmarks/sft.py --write    and put it in docs/results.md

Each run is a process of its own, rounds over all arms in turn, medians. `trl` is SFTTrainer as it comes, a fixed number of rows a step in random
order; `trl, our batches` has lore-sft's batches (by tokens, rows of one length together) and all else of TRL, so that what the batches do and what
the loss's computation does can be told apart. Everybody takes Muon and AdamW with warm-up and cosine, in float32 on a CPU. The traces are of the simulated market.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shared import random_model, sections

from lore_cli.records import Trace
from lore_cli.stream import read

ARMS = ("lore-sft", "trl, our batches", "trl")
BATCH_TOKENS, HELD_OUT, RATE = 2048, 400, 3e-3


def traces(folder: Path, queries: int) -> Path:
    """Traces of the simulated market by the expert."""
    run = [sys.executable, str(sections.ROOT / "examples/market/generate.py"), "-o", str(folder / "market"), "--items", "1200", "--queries", str(queries)]
    subprocess.run(run, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    made = folder / "traces.jsonl"
    synth = [sys.executable, str(sections.ROOT / "bin/lore-synth"), str(folder / "market/pairs.jsonl"), "--stages", "knowledge,rules", "--quiet", "-o", str(made)]
    subprocess.run(synth, check=True)
    return made


def rows_of(folder: Path) -> tuple[list[Trace], list[Trace]]:
    """(rows to learn, held-out rows)."""
    rows = list(read(Trace, [str(folder / "traces.jsonl")]))
    return rows[HELD_OUT:], rows[:HELD_OUT]


def train_lore(rows: list[Trace], folder: Path, out: Path) -> float:
    """Seconds of training."""
    from lore_cli.progress import Log
    from lore_cli.train import sft
    from lore_cli.train.checkpoints import Checkpoints
    from lore_cli.train.tracking import tracking

    settings = sft.Settings(base=str(folder / "base"), size=None, optimizer="muon", rate=RATE, batch_tokens=BATCH_TOKENS)
    return sft.train(rows, settings, out, Checkpoints(out / "unfinished", None), tracking(None, ""), Log("benchmark", quiet=True))["seconds"]


def train_trl(rows: list[Trace], folder: Path, out: Path, our_batches: bool) -> float:
    """Seconds of training."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from lore_cli.train import common
    from lore_cli.train.optimizer import muon_adamw
    from lore_cli.train.quiet import hush

    hush()
    model, tokenizer = common.load_for_training(str(folder / "base"))
    encoded = common.encode(tokenizer, [row.prompt or "" for row in rows], [row.completion or "" for row in rows])
    batches = common.token_batches([len(row.ids) for row in encoded], BATCH_TOKENS, 0)
    shape, steps = common.warm_cosine(), len(batches)
    optimizer = muon_adamw(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: shape(step / steps))
    config = SFTConfig(
        output_dir=str(out), per_device_train_batch_size=round(len(rows) / steps), max_steps=steps, max_length=None, completion_only_loss=True, max_grad_norm=1.0,
        gradient_checkpointing=False, use_cpu=True, bf16=False, logging_steps=50, save_strategy="no", report_to="none", disable_tqdm=True, seed=0,
    )  # fmt: skip

    class OurBatches(SFTTrainer):
        def get_train_dataloader(self) -> Any:
            loader = torch.utils.data.DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator)
            return self.accelerator.prepare(loader)

    data = Dataset.from_list([{"prompt": row.prompt, "completion": row.completion} for row in rows])
    kind = OurBatches if our_batches else SFTTrainer
    trainer = kind(model=model, args=config, train_dataset=data, processing_class=tokenizer, optimizers=(optimizer, schedule))
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    trainer.model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return seconds


def arm(name: str, folder: Path) -> dict[str, float]:
    """One run, in this process: seconds in all and of training, tokens of the rows, loss of answers on the held-out rows, peak memory in MiB before that."""
    import torch

    from lore_cli.train import common

    started = time.monotonic()
    rows, held_out = rows_of(folder)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        seconds = train_lore(rows, folder, Path(out)) if name == "lore-sft" else train_trl(rows, folder, Path(out), name != "trl")
        peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
        spent = time.monotonic() - started
        model, tokenizer = common.load_for_training(out)
    learnt, judged = (common.encode(tokenizer, [row.prompt or "" for row in part], [row.completion or "" for row in part]) for part in (rows, held_out))
    with torch.no_grad():
        losses = [float(common.completion_loss(model.eval(), common.pad([row], tokenizer.pad_token_id))) for row in judged]
    return {"seconds": seconds, "total": spent, "tokens": sum(len(row.ids) for row in learnt), "loss": statistics.mean(losses), "peak": peak}


def measured(name: str, folder: Path) -> dict[str, float]:
    """One run in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--arm", name, "--work", str(folder)], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="runs of each arm (default: 2)")
    parser.add_argument("--queries", type=int, default=250, help="queries of the simulated market (default: 250)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(arm(given.arm, Path(given.work))))
        return
    where = sections.machine()
    with tempfile.TemporaryDirectory(prefix=".lore-") as name:
        folder = Path(name)
        traces(folder, given.queries)
        rows, _ = rows_of(folder)
        random_model.save(folder / "base", [text or "" for row in rows for text in (row.prompt, row.completion)], size="tiny", longest=1024)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
        for _ in range(given.rounds):
            for name in ARMS:
                found[name].append(measured(name, folder))
    middle = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}
    speed = {name: one["tokens"] / one["seconds"] for name, one in middle.items()}
    lines = [
        [f"`{name}`", f"{speed[name]:,.0f}", f"{speed[name] / speed['trl']:.2f}", f"{one['total']:.1f}", f"{one['peak']:.0f}", f"{one['peak'] / middle['trl']['peak']:.2f}", f"{one['loss']:.4f}"]
        for name, one in middle.items()
    ]
    table = sections.markdown(["run", "tokens/s", "of trl's", "s in all", "peak MiB", "of trl's", "held-out loss"], lines)
    ours, same, plain = (middle[name] for name in ARMS)
    split = [
        f"TRL on lore-sft's batches against lore-sft: loss {same['loss'] / ours['loss'] - 1:+.2%}, seconds a step {same['seconds'] / ours['seconds'] - 1:+.0%}: the loss's computation and what is logged with it.",
        f"TRL's own batches against ours, all else TRL's: loss {plain['loss'] / same['loss'] - 1:+.2%}, seconds a step {plain['seconds'] / same['seconds'] - 1:+.0%}: how rows are put together.",
    ]
    sections.publish("sft", "Fine-tuning against TRL", sections.command(), f"{len(rows):,} rows, one pass, {len(ARMS)} arms × {given.rounds}; tokens are those of the rows, padding not counted.\n\n{table}\n\n{' '.join(split)}", where, given.write)


if __name__ == "__main__":
    main()
