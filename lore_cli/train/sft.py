"""Supervised fine-tuning on traces, through TRL's SFTTrainer.

The paper (§ stage 1) distils merged reasoning by SFT and gives no settings. Ours:
1. completion-only loss, rows tokenised once and batched by a token budget with rows of similar length together;
2. a from-scratch model learns by Muon and AdamW (train/optimizer.py), a given one by AdamW, or by both;
3. the rate follows a warm-up and a cosine over steps or seconds, so that a run can be given a time;
4. the loss is computed on completion tokens only (the vocabulary projection of prompt tokens is never needed), and TRL's per-step entropy and
   accuracy, which cost a fifth of a small model's step on a CPU, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from lore_cli.errors import BadInput, UsageError
from lore_cli.files import process_count
from lore_cli.progress import Log
from lore_cli.records import Trace
from lore_cli.train.bases import adapted, from_scratch, write_model
from lore_cli.train.checkpoints import Checkpoints, Resumable
from lore_cli.train.common import Clock, Row, Watch, completion_loss, encode, load_for_training, pad, run, token_batches, trainer_basics, warm_cosine
from lore_cli.train.curves import write_history
from lore_cli.train.evaluation import TOLD, Evaluated, Evaluation, HeldOut, told
from lore_cli.train.optimizer import ADAMW_RATE, muon_adamw
from lore_cli.train.packing import pack, packed_batches, require_separation
from lore_cli.train.quiet import hush
from lore_cli.train.tracking import Tracking

@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. base: model directory or hub id, or None with `size` for a model from scratch. batch_tokens: tokens in one batch, padding included.

    rate: AdamW's for a given model, None for 2e-5 (2e-4 with LoRA), Muon's is eight times it: updates of about one size [ours]; from scratch a factor on the
    optimiser's own rates. optimizer None: muon from scratch, adamw for a given model.
    """

    base: str | None
    size: str | None
    lora: bool = False
    lora_rank: int = 16
    quantize: str | None = None
    optimizer: str | None = None
    rate: float | None = None
    epochs: float = 1.0
    max_steps: int | None = None
    max_seconds: float | None = None
    batch_tokens: int = 2048
    packing: bool = False
    max_length: int = 1024
    seed: int = 0


def train(traces: Sequence[Trace], settings: Settings, folder: Path, checkpoints: Checkpoints, tracked: Tracking, log: Log, held_out: HeldOut | None = None) -> dict[str, float]:
    """Fine-tune, write the model, `metrics.jsonl` and `curves.html` to `folder`; returns the summary of the run.

    Goes on from the last of `checkpoints`; is evaluated on `held_out`, and then the best weights are written. traces: with prompt and completion.
    Raises `BadInput` for rows over `max_length` or the model's context, all of them counted; `Missing` for no such model; `Interrupted` when the user stopped it.
    """
    hush()
    transformers.set_seed(settings.seed)
    model, tokenizer = _model(traces, settings)
    data = encode(tokenizer, [row.prompt or "" for row in traces], [row.completion or "" for row in traces])
    _refuse_long(data, model, settings)
    if settings.packing:
        require_separation(model, data)
    processes = process_count()
    batches = _schedule(data, settings, processes)
    steps = settings.max_steps or len(batches) // processes
    clock = Clock(warm_cosine(), steps, settings.max_seconds)
    evaluation = [Evaluation(held_out, checkpoints)] if held_out else []
    trainer = _Trainer(
        model=model,
        args=_config(model, settings, steps, checkpoints.folder, tracked.settings),
        train_dataset=Dataset.from_dict({"input_ids": [row.ids for row in data], "prompt": [row.prompt for row in data]}),
        data_collator=_collator(settings, tokenizer),
        processing_class=tokenizer,
        callbacks=[clock, Watch(log, clock, steps, settings.max_seconds, ("loss", *TOLD)), *evaluation, checkpoints, *tracked.callbacks],
        optimizers=_optimizer(model, settings),
        batches=batches,
    )
    trainer.held_out = held_out
    run(trainer, clock, checkpoints, "lower --batch-tokens, then --max-length; or pass --lora")
    trainer.take_best(checkpoints)
    summary = {
        "steps": trainer.state.global_step,
        "seconds": round(clock.seconds, 1),
        "rows": len(data),
        "rows_seen": sum(len(batch) for batch in batches[: trainer.state.global_step * processes]),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "loss": _closing_loss(trainer.state.log_history),
        **({"best_step": checkpoints.best} if checkpoints.best else {}),
        **told(trainer.state.log_history, checkpoints.best),
    }
    write_model(trainer, folder, settings.base if settings.lora else None, settings.quantize)
    tokenizer.save_pretrained(folder)
    write_history(folder, trainer.state.log_history, "Fine-tuning")
    return summary


