"""Checkpoints of a run, for SFT and RL alike: written at a rhythm and when interrupted, and taken up so that the run ends as if it had never stopped.

transformers saves and restores weights, optimiser, schedule, random state and the place in the data. Ours: a checkpoint counts only when the file
`complete.json` stands in it, the one before is removed only then, Ctrl-C and SIGTERM wait for the end of the step, and the clock goes on where it was.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from torch import distributed
from transformers import Trainer, TrainerCallback

from lore_cli.errors import Missing
from lore_cli.files import read_json, sync, write_json_atomic
from lore_cli.train.unfinished import COMPLETE, latest


def anywhere(flag: bool) -> bool:
    """Whether a flag is set in any process of a run on several GPUs: they must all stop, or none, since each waits for the others."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return flag
    told = torch.tensor(int(flag), device=PartialState().device)
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
    return bool(told)


class Checkpoints(TrainerCallback):
    """Saves after every `every` steps (None: never), and when the user interrupts. `best`: the step whose checkpoint is to be kept beside the last one."""

    def __init__(self, folder: Path, every: int | None) -> None:
        self.folder, self._every = folder, every
        self.seconds: Any = lambda: 0.0  # how long the run has taken, the parts before it was resumed included
        self.best: int | None = None
        self.interrupted = False

    @property
    def begun(self) -> Path | None:
        """The checkpoint to go on from."""
        return latest(self.folder)

    @property
    def seconds_before(self) -> float:
        """What the run had taken when that checkpoint was written."""
        return float(read_json(self.begun / COMPLETE, "a checkpoint")["seconds"]) if self.begun else 0.0

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Inside, a first Ctrl-C or SIGTERM lets the step end and saves; a second one ends at once. Ignored signals stay ignored."""

        def interrupt(number: int, frame: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        kept = {number: handler for number, handler in kept.items() if handler not in (signal.SIG_IGN, signal.SIG_DFL, None)}
        for number in kept:
            signal.signal(number, interrupt)
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.interrupted = anywhere(self.interrupted)
        due = self._every and state.global_step % self._every == 0 and state.global_step < state.max_steps
        if due or self.interrupted:
            control.should_save = control.should_log = True  # a checkpoint does not hold the losses since the last log
        if self.interrupted:
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Declare the checkpoint complete, then remove what is no longer needed."""
        PartialState().wait_for_everyone()  # each process saves its own random state
        if not state.is_world_process_zero:
            return
        written = self.folder / f"checkpoint-{state.global_step}"
        for file in filter(Path.is_file, written.rglob("*")):
            with open(file, "rb+") as content:
                sync(content)
        write_json_atomic(written / COMPLETE, {"step": state.global_step, "seconds": round(self.seconds(), 3)})
        for older in self.folder.glob("checkpoint-*"):
            if older not in (written, self.at(self.best)):
                shutil.rmtree(older, ignore_errors=True)

    def at(self, step: int | None) -> Path | None:
        """The checkpoint of a step."""
        return None if step is None else self.folder / f"checkpoint-{step}"


class Resumable(Trainer):
    """A Trainer whose checkpoints fail cleanly: what could be written of one is removed, the one before stays usable."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            Trainer._save_checkpoint(self, model, trial)  # TRL's would write its own model card each time
        except (OSError, RuntimeError, SafetensorError) as error:  # each library has its own error for a full disk
            folder = Path(self.args.output_dir)
            shutil.rmtree(folder / f"checkpoint-{self.state.global_step}", ignore_errors=True)
            before = latest(folder)
            stays = f"{before} stays usable" if before else "there is none before it"
            free = shutil.disk_usage(folder).free >> 20
            reason = f"the checkpoint of step {self.state.global_step} could not be written ({str(error).splitlines()[0]}; {free:,} MiB free); {stays}"
            raise Missing(f"{folder}: {reason}", hint="free some space and pass --resume, or save less often (--save-steps)") from error

    def _get_learning_rate(self) -> float:
        """The rate of this step, for the log: the clock sets it in the optimiser, past the schedule that transformers would ask."""
        return float(self.optimizer.param_groups[0]["lr"])

    def log(self, logs: dict[str, float], *rest: Any) -> None:
        """Without `train_loss` of a resumed run: transformers divides the losses since then by all steps."""
        if self.args.resume_from_checkpoint:
            logs.pop("train_loss", None)
        super().log(logs, *rest)
