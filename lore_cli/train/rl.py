"""Align a fine-tuned model with human grades: GRPO with verifiable rewards, through TRL.

The paper (§ stage 2) aligns by RL so that pass@1 moves toward pass@8; the settings follow its sister work where known (group-relative
advantages, temperature near 1, clip 0.2, KL 0.02 to the SFT model, rate 1e-6). Ours:
1. rewards (train/rewards.py);
2. prompts come from `lore-rl select`, whose band leaves out pairs that are always or never right: their groups have no gradient;
3. a model of a few million parameters needs a rate some hundred times higher than a large one to move at all;
4. an SFT loss on verified traces may stand beside GRPO's (AFRL adds one against forgetting long-tail rules);
5. the run may be ended by the clock, and the learning rate falls with it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from lore_cli.answer import Layout
from lore_cli.errors import BadInput
from lore_cli.path.knowledge import EMPTY, Glossary
from lore_cli.progress import Log
from lore_cli.prompts import pair_prompt
from lore_cli.records import Pair, Trace
from lore_cli.rulebook import Rulebook
from lore_cli.stream import write_bytes_atomic
from lore_cli.train import rewards
from lore_cli.models.hf import is_small
from lore_cli.train.common import Clock, Watch, completion_loss, encode, load_for_training, pad, run, token_batches
from lore_cli.train.finite import diverged
from lore_cli.train.quiet import hush

RATES = {"small": 1e-4, "large": 1e-6}


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. generations: answers per prompt; prompts_per_step: groups in one update. rate None: by the model's size.

    sft_weight: of the SFT loss beside GRPO's, where traces are given: a batch of `sft_tokens` padded tokens in each step.
    """

    generations: int = 8
    prompts_per_step: int = 8
    temperature: float = 1.0
    rate: float | None = None
    kl: float = 0.02
    clip: float = 0.2
    max_steps: int = 200
    max_seconds: float | None = None
    max_new_tokens: int = 128
    loss: str = "dapo"
    sft_weight: float = 0.1
    sft_tokens: int = 2048
    seed: int = 0


def default_rate(model: Any) -> float:
    """1e-4 under 50M parameters, else 1e-6."""
    return RATES["small" if is_small(model) else "large"]


def train(
    pairs: Sequence[Pair | Trace], base: str, rulebook: Rulebook, layout: Layout, prompt: str, weights: Mapping[str, float], settings: Settings, folder: Path, log: Log,
    traces: Sequence[Trace] = (), glossary: Glossary = EMPTY,
) -> dict[str, float]:
    """Train from the model in `base`, write the aligned model and `metrics.jsonl` to `folder`; returns the summary of the run.

    traces: what the SFT loss learns from. Pairs without a human grade are left out; raises `BadInput` when no other is there, and when the numbers of the run cease to be finite. Buffers its prompts.
    """
    graded = [pair for pair in pairs if pair.grade is not None]
    if not graded:
        raise BadInput("no pair has a human grade: there is nothing to align with", hint="give pairs with `grade`, for example from lore-rl select")
    hush()
    model, tokenizer = load_for_training(base)
    tokenizer.padding_side = "left"
    rate = settings.rate if settings.rate is not None else default_rate(model)
    if len(graded) < settings.prompts_per_step:
        log.say(f"{len(graded)} graded pairs, so {len(graded)} prompts per step instead of {settings.prompts_per_step}")
        settings = replace(settings, prompts_per_step=len(graded))
    rows = Dataset.from_list([{"prompt": pair_prompt(pair, rulebook, prompt), "place": place} for place, pair in enumerate(graded)])
    clock = Clock(lambda done: 1 - 0.9 * done, settings.max_steps, settings.max_seconds)
    trainer = _Trainer(
        taught=_taught(traces, tokenizer, settings) if traces else None,
        sft_weight=settings.sft_weight,
        model=model,
        reward_funcs=_reward(graded, rulebook, layout, weights, glossary),
        args=_config(settings, rate, folder),
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[clock, Watch(log, clock, settings.max_steps, settings.max_seconds, ("reward", "kl", "reward_std"))],
    )
    started = time.monotonic()
    try:
        run(trainer, clock)
    except RuntimeError as error:  # drawing from a model whose logits overflow fails deep in torch; anything else is a bug and keeps its traceback
        with torch.no_grad():
            logits = trainer.model(**tokenizer(rows[0]["prompt"], return_tensors="pt").to(trainer.model.device)).logits
        if bool(torch.isfinite(logits).all()):
            raise
        raise diverged(f"the logits are not finite at step {trainer.state.global_step}") from error
    summary = {"steps": trainer.state.global_step, "seconds": round(time.monotonic() - started, 1), "rate": rate, "pairs": len(graded)}
    trainer.model.generation_config.temperature = None
    trainer.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_bytes_atomic(folder / "metrics.jsonl", _metrics(trainer.state.log_history))
    return summary | _closing(trainer.state.log_history)


