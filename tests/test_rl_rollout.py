"""Drawing completions: a row per draw, what did not come, and the pipe into rewards."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import training_toys as toys
from commands_run import lore

from lore_cli.judges import language
from lore_cli.models import Cut


class Scripted:
    """A model whose draws stand in a list, one entry per prompt."""

    def __init__(self, *draws: list[str | Exception]) -> None:
        self.draws = list(draws)

    def generate(self, prompts, *, samples=1, **_):
        given, self.draws = self.draws[: len(prompts)], self.draws[len(prompts) :]
        assert all(len(drawn) == samples for drawn in given)
        return given

    def identity(self):
        return {"model": "scripted"}


@pytest.fixture
def scripted(monkeypatch):
    return lambda *draws: monkeypatch.setattr(language, "_model", lambda *_: Scripted(*draws))


@pytest.fixture
def rows(tmp_path) -> Path:
    return toys.write(tmp_path / "pairs.jsonl", [{**row, "shelf": 3} for row in toys.pairs(3)])


SERVED = ("--judge", "http://127.0.0.1:9/v1#m", "--prompt", "short")


def test_a_model_gives_a_row_per_draw_that_rewards_can_score(tmp_path, rows):
    drawing = ("--judge", f"hf:{toys.graded_by_label()}", "--samples", 4, "--seed", 5)
    done = lore("lore-rl", "rollout", rows, *drawing)
    found = [orjson.loads(line) for line in done.lines]
    assert done.code == 0 and "12 completions drawn" in done.err
    assert [row["id"] for row in found] == [f"p{pair}#{draw}" for pair in range(3) for draw in range(4)]
    assert all(row["group"] == row["id"].partition("#")[0] and row["shelf"] == 3 and row["layout"] == "label-only" and row["prompt"] for row in found)
    assert len({row["completion"] for row in found}) > 1
    assert lore("lore-rl", "rollout", rows, *drawing).out == done.out, "one seed, the same draws"
    assert lore("lore-rl", "rollout", rows, *drawing[:-1], 6).out != done.out
    scored = [orjson.loads(line) for line in lore("lore-rl", "reward", stdin=done.out).lines]
    right = [row["reward"] for row in scored if row["completion"] == f"grade: {row['grade']}"]
    assert right and right == [pytest.approx(1.2)] * len(right), "read by the layout that the row tells"


def test_rollouts_and_their_parts_go_to_parquet_and_back(tmp_path, rows):
    drawn = lore("lore-rl", "rollout", rows, "--judge", f"hf:{toys.graded_by_label()}", "--samples", 2).out
    file = tmp_path / "rollouts.parquet"
    assert lore("lore-rl", "reward", "-", "-o", file, stdin=drawn).code == 0 and file.read_bytes()[:4] == b"PAR1"
    back = lore("lore-rl", "reward", file, "--quiet")
    assert back.code == 0 and [orjson.loads(line)["rewards"] for line in back.lines] == [orjson.loads(line)["rewards"] for line in lore("lore-rl", "reward", stdin=drawn).lines]


def test_a_draw_that_was_cut_is_told_and_one_that_did_not_come_fails_its_pair(tmp_path, rows, scripted):
    scripted(["grade: L4", Cut("gra", 1)], ["grade: L4", RuntimeError("the server is down")], ["a", "b"])
    done = lore("lore-rl", "rollout", rows, *SERVED, "--samples", 2)
    found = [orjson.loads(line) for line in done.lines]
    assert done.code == 5 and [row["id"] for row in found] == ["p0#0", "p0#1", "p1", "p2#0", "p2#1"]
    assert [row.get("cut") for row in found] == [None, True, None, None, None] and found[1]["completion"] == "gra"
    assert found[2]["error"] == "no reply: the server is down" and "completion" not in found[2]


def test_resume_draws_only_what_is_missing(tmp_path, rows, scripted):
    out = tmp_path / "out.jsonl"
    scripted(["a", "b"], ["c", RuntimeError("down")], ["e", "f"])
    assert lore("lore-rl", "rollout", rows, *SERVED, "--samples", 2, "-o", out).code == 5
    scripted(["x", "y"])
    done = lore("lore-rl", "rollout", rows, *SERVED, "--samples", 2, "-o", out, "--retry-failed")
    assert done.code == 0, done.err
    assert [(row["id"], row["completion"]) for row in toys.read(out)] == [("p0#0", "a"), ("p0#1", "b"), ("p1#0", "x"), ("p1#1", "y"), ("p2#0", "e"), ("p2#1", "f")]
    assert lore("lore-rl", "rollout", rows, *SERVED, "--samples", 3, "-o", out, "--resume").code == 2


def test_a_judge_that_writes_no_text_is_refused(rows):
    done = lore("lore-rl", "rollout", rows, "--judge", "rulebook:")
    assert done.code == 2 and "writes no text" in done.err and "hf:PATH" in done.err


def test_no_pairs_no_completions(tmp_path, scripted):
    scripted()
    done = lore("lore-rl", "rollout", toys.write(tmp_path / "none.jsonl", []), *SERVED)
    assert done.code == 0 and done.out == b""


def test_a_layout_that_is_none_is_refused():
    row = {**toys.traces(1)[0], "layout": "sideways"}
    done = lore("lore-rl", "reward", stdin=orjson.dumps(row))
    assert done.code == 3 and "'sideways'" in done.err and "answer-first" in done.err
