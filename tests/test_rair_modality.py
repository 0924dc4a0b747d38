"""lore-rair run --modality: what each view hides, and that its verdicts are told apart."""

from __future__ import annotations

import json

import pytest

from commands_run import lore
from lore_cli.judges.modality import view
from lore_cli.records import Pair, parse, row_of
from rair_rows import pair, written

SOFA = {"title": "sofa", "category": "sofa", "brand": "Oak", "attributes": {"size": "L"}, "description": "nice", "price": 9.0, "image": "a.png", "caption": "plain navy sofa", "stock": 3}


@pytest.fixture
def benchmark(tmp_path):
    """The picture decides (navy or red), the text decides, and an item without a caption."""
    rows = [
        pair(0, "L4", query="navy sofa", item=SOFA), pair(1, "L1", query="red sofa", item=SOFA),
        pair(2, "L4", query="navy rug", item={"title": "navy rug", "caption": "rug"}), pair(3, "L4", query="navy sofa", item={"title": "navy sofa"}),
    ]  # fmt: skip
    return written(tmp_path / "pairs.jsonl", rows)


def verdicts(benchmark, modality, *more, code=0):
    target = benchmark.parent / f"{modality}.jsonl"
    done = lore("lore-rair", "run", benchmark, "--judge", "rulebook:", "--modality", modality, "-o", target, *more)
    assert done.code == code, done.err
    return [json.loads(line) for line in target.read_text("utf-8").splitlines()]


def test_a_view_holds_its_part_of_the_item_and_the_fields_of_the_pair():
    full = parse(Pair, pair(0, "L4", item=SOFA, subset="visual"))
    text, image = row_of(view(full, "text")), row_of(view(full, "image"))
    assert text["item"] == {"id": "i0", **{name: SOFA[name] for name in ("title", "category", "brand", "attributes", "description", "price")}}
    assert image["item"] == {"id": "i0", "title": "", "image": "a.png", "caption": "plain navy sofa"}
    assert text["subset"] == image["subset"] == "visual" and row_of(full)["item"]["stock"] == 3


def test_the_caption_decides_only_where_it_is_shown(benchmark):
    grades = {name: [row.get("grade") for row in verdicts(benchmark, name, code=5 if name == "image" else 0)] for name in ("both", "text", "image")}
    assert grades["both"][0] != grades["both"][1], "navy and red are told apart by the picture"
    assert grades["text"][0] == grades["text"][1], "and by nothing else"
    assert grades["image"][0] == grades["both"][0] and grades["text"][2] == grades["both"][2]


def test_what_was_found_comes_from_the_part_that_was_shown(benchmark):
    for modality, allowed in (("text", {"title", "category", "brand", "attributes", "description", "price", None}), ("image", {"caption", None})):
        rows = verdicts(benchmark, modality, code=5 if modality == "image" else 0)
        assert {match.get("source") for row in rows for match in row.get("matches", ())} <= allowed
        assert {row["judge"] for row in rows} == {f"rulebook ({modality} only)"}


def test_an_item_without_a_caption_is_an_error_by_its_picture_and_rows_keep_their_order(benchmark):
    rows = verdicts(benchmark, "image", code=5)
    assert [row["id"] for row in rows] == ["p0", "p1", "p2", "p3"]
    assert "grade" not in rows[3] and "no caption" in rows[3]["error"] and all("grade" in row for row in rows[:3])


def test_a_run_is_not_resumed_under_another_view(benchmark):
    rows = verdicts(benchmark, "image", code=5)
    done = lore("lore-rair", "run", benchmark, "--judge", "rulebook:", "--modality", "text", "-o", benchmark.parent / "image.jsonl", "--resume")
    assert done.code == 2 and "modality" in done.err
    assert verdicts(benchmark, "image", "--resume", code=5) == rows
    assert lore("lore-rair", "run", benchmark, "--judge", "rulebook:", "--modality", "sound").code == 2