class _Trainer(GRPOTrainer):
    """GRPOTrainer with the SFT loss of a batch of verified reasoning beside its own, `sft_weight` times; `sft_loss` is logged."""

    def __init__(self, *, taught: Iterator[dict[str, torch.Tensor]] | None, sft_weight: float, **options: Any) -> None:
        self._taught, self._sft_weight = taught, sft_weight
        super().__init__(**options)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self._taught is None:
            return loss
        batch = {name: values.to(loss.device) for name, values in next(self._taught).items()}
        learnt = completion_loss(model, batch)
        self._metrics["train"]["sft_loss"].append(learnt.item())
        return loss + self._sft_weight * learnt


def _taught(traces: Sequence[Trace], tokenizer: Any, settings: Settings) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of traces without end, each round shuffled anew. Raises `BadInput` when no trace has prompt and completion."""
    rows = [(trace.prompt, trace.completion) for trace in traces if trace.prompt and trace.completion]
    if not rows:
        raise BadInput("no row has a prompt and a completion for the SFT loss to learn", field="completion", hint="make traces with lore-synth, or leave --traces out")
    data = encode(tokenizer, [prompt for prompt, _ in rows], [completion for _, completion in rows])
    rounds = (token_batches([len(row.ids) for row in data], settings.sft_tokens, settings.seed + number) for number in itertools.count())
    return (pad([data[row] for row in batch], tokenizer.pad_token_id) for batches in rounds for batch in batches)


def _reward(pairs: Sequence[Pair | Trace], rulebook: Rulebook, layout: Layout, weights: Mapping[str, float], glossary: Glossary) -> Any:
    """TRL's reward function: one number per completion, whose pair is at its `place`; each part is logged as `reward/PART`."""

    def verifiable(prompts: list[str], completions: list[str], place: list[int], log_metric: Any = None, **_: Any) -> list[float]:
        parts = [rewards.reward_parts(text, pairs[at], rulebook, layout, glossary) for text, at in zip(completions, place, strict=True)]
        if log_metric is not None:
            for name in rewards.WEIGHTS:
                log_metric(f"reward/{name}", sum(part[name] for part in parts) / len(parts))
        return [rewards.total(part, weights) for part in parts]

    return verifiable


def _config(settings: Settings, rate: float, folder: Path) -> GRPOConfig:
    on_gpu = torch.cuda.is_available()
    return GRPOConfig(
        output_dir=str(folder / "checkpoints"),
        per_device_train_batch_size=settings.generations * settings.prompts_per_step,
        num_generations=settings.generations,
        temperature=settings.temperature,
        max_completion_length=settings.max_new_tokens,
        learning_rate=rate,
        lr_scheduler_type="constant",
        optim="adamw_torch",
        max_grad_norm=1.0,
        beta=settings.kl,
        epsilon=settings.clip,
        loss_type=settings.loss,
        max_steps=settings.max_steps,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=not on_gpu,
        bf16=on_gpu,
        gradient_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        shuffle_dataset=True,
        log_completions=False,
    )


def _metrics(history: list[dict[str, float]]) -> bytes:
    import orjson

    return b"".join(orjson.dumps(row) + b"\n" for row in history)


def _closing(history: list[dict[str, float]]) -> dict[str, float]:
    """Mean reward, share of groups without spread, KL and length over the first and last fifth of the run."""
    steps = [row for row in history if "reward" in row]
    if not steps:
        return {}
    fifth = max(1, len(steps) // 5)
    names = {"reward": "reward", "reward_std": "reward_std", "frac_reward_zero_std": "groups_without_spread", "kl": "kl", "completions/mean_length": "length"}
    closing = {}
    for name, short in names.items():
        for when, part in (("first", steps[:fifth]), ("last", steps[-fifth:])):
            values = [float(row[name]) for row in part if name in row]
            if values:
                closing[f"{short}_{when}"] = round(sum(values) / len(values), 4)
    return closing
