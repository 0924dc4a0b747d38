"""Process supervision: what each line of an answer earns, which tokens it is credited to, and that training follows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import training_toys as toys
from commands_run import lore

from lore_cli.answer import render
from lore_cli.models import directory_hash
from lore_cli.records import Pair, Trace, parse
from lore_cli.train import rewards
from lore_cli.train.rl_sampling import Completion, Group, lines_of, token_advantages

LAMP, OTHER = toys.pairs(1)[0], toys.pairs(13)[12]  # "red lamp" shown a red and a blue one
RIGHT = render(toys.implied(LAMP))


def earned(completion: str, row: dict = LAMP, kind: type = Pair, layout: str = "answer-last") -> list[float]:
    return [reward for _, reward in rewards.process_rewards(completion, parse(kind, row), toys.RULEBOOK, layout)]  # type: ignore[arg-type]


# ---------------------------------------------------------------- what a line earns
def test_every_line_of_the_experts_answer_is_right_in_either_order():
    assert earned(RIGHT) == [1, 1, 1, 1]
    first = earned(render(toys.implied(LAMP), "answer-first").replace("grade: L4", "grade: L1"), layout="answer-first")
    assert first == [0, 1, 1, 1], "the grade comes first, and does not follow"


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("colour = red ; found red [title] ; exact", "colour = red ; found red [title] ; close"),
        ("colour = red ; found red [title] ; exact", "colour = red ; found red [caption] ; exact"),
        ("colour = red ; found red [title] ; exact", "colour = red ; found blue [title] ; exact"),
        ("colour = red ; found red [title] ; exact", "colour = red ; not found ; unknown"),
        ("colour = red ; found red [title] ; exact", "colour = blue ; found red [title] ; exact"),
        ("colour = red ; found red [title] ; exact", "category = lamp ; found lamp [category] ; exact"),
    ],
)
def test_a_line_that_is_wrong_costs_itself_and_no_other(line: str, instead: str):
    assert line in RIGHT
    place = RIGHT.split("\n").index(line)
    found = earned(RIGHT.replace(line, instead))
    assert found[place] == 0 and found[1 - place] == 1


def test_rules_and_grade_are_held_to_the_answers_own_matches():
    assert earned(RIGHT.replace("grade: L4", "grade: L2")) == [1, 1, 1, 0]
    assert earned(RIGHT.replace("rules: none", "rules: R1")) == [1, 1, 0, 1]
    wrong = render(toys.implied(OTHER))
    assert earned(wrong, LAMP)[2:] == [1, 1], "wrong of this item, but rules and grade follow"


def test_a_traces_verified_line_comes_before_the_experts():
    trace = {**LAMP, "matches": [{"attribute": "category", "need": "lamp", "state": "exact", "found": "lamp", "source": "category"}]}
    assert earned(RIGHT, trace, Trace) == [1, 0, 1, 1], "the trace has no need of a colour"


@pytest.mark.parametrize("text", ["", "grade: L4", "colour = red", RIGHT + "\nmore", RIGHT.replace(" ; ", " , ")])
def test_what_cannot_be_read_has_no_lines(text: str):
    assert earned(text) == []


# ---------------------------------------------------------------- whose tokens it is
def test_the_tokens_of_a_line_and_no_others_are_credited():
    """Tokens cut across the answer's words: what counts is the line they stand in."""
    wrong = RIGHT.replace("found red [title]", "found red [caption]")  # rules and grade still follow
    vocabulary: list[str] = []
    completions = []
    for text in (RIGHT, RIGHT, wrong):
        pieces = [text[start : start + 3] for start in range(0, len(text), 3)]
        ids = list(range(len(vocabulary), len(vocabulary) + len(pieces)))
        vocabulary += pieces
        completions.append(Completion(ids, {}, 0.0, False, lines=rewards.process_rewards(text, parse(Pair, LAMP), toys.RULEBOOK)))
    for completion, values in zip(completions, token_advantages(Group(0, tuple(completions)), vocabulary.__getitem__), strict=True):
        places = lines_of([vocabulary[token] for token in completion.ids])
        assert set(places) == {0, 1, 2, 3}
        sign = 1 if completion is not completions[2] else -1
        by_line = [{value for value, place in zip(values, places, strict=True) if place == line} for line in range(4)]
        assert by_line[0] == by_line[2] == {0.0} and len(by_line[1]) == 1 and sign * by_line[1].pop() > 0


def test_a_line_is_held_against_the_groups_lines_on_the_same_question():
    one, other = Completion([0], {}, 0, False, lines=[("colour", 1.0)]), Completion([0], {}, 0, False, lines=[("brand", 0.0)])
    assert token_advantages(Group(0, (one, other)), lambda _: "x") == [[0.0], [0.0]]
    unread = Completion([0, 0], {}, 0, False)
    assert token_advantages(Group(0, (one, unread)), lambda _: "x")[1] == [0.0, 0.0]


# ---------------------------------------------------------------- what training makes of it
@pytest.fixture
def pairs(tmp_path) -> Path:
    return toys.write(tmp_path / "pairs.jsonl", toys.pairs())


def train(pairs: Path, folder: Path, *options: object) -> list[dict]:
    """The updates' rows of the log."""
    quick = ("--prompts-per-step", 4, "--generations", 4, "--max-new-tokens", 8)
    done = lore("lore-rl", "train", pairs, "--model", toys.graded_by_label(), *quick, *options, "-o", folder)
    assert done.code == 0, done.err
    return [row for row in toys.read(folder / "metrics.jsonl") if "grad_norm" in row]


def test_credit_by_line_is_told_and_changes_what_is_learnt(pairs, tmp_path, monkeypatch):
    """The toy model writes a grade alone; that one line is said to be worth something unless it is L1."""
    monkeypatch.setattr(rewards, "process_rewards", lambda text, *_: [("grade", float("L1" not in text))])
    plain, supervised = (train(pairs, tmp_path / f"rl-{weight}", "--max-steps", 2, "--process-weight", weight) for weight in (0, 1))
    assert all("drawn/lines" not in row for row in plain) and all(0 < row["drawn/lines"] < 1 for row in supervised)
    assert directory_hash(tmp_path / "rl-0") != directory_hash(tmp_path / "rl-1")


def test_answers_without_lines_are_learnt_from_as_before(pairs, tmp_path):
    for weight in (0, 1):
        train(pairs, tmp_path / f"rl-{weight}", "--max-steps", 1, "--process-weight", weight)
    assert directory_hash(tmp_path / "rl-0") == directory_hash(tmp_path / "rl-1")


def test_one_round_of_draws_serves_several_updates_and_muon_learns_from_them(pairs, tmp_path):
    steps = train(pairs, tmp_path / "rl", "--steps-per-generation", 3, "--max-steps", 6, "--optimizer", "muon", "--rate", 1e-3)
    assert [row["step"] for row in steps if "sampling/drawn" in row] == [1, 4] and all(row["sampling/drawn"] >= 12 for row in steps if "sampling/drawn" in row)
    assert len(steps) == 6 and all(row["grad_norm"] > 0 for row in steps)
    train(pairs, tmp_path / "adamw", "--steps-per-generation", 3, "--max-steps", 6, "--rate", 1e-3)
    assert len({directory_hash(tmp_path / "rl"), directory_hash(tmp_path / "adamw"), directory_hash(toys.graded_by_label())}) == 3
