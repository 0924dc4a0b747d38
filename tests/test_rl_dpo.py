"""DPO: that it moves the margin and the answers, resumes to the same weights, and refuses what it cannot learn from."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import training_toys as toys
from commands_run import lore

from lore_cli import modelcard
from lore_cli.models import directory_hash
from lore_cli.records import GRADES


def preferences(count: int = 48) -> list[dict]:
    """The human grade against the next one."""
    rows = []
    for row in toys.traces(count, "label-only"):
        other = GRADES[(GRADES.index(row["grade"]) + 1) % 4]
        rows.append({**{name: value for name, value in row.items() if name != "completion"}, "chosen": f"grade: {row['grade']}", "rejected": f"grade: {other}", "layout": "label-only"})
    return rows


@pytest.fixture
def rows(tmp_path) -> Path:
    return toys.write(tmp_path / "preferences.jsonl", preferences())


def dpo(rows: Path, folder: Path, *options: object):
    return lore("lore-rl", "dpo", rows, "--model", toys.graded_by_label(), "--rate", 1e-3, *options, "-o", folder)


def right(model: Path, pairs: Path) -> int:
    return sum(row.get("grade") == pair["grade"] for row, pair in zip(map(orjson.loads, lore("lore-rair", "run", pairs, "--judge", f"hf:{model}").lines), toys.read(pairs), strict=True))


def test_the_margin_grows_from_nothing_and_the_model_answers_more_as_preferred(rows, tmp_path):
    done = dpo(rows, tmp_path / "dpo", "--max-steps", 15)
    assert done.code == 0 and done.out == b"" and len(done.err.splitlines()) == 1, done.err
    steps = [row for row in toys.read(tmp_path / "dpo" / "metrics.jsonl") if "rewards/margins" in row]
    assert len(steps) == 15 and steps[0]["rewards/margins"] == pytest.approx(0, abs=1e-4), "the model is its own reference at first"
    assert steps[-1]["rewards/margins"] > 0.3 and steps[-1]["rewards/accuracies"] > 0.7
    counts = orjson.loads((tmp_path / "dpo.manifest.json").read_bytes())["counts"]
    assert counts["steps"] == 15 and counts["pairs"] == 48 and counts["margin_last"] > counts["margin_first"]
    card = modelcard.require(tmp_path / "dpo")
    assert (card.stage, card.layout, card.base) == ("dpo", "label-only", f"sha256:{directory_hash(toys.graded_by_label())}")
    pairs = toys.write(tmp_path / "pairs.jsonl", toys.pairs())
    assert right(tmp_path / "dpo", pairs) > right(toys.graded_by_label(), pairs)
    assert not (tmp_path / "dpo.unfinished").exists() and (tmp_path / "dpo" / "curves.html").exists()


def test_one_pass_is_the_default_and_one_seed_gives_one_model(rows, tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        assert dpo(rows, tmp_path / name, "--batch", 24, "--seed", seed).code == 0
    assert directory_hash(tmp_path / "one") == directory_hash(tmp_path / "two") != directory_hash(tmp_path / "other")
    assert orjson.loads((tmp_path / "one.manifest.json").read_bytes())["counts"]["steps"] == 2


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(rows, tmp_path, monkeypatch):
    from lore_cli.train.checkpoints import Checkpoints

    assert dpo(rows, tmp_path / "whole", "--max-steps", 6).code == 0
    ends = Checkpoints.on_step_end

    def stops(self, args, state, control, **rest):
        self.interrupted |= state.global_step == 3
        return ends(self, args, state, control, **rest)

    monkeypatch.setattr(Checkpoints, "on_step_end", stops)
    assert dpo(rows, tmp_path / "dpo", "--max-steps", 6).code == 130 and not (tmp_path / "dpo").exists()
    monkeypatch.undo()
    assert dpo(rows, tmp_path / "dpo", "--max-steps", 6, "--beta", 0.2, "--resume").code == 2
    assert dpo(rows, tmp_path / "dpo", "--max-steps", 6, "--resume").code == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("dpo", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"rejected": None}, "rejected: required field is missing"), ({"chosen": 4}, "expected a text"), ({"rejected": "grade: L4", "chosen": "grade: L4"}, "the chosen answer itself"),
     ({"layout": "answer-last"}, "the model answers as label-only"), ({"prompt": "red lamp " * 3000}, "tokens, the model reads")],
)  # fmt: skip
def test_what_cannot_be_learnt_from_is_refused_with_its_row(tmp_path, change, said):
    found = preferences(4)
    found[2] |= change
    done = dpo(toys.write(tmp_path / "rows.jsonl", found), tmp_path / "dpo", "--max-steps", 1)
    assert done.code == 3 and said in done.err and ("p2" in done.err or ":3:" in done.err) and "Traceback" not in done.err
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl"}


def test_no_pairs_and_no_model_are_told(rows, tmp_path):
    done = dpo(toys.write(tmp_path / "none.jsonl", []), tmp_path / "dpo")
    assert done.code == 3 and "no preference pairs" in done.err
    done = lore("lore-rl", "dpo", rows, "--model", tmp_path / "none", "-o", tmp_path / "dpo")
    assert done.code == 4 and not (tmp_path / "dpo").exists()


def test_numbers_that_overflow_end_the_run_without_a_model(rows, tmp_path):
    done = dpo(rows, tmp_path / "dpo", "--rate", 1e30, "--max-steps", 4)
    assert done.code == 3 and "diverged" in done.err and not (tmp_path / "dpo").exists()
