"""What SFT and RL share: models, rows as token ids, batches by token budget, the clock that a learning rate follows, what is said and what is fatal."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn import functional
from transformers import PrinterCallback, Trainer, TrainerCallback

from lore_cli.errors import BadInput, Interrupted, Missing
from lore_cli.models.hf import bfloat16_units, load_causal
from lore_cli.progress import Log
from lore_cli.train.checkpoints import Checkpoints, anywhere
from lore_cli.train.curves import append_metrics, write_metrics
from lore_cli.train.finite import require_finite, require_finite_weights

IGNORED = -100
_BFLOAT16_PAYS = 10_000_000  # weights from which a CPU with bfloat16 units trains faster by them: 1.0 times at 1.2M, 1.2 at 3.7M, 1.4 at 22M (an encoder), 1.6 at 51M [measured]


def load_for_training(base: str, *, frozen: bool = False, quantization: Any = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a directory or hub id, with an end and a padding token. Raises as `load_causal`, and `BadInput` without an end token.

    In float32, on a GPU too: in bfloat16, whose neighbouring numbers are 0.4 % apart, updates at fine-tuning's rates would round to nothing. frozen:
    the weights only carry an adapter, and may have the type they are judged with, or be quantised (a transformers configuration).
    """
    model, tokenizer = load_causal(base, dtype=None if frozen else torch.float32, quantization=quantization)
    if tokenizer.eos_token_id is None:
        raise BadInput("the tokenizer has no end token: an answer could not end", where=base, field="eos_token", hint="set eos_token in tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def trainer_basics(model: Any, seed: int) -> dict[str, Any]:
    """What every trainer is told, whatever it trains: bfloat16 arithmetic where it pays, recomputed activations on a GPU only, finite losses, no output and no files of its own."""
    on_gpu = torch.cuda.is_available()
    pays = on_gpu or bfloat16_units() and sum(weight.numel() for weight in model.parameters()) >= _BFLOAT16_PAYS
    return {
        "max_grad_norm": 1.0, "use_cpu": not on_gpu, "bf16": pays, "gradient_checkpointing": on_gpu, "dataloader_pin_memory": on_gpu,
        "logging_nan_inf_filter": False, "save_strategy": "no", "disable_tqdm": True, "seed": seed, "data_seed": seed,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One training row as token ids; the first `prompt` of them are read, the rest are learnt."""

    ids: list[int]
    prompt: int


def encode(tokenizer: Any, prompts: Sequence[str], completions: Sequence[str]) -> list[Row]:
    """Token ids of prompt, completion and end token. Both texts are tokenised apart, as a judge will see the prompt alone."""
    heads = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    tails = tokenizer(list(completions), add_special_tokens=False)["input_ids"]
    return [Row(head + tail + [tokenizer.eos_token_id], len(head)) for head, tail in zip(heads, tails, strict=True)]


def token_batches(lengths: Sequence[int], budget: int, seed: int) -> list[list[int]]:
    """Row numbers in batches of at most `budget` padded tokens, rows of similar length together, batches in random order.

    Every row is in exactly one batch; a row longer than the budget is a batch of its own.
    """
    shuffled = random.Random(seed)
    order = list(range(len(lengths)))
    shuffled.shuffle(order)
    order.sort(key=lambda row: lengths[row])  # stable: rows of one length stay shuffled
    batches: list[list[int]] = []
    batch: list[int] = []
    for row in order:
        if batch and lengths[row] * (len(batch) + 1) > budget:
            batches.append(batch)
            batch = []
        batch.append(row)
    if batch:
        batches.append(batch)
    shuffled.shuffle(batches)
    return batches


def pad(rows: Sequence[Row], padding: int) -> dict[str, torch.Tensor]:
    """A batch as int64 tensors of shape (rows, longest row): input_ids, attention_mask and labels, padded on the right."""
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), padding)
    labels = torch.full((len(rows), width), IGNORED)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for number, row in enumerate(rows):
        values = torch.tensor(row.ids)
        ids[number, : len(values)] = values
        labels[number, row.prompt : len(values)] = values[row.prompt :]
        mask[number, : len(values)] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def completion_loss(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of the tokens that have a label, over a batch from `pad` or `pack`. Of a plain Qwen3 the vocabulary projection is computed at these positions only."""
    labels = inputs["labels"][:, 1:]
    read = {name: values for name, values in inputs.items() if name != "labels"}
    if not isinstance(model, transformers.Qwen3ForCausalLM):  # other architectures may treat logits in ways of their own; LoRA and parallel wrap: the whole forward
        logits = model(**read, use_cache=False).logits[:, :-1]
        return functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
    # rows are padded on the right, so the causal mask alone keeps padding out of every real position
    read.pop("attention_mask", None)
    hidden = model.model(**read, use_cache=False).last_hidden_state[:, :-1]
    asked = labels != IGNORED
    return functional.cross_entropy(model.lm_head(hidden[asked]).float(), labels[asked])


class Clock(TrainerCallback):
    """Sets the learning rate by how much of the run is over, in steps or in seconds, whichever is nearer its end, and stops at the limit.

    shape: from the share done in [0, 1] to a factor on each group's own rate. A schedule by steps alone would leave a run that the clock ends
    at a high rate.
    """

    def __init__(self, shape: Callable[[float], float], max_steps: int, max_seconds: float | None) -> None:
        self._shape, self._steps, self._limit = shape, max_steps, max_seconds
        self._started, self._rates, self.before = 0.0, [], 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        self._started = time.monotonic()
        self._rates = [group["initial_lr"] for group in optimizer.param_groups]  # a resumed optimiser has the rate of its last step in "lr"

    def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        done = max(state.global_step / self._steps, self.seconds / self._limit if self._limit else 0.0)
        for group, rate in zip(optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._shape(min(done, 1.0))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._limit and anywhere(self.seconds >= self._limit):
            control.should_training_stop = True

    @property
    def seconds(self) -> float:
        """Since training began, with what it had taken `before` it was resumed."""
        return self.before + time.monotonic() - self._started


class Watch(TrainerCallback):
    """Says where training stands, and ends it when a loss, a reward or a gradient is not a finite number: that must not look like success."""

    _WATCHED = ("loss", "train_loss", "reward", "grad_norm")

    def __init__(self, log: Log, clock: Clock, max_steps: int, max_seconds: float | None, told: Sequence[str]) -> None:
        self._log, self._clock, self._steps, self._limit, self._told = log, clock, max_steps, max_seconds, told
        self._last: dict[str, float] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        for name in self._WATCHED:
            require_finite(name, float((logs or {}).get(name, 0.0)), state.global_step)
        self._last |= {name: float(value) for name, value in (logs or {}).items() if name in self._told}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log |= control.should_training_stop  # the last steps, however many they are
        spent, step = self._clock.seconds, state.global_step
        left = spent / step * (self._steps - step)
        if self._limit:
            left = min(left, self._limit - spent)
        facts = "".join(f", {name} {value:.4g}" for name, value in self._last.items())
        self._log.beat(f"step {step} of at most {self._steps}{facts}, {max(left, 0):.0f} s left", step=step, seconds=round(spent, 1), **self._last)


class Diary(TrainerCallback):
    """Keeps `metrics.jsonl` beside the checkpoints up to date, for whoever follows a run; a resumed run goes on where its checkpoint stood."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            write_metrics(self._folder, state.log_history)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            with contextlib.suppress(OSError):  # a full disk stops no run for this: the whole log is written at its end, and checkpoints tell
                append_metrics(self._folder, state.log_history[-1])


def run(trainer: Trainer, clock: Clock, checkpoints: Checkpoints | None = None, relief: str = "take smaller batches") -> None:
    """Train, with only our callbacks talking, from the last of `checkpoints` on where there is one.

    relief: what helps when memory is short. Raises `BadInput` when the model that comes out holds a value that is not finite, `Interrupted` when the user
    stopped the run; it is saved then; `Missing` when memory did not do.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.accelerator.wait_for_everyone()  # the first process has cleared the folder of checkpoints by then
    begun = checkpoints.begun if checkpoints else None
    if checkpoints is not None:
        clock.before, checkpoints.seconds = checkpoints.seconds_before, lambda: clock.seconds
        trainer.add_callback(Diary(checkpoints.folder))
    trainer.args.resume_from_checkpoint = str(begun) if begun else None
    try:
        with checkpoints.guarded() if checkpoints else contextlib.nullcontext():
            trainer.train(trainer.args.resume_from_checkpoint)
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError of a GPU is one
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise Missing(f"out of memory at step {trainer.state.global_step + 1}: {str(error).strip().splitlines()[0][:200]}", hint=relief) from error
    if checkpoints and checkpoints.interrupted and trainer.state.global_step < trainer.state.max_steps:
        raise Interrupted(f"interrupted at step {trainer.state.global_step}, which is saved in {checkpoints.folder}", hint="pass --resume to go on from there")
    require_finite_weights(trainer.model)


def warm_cosine(warm: float = 0.03) -> Callable[[float], float]:
    """Linear warm-up over the first `warm` of the run, then a cosine to zero."""
    return lambda done: min((done + 1e-3) / warm, 1.0) * 0.5 * (1 + math.cos(math.pi * done))
