"""The filter that scores completions."""

from __future__ import annotations

import orjson
import pytest
import training_toys as toys
from commands_run import lore

from lore_cli.train import rewards


def test_the_reward_filter_adds_to_rows_and_keeps_what_they_had(tmp_path):
    given_rows = [{**row, "shop": {"shelf": 3}} for row in toys.traces(8)]
    given_rows[1]["completion"] = "grade: L4"
    done = lore("lore-rl", "reward", "--quiet", stdin=b"".join(orjson.dumps(row) + b"\n" for row in given_rows))
    found = [orjson.loads(line) for line in done.lines]
    assert done.code == 0 and [row["id"] for row in found] == [row["id"] for row in given_rows]
    assert [row["reward"] for row in found] == [pytest.approx(1.5), 0.0, *[pytest.approx(1.5)] * 6]
    assert all(row["shop"] == {"shelf": 3} and set(row["rewards"]) == set(rewards.WEIGHTS) for row in found)


def test_the_reward_filter_takes_weights_and_layout(tmp_path):
    rows = toys.write(tmp_path / "rows.jsonl", toys.traces(4, "answer-first"))
    done = lore("lore-rl", "reward", rows, "--layout", "answer-first", "--weight", "grade=3", "--weight", "adherence=0", "--quiet")
    assert [orjson.loads(line)["reward"] for line in done.lines] == [pytest.approx(3.4)] * 4
    assert {orjson.loads(line)["reward"] for line in lore("lore-rl", "reward", rows, "--quiet").lines} == {0.0}


def scored(rows: list[dict], *options: object):
    return lore("lore-rl", "reward", *options, stdin=b"".join(orjson.dumps(row) + b"\n" for row in rows))


def test_only_rows_that_meet_every_requirement_are_kept_and_the_others_told(tmp_path):
    rows = toys.traces(6)
    rows[2]["completion"] = rows[2]["completion"].replace("grade: L4", "grade: L1")
    rows[4]["completion"] = "grade: L4"
    rest = tmp_path / "rest.jsonl"
    done = scored(rows, "--require", "reward>=0.4", "--require", "adherence==1", "--rejected", rest)
    assert done.code == 0 and [orjson.loads(line)["id"] for line in done.lines] == ["p0", "p1", "p3", "p5"] and "2 rejected" in done.err
    assert [(row["id"], row["reason"]) for row in toys.read(rest)] == [("p2", "not adherence==1"), ("p4", "not reward>=0.4")]


@pytest.mark.parametrize("wrong", ["taste>=1", "reward", "reward>=", "weight>1"])
def test_a_requirement_of_nothing_that_is_scored_is_refused(wrong):
    done = scored(toys.traces(1), "--require", wrong)
    assert done.code == 2 and "adherence" in done.err


def test_weights_come_from_a_file_and_a_wrong_name_in_it_is_told_with_the_right_ones(tmp_path):
    file = tmp_path / "weights.toml"
    file.write_text("[weights]\ngrade = 10\nlength = 0\n")
    assert [orjson.loads(line)["reward"] for line in scored(toys.traces(1), "--weights", file, "--weight", "path=0").lines] == [pytest.approx(10.3)]
    file.write_text("[weights]\ntaste = 1\n")
    done = scored(toys.traces(1), "--weights", file)
    assert done.code == 3 and "'taste'" in done.err and "adherence" in done.err and done.out == b""


def test_nothing_in_gives_nothing_out():
    done = scored([])
    assert done.code == 0 and done.out == b""


def test_resume_with_other_weights_is_refused(tmp_path):
    rows = toys.write(tmp_path / "rows.jsonl", toys.traces(3))
    out = tmp_path / "out.jsonl"
    bad = rows.read_bytes() + b'{"id": "x"}\n'
    rows.write_bytes(bad)
    assert lore("lore-rl", "reward", rows, "-o", out).code == 3
    rows.write_bytes(bad.replace(b'{"id": "x"}\n', b""))
    done = lore("lore-rl", "reward", rows, "-o", out, "--resume", "--weight", "grade=2")
    assert done.code != 0 and "weights" in done.err
    assert lore("lore-rl", "reward", rows, "-o", out, "--resume").code == 0 and len(toys.read(out)) == 3
