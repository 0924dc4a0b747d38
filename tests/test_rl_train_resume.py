"""A GRPO run that stopped goes on as if it had not: same weights, same log; and it is refused on anything else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import training_toys as toys
from commands_run import lore
from safetensors.torch import load_file

from lore_cli.train.unfinished import latest

# two rounds of two updates on each batch of draws, refills, an SFT loss: all that a checkpoint must hold
SETTINGS = ("--prompts-per-step", 3, "--generations", 4, "--max-new-tokens", 6, "--rate", 1e-3, "--num-iterations", 2, "--steps-per-generation", 2, "--seed", 5)
STEPS = 6


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rl-resume")
    toys.write(folder / "pairs.jsonl", toys.pairs())
    toys.write(folder / "traces.jsonl", toys.traces(layout="label-only"))
    return folder


def asked(shop: Path, folder: Path, *options: object) -> tuple[object, ...]:
    rest = ("--traces", shop / "traces.jsonl", *SETTINGS, "--max-steps", STEPS, *options)
    return ("lore-rl", "train", shop / "pairs.jsonl", "--model", toys.graded_by_label(), *rest, "-o", folder)


@pytest.fixture(scope="module")
def whole(shop) -> dict[str, torch.Tensor]:
    """The weights of a run that nothing interrupted."""
    done = lore(*asked(shop, shop / "whole"))
    assert done.code == 0, done.err
    return weights(shop / "whole")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def timeless(folder: Path) -> list[dict]:
    return [{name: value for name, value in row.items() if name not in ("step_time", "epoch")} for row in toys.read(folder / "metrics.jsonl") if "grad_norm" in row]


@pytest.mark.parametrize("step", [3, 4])  # within the updates on one batch, and between two
def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_weights_and_log(shop, whole, tmp_path, ctrl_c_at, step):
    ctrl_c_at(step)
    done = lore(*asked(shop, tmp_path / "rl"))
    assert done.code == 130 and f"interrupted at step {step}" in done.err and "--resume" in done.err and not (tmp_path / "rl").exists()
    ctrl_c_at(-1)
    done = lore(*asked(shop, tmp_path / "rl", "--resume"))
    assert done.code == 0, done.err
    assert same(weights(tmp_path / "rl"), whole)
    assert timeless(tmp_path / "rl") == timeless(shop / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"rl", "rl.manifest.json"}
    assert "is finished" in lore(*asked(shop, tmp_path / "rl", "--resume")).err


def test_after_kill_9_the_run_ends_in_the_weights_of_an_uninterrupted_one(shop, whole, tmp_path):
    child = multiprocessing.get_context("fork").Process(target=lore, args=asked(shop, tmp_path / "rl", "--save-steps", 1))
    child.start()
    while latest(tmp_path / "rl.unfinished") is None and child.is_alive():
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL and not (tmp_path / "rl").exists()
    done = lore(*asked(shop, tmp_path / "rl", "--save-steps", 1, "--resume"))
    assert done.code == 0, done.err
    assert same(weights(tmp_path / "rl"), whole)


def test_another_place_in_the_prompts_gives_other_weights(shop, whole, tmp_path, ctrl_c_at):
    """The equality above is not for want of effect."""
    ctrl_c_at(4)
    lore(*asked(shop, tmp_path / "rl"))
    ctrl_c_at(-1)
    (latest(tmp_path / "rl.unfinished") / "cursor.json").write_text('{"place": [0, 1]}')
    assert lore(*asked(shop, tmp_path / "rl", "--resume")).code == 0
    assert not same(weights(tmp_path / "rl"), whole)


def test_other_data_traces_weights_and_options_are_refused_by_name(shop, tmp_path, ctrl_c_at):
    ctrl_c_at(1)
    assert lore(*asked(shop, tmp_path / "rl")).code == 130
    other = tmp_path / "other"
    other.mkdir()
    toys.write(other / "pairs.jsonl", toys.pairs(40))
    toys.write(other / "traces.jsonl", toys.traces(40, layout="label-only"))
    for changed, options in (("pairs", ()), ("beta", ("--beta", 0.1)), ("seed", ("--seed", 6)), ("weights", ("--weight", "grade=2"))):
        done = lore(*asked(other if changed == "pairs" else shop, tmp_path / "rl", "--resume", *options))
        assert done.code == 2 and f"{changed}: was" in done.err, done.err
    assert lore(*asked(shop, tmp_path / "rl")).code == 2, "unfinished work is not thrown away without --force"
    assert latest(tmp_path / "rl.unfinished") is not None