class _Trainer(Resumable, Evaluated, SFTTrainer):
    """SFTTrainer with the plain loss on the positions that have a label, over batches formed ahead of time (row numbers, in the order of training)."""

    def __init__(self, *, batches: Sequence[Sequence[int]], **options: Any) -> None:
        self._batches = batches
        super().__init__(**options)

    def get_train_dataloader(self) -> Any:
        loader = torch.utils.data.DataLoader(self.train_dataset, batch_sampler=self._batches, collate_fn=self.data_collator, pin_memory=self.args.dataloader_pin_memory)
        return self.accelerator.prepare(loader)

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        with self.accelerator.autocast():  # around the model itself it is skipped by what `completion_loss` calls
            return completion_loss(model, inputs)


def _model(rows: Sequence[Trace], settings: Settings) -> tuple[Any, Any]:
    if settings.size is not None:
        return from_scratch(rows, settings.size, settings.seed)
    if settings.base is None:
        raise UsageError("no model", hint="pass --model DIR, or --from-scratch tiny")
    return adapted(settings.base, settings.lora_rank, settings.quantize) if settings.lora else load_for_training(settings.base)


def _refuse_long(data: Sequence[Row], model: Any, settings: Settings) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or settings.max_length
    limit = min(settings.max_length, context)
    long = sum(len(row.ids) > limit for row in data)
    if long:
        whose = f"than {limit} tokens" if limit == settings.max_length else f"than the model's context of {limit} tokens"
        raise BadInput(f"{long} of {len(data)} rows are longer {whose}", hint="raise --max-length where the model's context allows, or leave these rows out: half a reasoning teaches nothing")


def _schedule(data: Sequence[Row], settings: Settings, processes: int = 1) -> list[list[int]]:
    """The batches of all epochs in turn, each epoch shuffled anew; as many as steps where steps are given. One step takes a batch for each process."""
    lengths = [len(row.ids) for row in data]
    form = packed_batches if settings.packing else token_batches
    batches: list[list[int]] = []
    epoch, wanted = 0, (settings.max_steps or 1) * processes
    # a run limited by steps or by the clock goes round again when its rows are used up
    while epoch < settings.epochs or len(batches) < wanted or (settings.max_seconds and epoch < 20):
        more = form(lengths, settings.batch_tokens, settings.seed + epoch)
        part = settings.epochs - epoch
        batches += more if part >= 1 or settings.max_steps or settings.max_seconds else more[: math.ceil(part * len(more))]
        epoch += 1
    return batches[:wanted] if settings.max_steps else batches[: len(batches) // processes * processes]


def _collator(settings: Settings, tokenizer: Any) -> Any:
    """From rows of the dataset to a batch."""

    def collate(items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        rows = [Row(item["input_ids"], item["prompt"]) for item in items]
        return pack(rows) if settings.packing else pad(rows, tokenizer.pad_token_id)

    return collate


def _optimizer(model: Any, settings: Settings) -> tuple[Any, Any]:
    """The optimiser, and a schedule that leaves its rates to the clock."""
    scratch_run = settings.size is not None
    usual = 1.0 if scratch_run else 2e-4 if settings.lora else 2e-5
    rate = settings.rate if settings.rate is not None else usual
    if (settings.optimizer or ("muon" if scratch_run else "adamw")) == "muon":
        optimizer: Any = muon_adamw(model, rate if scratch_run else rate / ADAMW_RATE)
    else:
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=rate * ADAMW_RATE if scratch_run else rate, weight_decay=0.01)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)


def _config(model: Any, settings: Settings, steps: int, folder: Path, tracked: dict[str, Any]) -> SFTConfig:
    return SFTConfig(
        output_dir=str(folder),
        **trainer_basics(model, settings.seed),
        per_device_train_batch_size=1,
        max_steps=steps,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        logging_steps=max(1, min(50, steps // 50)),
        ddp_find_unused_parameters=False,
        accelerator_config={"even_batches": False},  # the schedule gives every process as many batches
        **tracked,
    )


def _closing_loss(history: Sequence[dict[str, float]]) -> float:
    """Mean loss of the last tenth of the steps. Each entry is the mean since the one before."""
    entries = [(int(row["step"]), row["loss"]) for row in history if "loss" in row]
    begun = [0, *(step for step, _ in entries)]
    last = [(step - before, loss) for before, (step, loss) in zip(begun, entries, strict=False) if step > 0.9 * entries[-1][0]]
    return round(sum(steps * loss for steps, loss in last) / sum(steps for steps, _ in last), 4)
