"""What a model wrote, as tables and a page: the lowest rewards, the worst groups, what changed."""

from __future__ import annotations

import html
import re
from pathlib import Path

import orjson
import pytest
import training_toys as toys
from commands_run import lore
from hypothesis import given
from hypothesis import strategies as st

from lore_cli.rair.rollouts import word_diff

HOSTILE = "<script>alert(1)</script></pre>\" ' & \u202e \x07 [red]markup[/red]"


def rollouts(rewards: dict[str, list[float]], **texts: str) -> list[dict]:
    """Scored rows, a group for each name; `texts` by id replaces a completion."""
    base = toys.traces(1)[0]
    rows = []
    for group, earned in rewards.items():
        for number, reward in enumerate(earned):
            name = f"{group}#{number}"
            text = texts.get(f"{group}{number}", f"{group} wrote {reward:g}\ngrade: L4")
            rows.append({**base, "id": name, "group": group, "completion": text, "reward": reward, "rewards": {"grade": reward, "format": 1.0}})
    return rows


def inspected(rows: list[dict], *options: object):
    return lore("lore-rl", "inspect", *options, stdin=b"".join(orjson.dumps(row) + b"\n" for row in rows), env={"COLUMNS": "200"})


def page_of(path: Path) -> str:
    text = path.read_text("utf-8")
    assert "default-src 'none'" in text and "http:" not in text and "https:" not in text
    return text


def test_the_table_shows_the_lowest_rewards_first(tmp_path):
    given_rows = toys.traces(6)
    given_rows[3]["completion"] = "nothing of the sort"
    scored = lore("lore-rl", "reward", "--quiet", stdin=b"".join(orjson.dumps(row) + b"\n" for row in given_rows)).out
    table = lore("lore-rl", "inspect", "--worst", 2, stdin=scored, env={"COLUMNS": "200"})
    text = table.out.decode()
    assert table.code == 0 and "nothing of the sort" in text and text.count("red lamp") + text.count("white lamp") >= 1
    assert text.index("nothing of the sort") < text.index("grade: L")
    assert "found red [title] ; exact" in text, "brackets are the answer's, not markup"


def test_means_are_over_everything_and_by_human_grade():
    rows = rollouts({"a": [0.0, 1.0], "b": [0.5]})
    rows[2]["grade"] = "L1"
    lines = inspected(rows, "--worst", 0, "--groups", 0).out.decode().splitlines()
    found = {line.rsplit(None, 4)[0]: line.split()[-4:] for line in lines if line.startswith(("all ", "human "))}
    assert [line.split() for line in lines if line.startswith("all ")][0] == ["all", "3", ".500", ".500", "1.000"]
    assert found["human L1"] == ["1", ".500", ".500", "1.000"] and found["human L4"] == ["2", ".500", ".500", "1.000"]


def test_groups_come_by_their_mean_with_each_completion_once():
    done = inspected(rollouts({"good": [1.0, 1.0], "poor": [0.0, 0.5, 0.0], "alone": [0.0]}), "--worst", 0, "--groups", 1).out.decode()
    assert "Group poor: mean .167, spread .236" in done and "Group good" not in done
    assert re.search(r"0 +│.*2 ×", done) and re.search(r"0\.5 +│.*1 ×", done)
    assert [line.split() for line in done.splitlines() if line.startswith("all ")][1] == ["all", "2", ".118", "1"], "two groups, one without spread"


def test_what_changed_is_told_word_by_word_and_counted(tmp_path):
    before = toys.write(tmp_path / "before.jsonl", rollouts({"a": [0.0, 1.0], "b": [1.0], "gone": [1.0]}, a0="colour = red ; exact", b0="same"))
    after = rollouts({"a": [1.0, 0.5], "b": [1.0], "new": [1.0]}, a0="colour = blue ; exact", b0="same")
    page = tmp_path / "page.html"
    done = inspected(after, "--before", before, "--worst", 1, "--html", page)
    text = done.out.decode()
    assert "colour = [-red-]{+blue+} ; exact" in text and [line.split() for line in text.splitlines() if line.startswith("all ")][-1] == ["all", "3", "1", "1", "1", "+.167"]
    assert "Not compared: 1 only before, 1 only after." in text
    assert "colour = <del>red</del><ins>blue</ins> ; exact" in page_of(page) and page.with_name("page.html.manifest.json").exists()


def test_a_page_shows_hostile_text_and_runs_none_of_it(tmp_path):
    page = tmp_path / "page.html"
    rows = [{**row, "query": HOSTILE, "item": {"id": "i", "title": HOSTILE}, "rewards": {HOSTILE: 0.0}} for row in rollouts({HOSTILE: [0.0, 1.0]}, **{f"{HOSTILE}0": HOSTILE})]
    before = toys.write(tmp_path / "before.jsonl", [{**row, "completion": f"was {HOSTILE}"} for row in rows])
    done = inspected(rows, "--html", page, "--before", before)
    text = page_of(page)
    assert done.code == 0 and "\x07" not in text and "<script>alert" not in text and text.count("</pre>") == text.count("<pre>")
    assert html.unescape(text).count("<script>alert(1)</script></pre>") > 5
    assert b"\x07" not in done.out and b"[red]markup[/red]" in done.out


def test_an_existing_page_is_refused_before_any_work(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    done = inspected(rollouts({"a": [1.0]}), "--html", page)
    assert done.code == 2 and done.out == b"" and page.read_text() == "mine"
    assert inspected(rollouts({"a": [1.0]}), "--html", page, "--force").code == 0 and "Rollouts" in page.read_text()


@pytest.mark.parametrize("wrong", [{"reward": "much"}, {"reward": True}, {"rewards": {"grade": None}}, {"rewards": [1]}])
def test_rewards_that_are_no_numbers_are_refused(wrong):
    done = inspected([{**rollouts({"a": [1.0]})[0], **wrong}])
    assert done.code == 3 and "a#0" in done.err and "lore-rl reward" in done.err


def test_nothing_to_inspect_is_no_error(tmp_path):
    done = inspected([], "--html", tmp_path / "page.html")
    assert done.code == 0 and "Rollouts" in page_of(tmp_path / "page.html")
    assert inspected([], "--before", tmp_path / "none.jsonl").code == 4


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_word_diff_holds_both_texts(before: str, after: str):
    words = word_diff(before, after)
    assert "".join(text for kind, text in words if kind != "new") == before and "".join(text for kind, text in words if kind != "gone") == after
