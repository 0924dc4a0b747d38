"""Two runs side by side: which pairs changed, the page and the summary in Markdown that tell it."""

from __future__ import annotations

import json
import re

import pytest

from commands_run import lore
from lore_cli.rair.board import System, board
from lore_cli.rair.failures import Changes
from lore_cli.rair.figures import cell
from lore_cli.rair.markdown import board_markdown, score_markdown
from lore_cli.records import Pair, Verdict, parse
from rair_page import HOSTILE, IMAGE, cells, page_of
from rair_rows import BOOK, pair, scored, shop, verdict, written

MATCHES = [{"attribute": "colour", "need": "navy", "state": "conflict", "found": "red", "source": "caption"}]


def test_what_only_one_run_has_right_is_counted_and_described(tmp_path):
    changes = Changes(3)
    rows = [("L4", "L1", "L4"), ("L4", "L1", "L4"), ("L4", "L4", None), ("L2", "L2", "L3"), ("L1", "L1", "L1"), ("L1", "L2", "L3")]
    for number, (gold, a, b) in enumerate(rows):
        one = pair(number, gold, query=f"q{number}")
        sides = [parse(Verdict, verdict(one, grade, **({} if grade else {"error": "down"}))) for grade in (a, b)]
        changes.add(parse(Pair, one), *sides)
    document = changes.document(BOOK, tmp_path, tmp_path)
    assert document["moves"] == [
        {"gold": "L4", "a": "L1", "b": "L4", "count": 2}, {"gold": "L2", "a": "L2", "b": "L3", "count": 1}, {"gold": "L4", "a": "L4", "b": None, "count": 1},
    ]  # fmt: skip
    won, also_won, lost = [(row["query"], row["a"]["given"], row["b"]["given"]) for row in document["changes"]]
    assert {won, also_won} == {("q0", "L1", "L4"), ("q1", "L1", "L4")} and lost == ("q3", "L2", "L3")
    assert Changes(0).document(BOOK, tmp_path, tmp_path) == {"moves": [], "changes": []}


@pytest.fixture
def compared(tmp_path):
    """Two runs on 90 pairs, one of them with hostile text and an image, compared by the command."""
    (tmp_path / "a.png").write_bytes(IMAGE.read_bytes())
    named = {"judge": "<img src=x> | @team [x](http://evil.example)"}
    pairs, a = shop(90, 1, 0.4, **named)
    _, b = shop(90, 1, 0.8)
    pairs[0] = pair(0, "L4", subset="hard", query=f"| {HOSTILE}", item={"title": HOSTILE, "image": "a.png"})
    a[0] = verdict(pairs[0], "L1", matches=MATCHES, reason=HOSTILE, **named)
    b[0] = verdict(pairs[0], "L4")
    gold, *runs = [written(tmp_path / f"{name}.jsonl", rows) for name, rows in (("gold", pairs), ("a", a), ("b", b))]
    done = lore("lore-rair", "compare", *runs, "--gold", gold, "--draws", "100", "--html", tmp_path / "c.html", "--markdown", tmp_path / "c.md", "--json", tmp_path / "c.json")
    assert done.code == 0, done.err
    return tmp_path, json.loads((tmp_path / "c.json").read_text())


def test_the_page_tells_the_differences_the_moves_and_both_reasonings(compared):
    folder, document = compared
    page = page_of((folder / "c.html").read_text("utf-8"))
    differences = {(row[0], row[1]): row for row in cells(page, "slice")}
    for entry in document["slices"]:
        found = entry["metrics"]["macro_f1"]
        row = differences[entry["slice"].get("subset", "all"), "Macro-F1"]
        assert row[4].startswith(f"{found['difference']:+.3f}") and row[5:] == [f"{found['p']:.4f}", f"{found['p_holm']:.4f}"]
    moves = cells(page, "became")[1:]
    assert [int(row[4]) for row in moves] == [move["count"] for move in document["moves"]] and {row[0] for row in moves} == {"right", "wrong"}
    assert ["colour", "navy", "conflict", "red", "caption"] in cells(page, "attribute")
    assert len([tag for tag, attributes in page.tags if tag == "img"]) == 1 and "L1, wrong" in page.text and "L4, right" in page.text
    dots = [float(attributes["cx"]) for tag, attributes in page.tags if tag == "circle"]
    values = [entry["metrics"]["macro_f1"]["difference"] for entry in document["slices"]]
    assert sorted(range(len(dots)), key=dots.__getitem__) == sorted(range(len(values)), key=values.__getitem__)


def rows_of(text):
    """The cells of every table line, escapes undone."""
    return [[re.sub(r"\\(.)", r"\1", part).strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_the_summary_has_the_same_numbers_and_other_peoples_text_stays_text(compared):
    folder, document = compared
    text = (folder / "c.md").read_text("utf-8")
    assert len({len(row) for row in rows_of(text)}) > 1 and all(len(row) in (5, 6, 7) for row in rows_of(text)), "no cell is broken in two"
    found = document["slices"][0]["metrics"]["acc2"]
    assert [row for row in rows_of(text) if row[0] == "Acc@2"][0][3].startswith(f"{found['difference']:+.3f}")
    assert "<img" not in text and "](http" not in text and " @team" not in text and "&#60;img" in text


def test_a_report_and_a_board_are_told_in_markdown_with_their_numbers(tmp_path):
    pairs, verdicts = shop(30)
    broken = [verdict(one, error="x") if number < 3 else given for number, (one, given) in enumerate(zip(pairs, verdicts, strict=True))]
    document = scored(tmp_path, pairs, broken)
    text = score_markdown(document)
    rows = {row[0]: row for row in rows_of(text)}
    for entry in document["slices"]:
        assert cell(entry["metrics"], "macro_f1") in rows[entry["slice"].get("subset", "all")]
    assert "3 errors" in text
    shown = board_markdown(board([System(name, name, document) for name in ("one", "t|o")], "The *board*", ""))
    assert cell(document["slices"][0]["metrics"], "acc2") in next(row for row in rows_of(shown) if row[0] == "one") and r"t\|o" in shown and r"\*board\*" in shown


def test_a_summary_goes_to_standard_output_in_place_of_the_table(tmp_path):
    pairs, verdicts = shop(12)
    gold, given = written(tmp_path / "gold.jsonl", pairs), written(tmp_path / "given.jsonl", verdicts)
    done = lore("lore-rair", "score", given, "--gold", gold, "--draws", "100", "--markdown", "-")
    assert done.code == 0 and done.out.startswith(b"### Relevance of hand") and "─".encode() not in done.out
    assert lore("lore-rair", "score", given, "--gold", gold, "--markdown", "-", "--json", "-").code == 2
    (tmp_path / "there.md").write_text("mine")
    assert lore("lore-rair", "score", given, "--gold", gold, "--markdown", tmp_path / "there.md").code == 2 and (tmp_path / "there.md").read_text() == "mine"
