"""Following a run: curves that can be looked at, trackers that are asked for, where training stands."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from xml.etree import ElementTree

import pytest
import training_toys as toys
from commands_run import lore

from lore_cli.train import curves
from lore_cli.train.tracking import tracking

pytestmark = pytest.mark.usefixtures("toy_size")

SCRATCH = ("--from-scratch", "tiny", "--batch-tokens", 256, "--max-steps", 4)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    return toys.write(tmp_path_factory.mktemp("sft") / "traces.jsonl", toys.traces(24))


def test_every_number_is_drawn_at_its_place_and_names_are_escaped():
    history = [{"step": 10, "loss": 3.0, "a<b": 1}, {"step": 20, "loss": 1.0}, {"step": 30, "loss": 2.0, "note": "text"}, {"step": 30, "train_runtime": 3.0}]
    assert curves.series(history) == {"loss": [(10, 3), (20, 1), (30, 2)], "a<b": [(10, 1)]}
    page = curves.page(history, "a & b")
    assert '<polyline points="8,8 150,112 292,60"/>' in page and "a&lt;b" in page and "<h1>a &amp; b</h1>" in page and "note" not in page
    assert "http" not in page and "<script" not in page
    assert len(ElementTree.fromstring(page.partition("<main>")[2].partition("</main>")[0].join(("<main>", "</main>")))) == 2


def test_nothing_logged_is_said():
    assert "Nothing was logged" in curves.page([], "empty")


def test_a_run_leaves_its_curves(rows, tmp_path):
    assert lore("lore-sft", rows, *SCRATCH, "--save-steps", 2, "-o", tmp_path / "model").code == 0
    page = (tmp_path / "model" / "curves.html").read_text("utf-8")
    assert "<figcaption>loss</figcaption>" in page and "<polyline" in page


def test_tensorboard_holds_the_losses_of_the_metrics(rows, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = lore("lore-sft", rows, *SCRATCH, "--save-steps", 2, "--report-to", "tensorboard", "-o", tmp_path / "model")
    assert done.code == 0 and done.out == b"", done.err
    told = EventAccumulator(str(tmp_path / "model.runs"))
    told.Reload()
    logged = {row["step"]: row["loss"] for row in toys.read(tmp_path / "model" / "metrics.jsonl") if "loss" in row}
    assert {event.step: event.value for event in told.Scalars("train/loss")} == pytest.approx(logged) and logged


def test_a_tracker_that_is_not_installed_is_named_with_the_line_that_installs_it(rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = lore("lore-sft", rows, *SCRATCH, "--report-to", "wandb", "-o", tmp_path / "model")
    assert done.code == 4 and "wandb" in done.err and "lore-cli[track]" in done.err and list(tmp_path.iterdir()) == []


def test_the_other_trackers_are_left_to_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", types.ModuleType("trackio"))
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert tracking("trackio", "some/where/model").settings == {"report_to": ["trackio"], "run_name": "model", "project": "lore"}
    assert tracking(None, "x").settings == {"report_to": "none"}


def test_the_progress_line_tells_step_loss_and_time_left(rows, tmp_path, monkeypatch):
    from lore_cli.progress import Log

    said: list[str] = []
    monkeypatch.setattr(Log, "beat", lambda self, message, **fields: said.append(message))
    assert lore("lore-sft", rows, *SCRATCH, "--save-steps", 2, "-o", tmp_path / "model").code == 0
    assert said[0].startswith("step 1 of at most 4") and "loss" in said[-1] and said[-1].endswith(" 0 s left")
