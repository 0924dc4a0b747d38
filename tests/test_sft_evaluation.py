"""Evaluation while training: what is measured, which weights are kept, when training ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
import training_toys as toys
from commands_run import lore
from safetensors.torch import load_file

from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.rair.measure import metrics_of
from lore_cli.records import Pair, Verdict, parse
from lore_cli.train import evaluation

pytestmark = pytest.mark.usefixtures("toy_size")

SCRATCH = ("--from-scratch", "tiny", "--batch-tokens", 512)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    return toys.write(tmp_path_factory.mktemp("sft") / "traces.jsonl", toys.traces(48, "label-only"))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory) -> Path:
    return toys.write(tmp_path_factory.mktemp("held") / "pairs.jsonl", toys.pairs(24))


def evaluations(folder: Path, name: str = "eval_acc4_all") -> dict[int, float]:
    return {row["step"]: row[name] for row in toys.read(folder / "metrics.jsonl") if name in row}


@pytest.fixture
def scripted(monkeypatch):
    """Evaluations that give the values put here, one after another; the weights they saw, by step."""
    seen: list[dict[str, torch.Tensor]] = []
    values: list[float] = []

    def metrics(self, model, tokenizer):
        seen.append({name: weight.detach().clone() for name, weight in model.state_dict().items()})
        return {"eval_acc4": values[len(seen) - 1]}

    monkeypatch.setattr(evaluation.HeldOut, "metrics", metrics)
    return values, seen


def holds(folder: Path, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(weight, weights[name]) for name, weight in load_file(folder / "model.safetensors").items())


def test_metrics_of_rows_are_those_of_a_scored_run():
    pairs = [parse(Pair, row) for row in toys.pairs(4)]
    given = [{"grade": pair.grade} for pair in pairs[:3]] + [{"error": "no reply"}]
    verdicts = [Verdict(id=pair.id, query=pair.query, item_id=pair.item.id, judge="x", **fields) for pair, fields in zip(pairs, given, strict=True)]
    found = metrics_of(zip(pairs, verdicts, strict=True), toys.RULEBOOK)
    assert found["acc4"] == 1 and found["acc4_all"] == found["coverage"] == 0.75 and "pass_at_1" not in found
    assert metrics_of([], toys.RULEBOOK) == {}


def test_the_last_evaluation_is_what_the_written_model_scores_and_leaves_the_weights_alone(rows, held_out, tmp_path):
    asked = ("lore-sft", rows, *SCRATCH, "--max-steps", 20)
    assert lore(*asked, "-o", tmp_path / "plain").code == 0
    done = lore(*asked, "--evaluate", held_out, "--evaluate-every", 8, "-o", tmp_path / "model")
    assert done.code == 0 and "eval_acc2" in done.err, done.err
    assert list(evaluations(tmp_path / "model")) == [8, 16, 20]
    pairs = [parse(Pair, row) for row in toys.read(held_out)]
    judge = open_judge(f"hf:{tmp_path / 'model'}", JudgeSettings(toys.RULEBOOK))
    expected = metrics_of(zip(pairs, judge(pairs), strict=True), toys.RULEBOOK)
    last = [row for row in toys.read(tmp_path / "model" / "metrics.jsonl") if "eval_acc4_all" in row][-1]
    assert {name: value for name, value in last.items() if name.startswith("eval_")} == {f"eval_{name}": round(value, 6) for name, value in expected.items()}
    assert expected["acc4_all"] > 0.2
    assert holds(tmp_path / "model", load_file(tmp_path / "plain" / "model.safetensors"))


def test_patience_ends_the_run_and_the_best_weights_are_written(rows, held_out, tmp_path, scripted):
    values, seen = scripted
    values += [0.2, 0.6, 0.5, 0.6, 0.1, 0.9]
    done = lore("lore-sft", rows, *SCRATCH, "--max-steps", 40, "--evaluate", held_out, "--evaluate-every", 2, "--best", "acc4", "--patience", 3, "--save-steps", 3, "-o", tmp_path / "model")
    assert done.code == 0 and "best_step 4" in done.err, done.err
    assert list(evaluations(tmp_path / "model", "eval_acc4")) == [2, 4, 6, 8, 10]
    assert holds(tmp_path / "model", seen[1]) and not holds(tmp_path / "model", seen[4])


def test_without_best_the_last_weights_are_written_and_a_best_last_one_needs_no_checkpoint(rows, held_out, tmp_path, scripted):
    values, seen = scripted
    values += [0.9, 0.1, 0.2, 0.3]
    asked = ("lore-sft", rows, *SCRATCH, "--max-steps", 4, "--evaluate", held_out, "--evaluate-every", 2)
    assert lore(*asked, "-o", tmp_path / "last").code == 0
    assert holds(tmp_path / "last", seen[1])
    assert lore(*asked, "--best", "acc4", "-o", tmp_path / "best").code == 0
    assert holds(tmp_path / "best", seen[3])


def test_a_resumed_run_still_knows_its_best(rows, held_out, tmp_path, scripted, monkeypatch):
    values, seen = scripted
    values += [0.2, 0.6, 0.5, 0.4, 0.3]
    real, handler = evaluation.Evaluation.on_step_end, signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupting(self, args, state, control, **rest):
        real(self, args, state, control, **rest)
        if state.global_step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(evaluation.Evaluation, "on_step_end", interrupting)
    asked = ("lore-sft", rows, *SCRATCH, "--max-steps", 10, "--evaluate", held_out, "--evaluate-every", 2, "--best", "acc4", "--save-steps", 7, "-o", tmp_path / "model")
    try:
        assert lore(*asked).code == 130
        assert {path.name for path in (tmp_path / "model.unfinished").glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-5"}
        done = lore(*asked, "--resume")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert done.code == 0, done.err
    assert list(evaluations(tmp_path / "model", "eval_acc4").values()) == values
    assert holds(tmp_path / "model", seen[1])


def test_what_cannot_be_evaluated_is_refused_before_any_work(rows, tmp_path):
    ungraded = toys.write(tmp_path / "ungraded.jsonl", [{name: value for name, value in toys.pairs(1)[0].items() if name != "grade"}])
    empty = toys.write(tmp_path / "empty.jsonl", [])
    for options, code, said in (
        (("--evaluate", ungraded), 3, "grade"),
        (("--evaluate", empty), 3, "holds no pairs"),
        (("--evaluate", tmp_path / "none.jsonl"), 4, "none.jsonl"),
        (("--best", "acc4"), 2, "--best needs --evaluate"),
        (("--evaluate", empty, "--patience", 2), 2, "--patience needs --best"),
    ):
        done = lore("lore-sft", rows, *SCRATCH, *options, "-o", tmp_path / "model")
        assert done.code == code and said in done.err and not list(tmp_path.glob("model*")), (options, done.err)
