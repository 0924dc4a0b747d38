"""Training that was interrupted: what is kept, how it goes on, what is refused."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch
import training_toys as toys
from commands_run import lore
from safetensors.torch import load_file

from lore_cli.train.unfinished import latest

pytestmark = pytest.mark.usefixtures("toy_size")

SETTINGS = ("--from-scratch", "tiny", "--batch-tokens", 256, "--max-steps", 40, "--save-steps", 4)


@pytest.fixture(scope="module")
def whole(toy_traces) -> dict[str, torch.Tensor]:
    """The weights of a run that nothing interrupted."""
    with toys.at_toy_size():
        done = lore("lore-sft", toy_traces, *SETTINGS, "-o", toy_traces.parent / "whole")
    assert done.code == 0, done.err
    return weights(toy_traces.parent / "whole")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def timeless(folder: Path) -> list[dict]:
    return [{name: value for name, value in row.items() if name in ("step", "loss", "grad_norm", "learning_rate")} for row in toys.read(folder / "metrics.jsonl") if "loss" in row]


def test_after_kill_9_the_run_ends_in_the_weights_and_metrics_of_an_uninterrupted_one(toy_traces, whole, tmp_path):
    child = multiprocessing.get_context("fork").Process(target=lore, args=("lore-sft", toy_traces, *SETTINGS, "-o", tmp_path / "model"))
    child.start()
    kept = tmp_path / "model.unfinished"
    while latest(kept) is None and child.is_alive():
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL and not (tmp_path / "model").exists()
    step = int(latest(kept).name.rpartition("-")[2])
    assert 0 < step < 40
    assert [row["step"] for row in timeless(kept)][-1] >= step  # whoever follows the run has seen what it logged
    (kept / "checkpoint-39").mkdir()  # as a run leaves it that is killed while it saves
    done = lore("lore-sft", toy_traces, *SETTINGS, "--resume", "-o", tmp_path / "model")
    assert done.code == 0, done.err
    assert same(weights(tmp_path / "model"), whole)
    assert timeless(tmp_path / "model") == timeless(toy_traces.parent / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "model.manifest.json"}


def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_weights(toy_traces, whole, tmp_path, ctrl_c_at):
    ctrl_c_at(7)
    done = lore("lore-sft", toy_traces, *SETTINGS, "-o", tmp_path / "model")
    assert done.code == 130 and "interrupted at step 7" in done.err and "--resume" in done.err
    kept = tmp_path / "model.unfinished"
    assert [path.name for path in kept.glob("checkpoint-*")] == ["checkpoint-7"]
    followed = timeless(kept)
    assert followed[-1]["step"] == 7
    with open(kept / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 9, "loss": 1.0}\n')  # as of a run that was killed two steps after its checkpoint
    ctrl_c_at(21)
    assert lore("lore-sft", toy_traces, *SETTINGS, "--resume", "-o", tmp_path / "model").code == 130
    rows = timeless(kept)
    assert rows[: len(followed)] == followed and rows[-1]["step"] == 21
    assert len({row["step"] for row in rows}) == len(rows) and {"step": 9, "loss": 1.0} not in rows
    ctrl_c_at(-1)
    done = lore("lore-sft", toy_traces, *SETTINGS, "--resume", "-o", tmp_path / "model")
    assert done.code == 0, done.err
    assert same(weights(tmp_path / "model"), whole)


def test_a_disk_too_full_for_the_log_ends_no_run(toy_traces, whole, tmp_path, monkeypatch):
    def full(folder: Path, row: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lore_cli.train.common.append_metrics", full)
    assert lore("lore-sft", toy_traces, *SETTINGS, "-o", tmp_path / "model").code == 0
    assert same(weights(tmp_path / "model"), whole) and timeless(tmp_path / "model") == timeless(toy_traces.parent / "whole")


def test_without_a_checkpoint_the_seed_alone_would_not_do(toy_traces, whole, tmp_path):
    """The equality above is not for want of effect: fewer steps give other weights."""
    assert lore("lore-sft", toy_traces, *SETTINGS[:-3], 36, "-o", tmp_path / "model").code == 0
    assert not same(weights(tmp_path / "model"), whole)


def test_a_second_ctrl_c_ends_at_once_and_leaves_nothing_before_the_first_checkpoint(toy_traces, tmp_path, ctrl_c_at):
    ctrl_c_at(2, times=2)
    done = lore("lore-sft", toy_traces, *SETTINGS, "-o", tmp_path / "model")
    assert done.code == 130 and list(tmp_path.iterdir()) == []


def test_an_adapter_in_training_is_resumed(toy_traces, tmp_path, ctrl_c_at):
    asked = ("lore-sft", toy_traces, "--model", toys.graded_by_label(), "--lora", "--lora-rank", 2, "--max-steps", 8, "--batch-tokens", 512)
    assert lore(*asked, "-o", tmp_path / "whole").code == 0
    ctrl_c_at(3)
    assert lore(*asked, "-o", tmp_path / "model").code == 130
    done = lore(*asked, "--resume", "-o", tmp_path / "model")
    assert done.code == 0, done.err
    assert same(weights(tmp_path / "model"), weights(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("change", "named"),
    [(("--seed", 3), "seed: was 0, is 3"), (("--batch-tokens", 300), "batch_tokens: was 256, is 300"), ("data", "data: was"), ("rulebook", "rulebook: was"), ("model", "base: was")],
)
def test_another_run_is_not_taken_up_and_the_difference_is_named(toy_traces, tmp_path, ctrl_c_at, change, named):
    ctrl_c_at(5)
    assert lore("lore-sft", toy_traces, *SETTINGS, "-o", tmp_path / "model").code == 130
    asked = list(SETTINGS)
    if change == "data":
        toy_traces = toys.write(tmp_path / "other.jsonl", toys.traces()[:-1])
    elif change == "rulebook":
        book = Path(toys.__file__).parent.parent / "lore_cli" / "rulebook.toml"
        asked += ["--rulebook", tmp_path / "book.toml"]
        (tmp_path / "book.toml").write_text(book.read_text("utf-8").replace('navy = ["', 'navy = ["ink blue", "', 1) + "\n# changed\n", "utf-8")
    elif change == "model":
        asked[:2] = ["--model", toys.graded_by_label()]
    else:
        asked += change
    done = lore("lore-sft", toy_traces, *asked, "--resume", "-o", tmp_path / "model")
    assert done.code == 2 and named in done.err and latest(tmp_path / "model.unfinished") is not None


def test_unfinished_work_is_not_thrown_away_unasked_and_force_begins_anew(toy_traces, whole, tmp_path, ctrl_c_at):
    ctrl_c_at(5)
    assert lore("lore-sft", toy_traces, *SETTINGS, "-o", tmp_path / "model").code == 130
    done = lore("lore-sft", toy_traces, *SETTINGS, "-o", tmp_path / "model")
    assert done.code == 2 and "unfinished work" in done.err
    ctrl_c_at(-1)
    assert lore("lore-sft", toy_traces, *SETTINGS, "--force", "-o", tmp_path / "model").code == 0
    assert same(weights(tmp_path / "model"), whole) and not (tmp_path / "model.unfinished").exists()


def test_a_folder_of_somebody_else_is_left_alone(toy_traces, tmp_path):
    (tmp_path / "model.unfinished").mkdir()
    (tmp_path / "model.unfinished" / "notes.txt").write_text("mine")
    for options in ((), ("--force",), ("--resume",)):
        done = lore("lore-sft", toy_traces, *SETTINGS, *options, "-o", tmp_path / "model")
        assert done.code == 2 and "is in the way" in done.err and (tmp_path / "model.unfinished" / "notes.txt").exists()


def test_resuming_what_is_finished_does_nothing_and_resuming_nothing_begins(toy_traces, tmp_path):
    asked = ("lore-sft", toy_traces, "--from-scratch", "tiny", "--batch-tokens", 512, "--max-steps", 2, "--resume", "-o", tmp_path / "model")
    assert lore(*asked).code == 0
    before = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    done = lore(*asked)
    assert done.code == 0 and "is finished" in done.err and (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == before
    done = lore(*asked, "--seed", 2)
    assert done.code == 2 and "seed: was 0, is 2" in done.err


def test_a_disk_full_at_a_checkpoint_leaves_the_one_before_usable(toy_traces, whole, tmp_path, ctrl_c_at):
    ctrl_c_at(5)
    assert lore("lore-sft", toy_traces, *SETTINGS, "-o", tmp_path / "model").code == 130
    ctrl_c_at(-1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # a file that grows beyond fails as on a full disk
    try:
        done = lore("lore-sft", toy_traces, *SETTINGS, "--resume", "-o", tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.code == 4 and "checkpoint of step 8 could not be written" in done.err and "checkpoint-5 stays usable" in done.err and "Traceback" not in done.err
    assert [path.name for path in (tmp_path / "model.unfinished").glob("checkpoint-*")] == ["checkpoint-5"]
    assert lore("lore-sft", toy_traces, *SETTINGS, "--resume", "-o", tmp_path / "model").code == 0
    assert same(weights(tmp_path / "model"), whole)
