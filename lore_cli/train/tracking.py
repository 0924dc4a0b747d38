"""Where a run is followed beside `metrics.jsonl`: TensorBoard, trackio or Weights & Biases, each only when it is asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from lore_cli.errors import require

_PROJECT = "lore"


class Tracking(NamedTuple):
    """What a transformers trainer is given for it: settings of its own and callbacks."""

    settings: dict[str, Any]
    callbacks: list[Any]


def tracking(tracker: str | None, output: str) -> Tracking:
    """How `output` is followed by a tracker, None for none.

    TensorBoard's files go to `OUTPUT.runs`; the other two take place and key from their own settings (TRACKIO_*, WANDB_*). Raises `Missing` when the
    tracker is not installed.
    """
    if tracker is None:
        return Tracking({"report_to": "none"}, [])
    require(tracker, "track")
    if tracker == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations import TensorBoardCallback

        return Tracking({"report_to": "none"}, [TensorBoardCallback(SummaryWriter(f"{output.rstrip('/')}.runs"))])
    os.environ.setdefault("WANDB_PROJECT", _PROJECT)
    return Tracking({"report_to": [tracker], "run_name": Path(output).name, "project": _PROJECT}, [])
