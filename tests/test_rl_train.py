"""GRPO itself: what a run changes, tells and refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest
import torch
import training_toys as toys
from commands_run import lore
from safetensors.torch import load_file

from lore_cli import modelcard
from lore_cli.models import directory_hash
from lore_cli.train.weights import read_weights

QUICK = ("--prompts-per-step", 4, "--generations", 4, "--max-new-tokens", 8)


@pytest.fixture
def rows(tmp_path) -> Path:
    return toys.write(tmp_path / "pairs.jsonl", toys.pairs())


def train(rows: Path, folder: Path, *options: object, model: Path | None = None):
    return lore("lore-rl", "train", rows, "--model", model or toys.graded_by_label(), *QUICK, *options, "-o", folder)


def test_two_updates_change_the_weights_and_tell_the_parts_of_the_reward(rows, tmp_path):
    done = train(rows, tmp_path / "rl", "--max-steps", 2, "--rate", 1e-3, "--weight", "ordinal=0.5")
    assert done.code == 0, done.err
    assert done.out == b"" and len(done.err.splitlines()) == 1
    base = toys.graded_by_label()
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "rl" / "model.safetensors")
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in before)
    steps = [row for row in toys.read(tmp_path / "rl" / "metrics.jsonl") if "reward" in row]
    assert [row["step"] for row in steps] == [1, 2] and steps[1]["kl"] > 0
    weights = read_weights(texts=("ordinal=0.5",))
    for row in steps:
        assert row["drawn/reward"] == pytest.approx(sum(weights[name] * row[f"reward/{name}"] for name in weights), abs=1e-5)
    card = modelcard.require(tmp_path / "rl")
    assert (card.stage, card.layout, card.base) == ("rl", "label-only", f"sha256:{directory_hash(base)}")
    manifest = orjson.loads((tmp_path / "rl.manifest.json").read_bytes())
    assert manifest["identity"]["weights"]["ordinal"] == 0.5 and manifest["counts"]["steps"] == 2 and manifest["counts"]["pairs"] == 48
    assert {path.name for path in tmp_path.iterdir()} == {"pairs.jsonl", "rl", "rl.manifest.json"}


def test_one_seed_gives_the_same_aligned_model(rows, tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        assert train(rows, tmp_path / name, "--max-steps", 2, "--seed", seed).code == 0
    assert directory_hash(tmp_path / "one") == directory_hash(tmp_path / "two") != directory_hash(tmp_path / "other")


def test_fewer_pairs_than_prompts_per_step_are_all_used(tmp_path):
    done = train(toys.write(tmp_path / "few.jsonl", toys.pairs(3)), tmp_path / "rl", "--max-steps", 2)
    assert done.code == 0 and "3 graded pairs, so 3 prompts per step instead of 4" in done.err
    assert orjson.loads((tmp_path / "rl.manifest.json").read_bytes())["counts"]["steps"] == 2


def test_without_kl_no_divergence_is_computed(rows, tmp_path):
    assert train(rows, tmp_path / "rl", "--max-steps", 1, "--kl", 0).code == 0
    assert "kl" not in toys.read(tmp_path / "rl" / "metrics.jsonl")[0]


def test_an_sft_loss_on_traces_stands_beside_the_reward(rows, tmp_path):
    traces = toys.write(tmp_path / "traces.jsonl", toys.traces(layout="label-only"))
    done = train(rows, tmp_path / "rl", "--max-steps", 12, "--rate", 1e-3, "--traces", traces, "--sft-weight", 10)
    assert done.code == 0, done.err
    losses = [row["sft_loss"] for row in toys.read(tmp_path / "rl" / "metrics.jsonl") if "sft_loss" in row]
    assert len(losses) == 12 and sum(losses[-3:]) < sum(losses[:3])
    assert str(traces) in str(orjson.loads((tmp_path / "rl.manifest.json").read_bytes())["inputs"])


def test_the_sft_loss_needs_rows_to_learn_from(rows, tmp_path):
    pairs_only = toys.write(tmp_path / "traces.jsonl", toys.pairs(4))
    done = train(rows, tmp_path / "rl", "--max-steps", 1, "--traces", pairs_only)
    assert done.code == 3 and "completion" in done.err and "lore-synth" in done.err and not (tmp_path / "rl").exists()


def test_traces_in_another_form_than_the_models_are_refused(rows, tmp_path):
    done = train(rows, tmp_path / "rl", "--max-steps", 1, "--traces", toys.write(tmp_path / "traces.jsonl", toys.traces(4)))
    assert done.code == 3 and "written as answer-last, the model answers as label-only" in done.err and "row 'p0'" in done.err and not (tmp_path / "rl").exists()


def test_the_clock_ends_a_run(rows, tmp_path):
    assert train(rows, tmp_path / "rl", "--max-seconds", 1).code == 0
    assert 0 < orjson.loads((tmp_path / "rl.manifest.json").read_bytes())["counts"]["steps"] < 1000


@pytest.mark.parametrize("options", [("--rate", 1e30, "--max-steps", 3), ("--weight", "format=1e300", "--max-steps", 1), ("--weight", "format=1.7e308", "--weight", "grade=1.7e308", "--max-steps", 3)])
def test_numbers_that_overflow_end_the_run_without_a_model(rows, tmp_path, options):
    done = train(rows, tmp_path / "rl", *options)
    assert done.code == 3 and "next: " in done.err and "Traceback" not in done.err
    assert {path.name for path in tmp_path.iterdir()} == {"pairs.jsonl"}


def test_pairs_without_a_human_grade_give_nothing_to_align_with(tmp_path):
    rows = toys.write(tmp_path / "rows.jsonl", [{name: value for name, value in row.items() if name != "grade"} for row in toys.pairs(4)])
    done = train(rows, tmp_path / "rl", "--max-steps", 1)
    assert done.code == 3 and "no pair has a human grade" in done.err and not (tmp_path / "rl").exists()


def test_a_model_that_lore_did_not_make_is_refused(rows, tmp_path):
    shutil.copytree(toys.graded_by_label(), tmp_path / "model")
    (tmp_path / "model" / modelcard.FILE).unlink()
    done = train(rows, tmp_path / "rl", "--max-steps", 1, model=tmp_path / "model")
    assert done.code == 4 and "lore-sft" in done.err


def test_a_directory_that_holds_a_card_alone_is_refused(rows, tmp_path):
    (tmp_path / "model").mkdir()
    shutil.copy(toys.graded_by_label() / modelcard.FILE, tmp_path / "model")
    done = train(rows, tmp_path / "rl", "--max-steps", 1, model=tmp_path / "model")
    assert done.code == 4 and "config.json" in done.err and "Traceback" not in done.err


def test_a_run_is_evaluated_writes_a_card_and_curves_and_refuses_what_a_benchmark_has(rows, tmp_path):
    held_out = toys.write(tmp_path / "held-out.jsonl", toys.pairs(6))
    done = train(rows, tmp_path / "rl", "--max-steps", 2, "--evaluate", held_out, "--evaluate-every", 1, "--best", "acc4_all")
    assert done.code == 0, done.err
    evaluations = [row for row in toys.read(tmp_path / "rl" / "metrics.jsonl") if "eval_acc4_all" in row]
    assert [row["step"] for row in evaluations] == [1, 2]
    counts = orjson.loads((tmp_path / "rl.manifest.json").read_bytes())["counts"]
    assert counts["best_step"] == max(evaluations, key=lambda row: row["eval_acc4_all"])["step"]
    assert "reinforcement learning" in (tmp_path / "rl" / "README.md").read_text() and (tmp_path / "rl" / "curves.html").read_text().count("<svg") > 1
    done = train(rows, tmp_path / "leaked", "--max-steps", 1, "--not-in", held_out)
    assert done.code == 3 and "'p0'" in done.err and not (tmp_path / "leaked").exists()
