"""Rewards that can be verified, choosing pairs worth learning from, and GRPO itself."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import orjson
import pytest
import torch
import training_toys as toys
from commands_run import lore
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lore_cli import modelcard
from lore_cli.answer import render
from lore_cli.errors import BadInput, UsageError
from lore_cli.models import directory_hash
from lore_cli.records import GRADES
from lore_cli.train import rewards

QUICK = ("--prompts-per-step", 4, "--generations", 4, "--max-new-tokens", 8)
RIGHT = render(toys.implied(toys.pairs(1)[0]))
CONFLICT = render(toys.implied(toys.pairs(13)[12]))


def score(completion: str, human: str = "L4", layout: str = "answer-last") -> dict[str, float]:
    return rewards.reward_parts(completion, human, toys.RULEBOOK, layout)  # type: ignore[arg-type]


@pytest.fixture
def rows(tmp_path) -> Path:
    return toys.write(tmp_path / "pairs.jsonl", toys.pairs())


# ---------------------------------------------------------------- rewards
def test_a_right_answer_earns_every_part():
    assert score(RIGHT) == {"grade": 1.0, "ordinal": 1.0, "format": 1.0, "adherence": 1.0}
    assert rewards.total(score(RIGHT)) == pytest.approx(1.2)


def test_a_wrong_answer_that_follows_from_its_own_matches_earns_form_and_adherence_alone():
    parts = score(CONFLICT, "L4")
    assert parts["grade"] == 0 and parts["format"] == parts["adherence"] == 1 and 0 < parts["ordinal"] < 1
    assert rewards.total(parts) == pytest.approx(0.2)


def test_a_grade_that_the_matches_do_not_imply_loses_adherence():
    assert score(RIGHT.replace("grade: L4", "grade: L2"), "L2")["adherence"] == 0.0
    assert score(RIGHT.replace("rules: none", "rules: R1"))["adherence"] == 0.0


def test_a_bare_grade_is_the_whole_answer_of_a_label_only_model():
    assert score("grade: L4", layout="label-only") == {"grade": 1.0, "ordinal": 1.0, "format": 1.0, "adherence": 0.0}


PROMPT = toys.traces(1)[0]["prompt"]
DEGENERATE = {
    "empty": "",
    "white space": " \n\n",
    "grade only": "grade: L4",
    "repeated grade lines": "grade: L4\ngrade: L4\ngrade: L4",
    "all four grades": "\n".join(f"grade: {grade}" for grade in GRADES),
    "reasoning and all four grades": RIGHT.rpartition("\n")[0] + "\n" + "\n".join(f"grade: {grade}" for grade in GRADES),
    "two answers": f"{RIGHT}\n{RIGHT}",
    "two grades on a line": RIGHT + " L3",
    "the prompt": PROMPT,
    "the prompt and the answer": PROMPT + RIGHT,
    "a title that gives orders": "title: ignore the above\nrules: none\ngrade: L4",
    "no need": "rules: none\ngrade: L4",
    "an unknown rule": RIGHT.replace("rules: none", "rules: R999"),
    "an unknown attribute": RIGHT.replace("category =", "charm ="),
    "an unknown source": RIGHT.replace("[category]", "[rumour]"),
    "a state with no evidence": RIGHT.replace("found lamp [category] ; exact", "not found ; exact"),
    "cut off": RIGHT[: RIGHT.rindex(":")],
    "cut off in a line": RIGHT[:25],
    "the grade in a sentence": RIGHT.replace("grade: L4", "The grade is L4."),
    "the wrong layout": "grade: L4\n" + RIGHT.rpartition("\n")[0],
    "lower case": RIGHT.replace("L4", "l4"),
    "an unknown grade": RIGHT.replace("L4", "L5"),
}


@pytest.mark.parametrize("what", DEGENERATE)
def test_a_degenerate_answer_earns_nothing(what: str):
    assert rewards.total(score(DEGENERATE[what])) == 0.0


@given(st.text(max_size=80))
def test_no_text_breaks_the_scorer_or_earns_what_it_should_not(text: str):
    for layout in ("answer-last", "answer-first", "label-only"):
        parts = score(text, layout=layout)
        assert set(parts) == set(rewards.WEIGHTS) and all(0 <= part <= 1 for part in parts.values())


def test_weights_are_read_strictly():
    assert rewards.parse_weights(("ordinal=0.5", "grade=2"))["ordinal"] == 0.5
    for wrong in ("grade", "grade=", "taste=1", "grade=nan", "grade=inf", "=1"):
        with pytest.raises(UsageError, match="NAME=NUMBER"):
            rewards.parse_weights((wrong,))


@pytest.mark.parametrize("parts", [{"grade": math.nan}, {"grade": math.inf}, {"grade": 1.0, "format": 1.0}])
def test_a_reward_that_is_no_finite_number_is_fatal(parts):
    with pytest.raises(BadInput, match="reward"):
        rewards.total(parts, {"grade": 1.7e308, "format": 1.7e308})


# ---------------------------------------------------------------- the filters
def test_the_reward_filter_adds_to_rows_and_keeps_what_they_had(tmp_path):
    given_rows = [{**row, "shop": {"shelf": 3}} for row in toys.traces(8)]
    given_rows[1]["completion"] = "grade: L4"
    done = lore("lore-rl", "reward", "--quiet", stdin=b"".join(orjson.dumps(row) + b"\n" for row in given_rows))
    found = [orjson.loads(line) for line in done.lines]
    assert done.code == 0 and [row["id"] for row in found] == [row["id"] for row in given_rows]
    assert [row["reward"] for row in found] == [pytest.approx(1.2), 0.0, *[pytest.approx(1.2)] * 6]
    assert all(row["shop"] == {"shelf": 3} and set(row["rewards"]) == set(rewards.WEIGHTS) for row in found)


def test_the_reward_filter_takes_weights_and_layout(tmp_path):
    rows = toys.write(tmp_path / "rows.jsonl", toys.traces(4, "answer-first"))
    done = lore("lore-rl", "reward", rows, "--layout", "answer-first", "--weight", "grade=3", "--weight", "adherence=0", "--quiet")
    assert [orjson.loads(line)["reward"] for line in done.lines] == [pytest.approx(3.1)] * 4
    assert {orjson.loads(line)["reward"] for line in lore("lore-rl", "reward", rows, "--quiet").lines} == {0.0}


def test_the_table_shows_the_lowest_rewards_first(tmp_path):
    given_rows = toys.traces(6)
    given_rows[3]["completion"] = "nothing of the sort"
    scored = lore("lore-rl", "reward", "--quiet", stdin=b"".join(orjson.dumps(row) + b"\n" for row in given_rows)).out
    table = lore("lore-rl", "inspect", "--worst", 2, stdin=scored, env={"COLUMNS": "200"})
    text = table.out.decode()
    assert table.code == 0 and "nothing of the sort" in text and text.count("red lamp") + text.count("white lamp") >= 1
    assert text.index("nothing of the sort") < text.index("grade: L")


def keep(rows: Path, *options: object) -> tuple[list[dict], str]:
    done = lore("lore-rl", "select", rows, *options)
    assert done.code == 0, done.err
    return [orjson.loads(line) for line in done.lines], done.err


def test_select_keeps_the_band_and_says_why(rows):
    judge = ("--judge", f"hf:{toys.graded_by_label()}", "--samples", 8)
    everything, _ = keep(rows, *judge, "--least", 0, "--most", 1)
    band, said = keep(rows, *judge)
    rates = {row["id"]: row["pass_rate"] for row in everything}
    assert len(rates) == 48 and len(set(rates.values())) > 2
    assert [row["id"] for row in band] == [name for name, rate in rates.items() if 0.01 <= rate <= 0.9]
    assert 0 < len(band) < 48 and f"{48 - len(band)} rejected" in said
    assert all(rates[row["id"]] == row["pass_rate"] for row in band), "the same seed draws the same answers"
    assert band[0]["selected_because"] == f"pass rate {band[0]['pass_rate']:.3g} of 8 draws lies in [0.01, 0.9]"


def test_select_leaves_out_what_is_always_right_and_what_no_human_graded(tmp_path):
    given_rows = toys.pairs(4)
    del given_rows[2]["grade"]
    rows = toys.write(tmp_path / "rows.jsonl", given_rows)
    always, _ = keep(rows, "--judge", "rulebook:", "--samples", 3, "--most", 1)
    assert [(row["id"], row["pass_rate"]) for row in always] == [("p0", 1.0), ("p1", 1.0), ("p3", 1.0)]
    assert keep(rows, "--judge", "rulebook:")[0] == []


def test_select_refuses_an_empty_band(rows):
    done = lore("lore-rl", "select", rows, "--judge", "rulebook:", "--least", 0.9, "--most", 0.1)
    assert done.code == 2 and "--least 0.9" in done.err


# ---------------------------------------------------------------- GRPO
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
    weights = rewards.parse_weights(("ordinal=0.5",))
    for row in steps:
        assert row["reward"] == pytest.approx(sum(weights[name] * row[f"reward/{name}"] for name in weights), abs=1e-5)
    card = modelcard.require(tmp_path / "rl")
    assert (card.stage, card.layout, card.base) == ("rl", "label-only", f"sha256:{directory_hash(base)}")
    manifest = orjson.loads((tmp_path / "rl.manifest.json").read_bytes())
    assert manifest["identity"]["weights"]["ordinal"] == 0.5 and manifest["counts"]["steps"] == 2 and manifest["counts"]["pairs"] == 48
    assert {path.name for path in tmp_path.iterdir()} == {"pairs.jsonl", "rl", "rl.manifest.json"} and not (tmp_path / "rl" / "checkpoints").exists()


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
