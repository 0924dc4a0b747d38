"""Preference pairs out of scored rollouts: which draws are paired, and what is left out."""

from __future__ import annotations

import orjson
import pytest
import training_toys as toys
from commands_run import lore
from hypothesis import given
from hypothesis import strategies as st

from lore_cli.train.preferences import pairs_of


def draws(group: str, *earned: tuple[str, float], **more: object) -> list[dict]:
    base = toys.traces(1)[0]
    return [{**base, "id": f"{group}#{number}", "group": group, "completion": text, "reward": reward, "rewards": {"grade": float(reward >= 1)}, **more} for number, (text, reward) in enumerate(earned)]


def preferred(rows: list[dict], *options: object):
    done = lore("lore-rl", "prefer", *options, stdin=b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return done, [orjson.loads(line) for line in done.lines]


def test_the_best_draw_is_paired_with_the_worst_of_its_own_group():
    rows = draws("a", ("right", 1.5), ("wrong", 0.5), ("unread", 0.0), ("right", 1.5)) + draws("b", ("same", 1.5), ("same", 1.5)) + draws("c", ("near", 0.5), ("nearer", 0.55))
    done, found = preferred(rows)
    assert done.code == 0 and [(row["id"], row["group"], row["chosen"], row["rejected"]) for row in found] == [("a~0", "a", "right", "unread")]
    assert found[0]["prompt"] and found[0]["preferred_because"] == "reward 0 → 1.5, grade 0 → 1" and "completion" not in found[0] and "reward" not in found[0]
    assert "1 pairs of 3 groups, 2 groups without a pair" in done.err


def test_a_group_gives_several_pairs_and_no_text_twice():
    rows = draws("a", ("a", 1.5), ("b", 1.4), ("c", 0.5), ("d", 0.0), ("e", 0.4))
    assert [(row["chosen"], row["rejected"]) for row in preferred(rows)[1]] == [("a", "d"), ("b", "e")]
    assert [(row["chosen"], row["rejected"]) for row in preferred(rows, "--per-group", 1)[1]] == [("a", "d")]
    assert [(row["chosen"], row["rejected"]) for row in preferred(rows, "--gap", 1.2)[1]] == [("a", "d")]


def test_a_cut_answer_is_in_no_pair():
    rows = draws("a", ("right", 1.5), ("wrong", 0.5)) + draws("a", ("cut off", 0.0), cut=True)
    rows[2]["id"] = "a#2"
    done, found = preferred(rows)
    assert [row["rejected"] for row in found] == ["wrong"] and "1 cut draws left out" in done.err


def test_rows_that_were_never_scored_or_have_no_prompt_are_refused():
    rows = draws("a", ("right", 1.5))
    for name in ("reward", "prompt", "completion"):
        done, _ = preferred([{key: value for key, value in rows[0].items() if key != name}])
        assert done.code == 3 and name in done.err
    done, _ = preferred([{**rows[0], "reward": "good"}])
    assert done.code == 3 and "'good'" in done.err and "lore-rl reward" in done.err


def test_no_rollouts_give_no_pairs():
    assert preferred([])[0].code == 0 and preferred([])[1] == []


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.floats(0, 2)), max_size=9), st.floats(0, 1), st.integers(1, 4))
def test_pairs_have_the_gap_and_every_text_once(drawn: list[tuple[str, float]], gap: float, most: int):
    rows = [{"completion": text, "reward": reward} for text, reward in dict(drawn).items()]
    found = pairs_of(rows, gap, most)
    texts = [row["completion"] for pair in found for row in pair]
    assert len(found) <= most and len(set(texts)) == len(texts) and all(better["reward"] - worse["reward"] >= gap and better is not worse for better, worse in found)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_small_groups_do_not_pair_a_text_with_itself(size: int):
    rows = [{"completion": str(number), "reward": float(number)} for number in range(size)]
    assert len(pairs_of(rows, 0.0, 4)) == size // 2
