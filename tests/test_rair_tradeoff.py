"""Quality against time and cost: the Pareto front, what a run cost, and which reports a board takes."""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ET

import pytest

from commands_run import lore
from lore_cli.rair import board as boards
from lore_cli.rair.page import board_page
from lore_cli.rair.plot import tradeoff_plane
from lore_cli.rair.tradeoff import run_cost, tradeoff
from rair_page import cells, page_of
from rair_rows import pair, scored, shop, verdict, written


def quality(value, lo=None, hi=None):
    return {"value": value, "lo": lo, "hi": hi}


def test_the_front_holds_exactly_who_is_beaten_by_nobody():
    draw = random.Random(2)
    for _ in range(50):
        found = {f"s{number}": (draw.choice([0.0, 1.0, 5.0, 80.0, 900.0]), quality(draw.choice([0.2, 0.5, 0.7]))) for number in range(6)}
        made = tradeoff("t", "ms", found)
        beaten = {
            name for name, (spent, own) in found.items()
            if any(cost <= spent and other["value"] >= own["value"] and (cost < spent or other["value"] > own["value"]) for cost, other in found.values())
        }  # fmt: skip
        assert {point.name for point in made.points if point.beaten_by} == beaten
        for point in made.points:
            if point.beaten_by:
                spent, own = found[point.beaten_by]
                assert spent <= point.spent and own["value"] >= point.quality["value"]


def test_a_system_that_tells_no_time_or_quality_is_left_out_and_one_alone_trades_nothing():
    assert tradeoff("t", "ms", {"a": (1.0, quality(0.5)), "b": (None, quality(0.9)), "c": (2.0, None)}) is None
    made = tradeoff("t", "ms", {"a": (1.0, quality(0.5)), "b": (None, quality(0.9)), "c": (2.0, quality(0.4))})
    assert [(point.name, point.beaten_by) for point in made.points] == [("a", None), ("c", "a")]


def test_in_the_plane_dearer_is_further_right_better_is_higher_and_nothing_leaves_it():
    made = tradeoff("t", "ms", {"free": (0.0, quality(0.2, 0.1, 0.3)), "cheap": (0.03, quality(0.5, 0.4, 0.6)), "dear": (1200.0, quality(0.9, 0.8, 1.0)), "worse": (1500.0, quality(0.8))})
    plane = tradeoff_plane(made)
    assert [spot.name for spot in sorted(plane.spots, key=lambda spot: spot.x)] == ["free", "cheap", "dear", "worse"]
    assert [spot.name for spot in sorted(plane.spots, key=lambda spot: -spot.y)] == ["free", "cheap", "worse", "dear"]
    assert all(plane.left <= spot.x <= plane.right and 0 <= spot.y <= plane.floor for spot in plane.spots)
    assert plane.columns[0][1] == "0" and [spot.front for spot in plane.spots] == [True, True, True, False]
    corners = {(spot.x, spot.y) for spot in plane.spots if spot.front}
    assert corners <= {tuple(map(float, corner.split(","))) for corner in plane.front.split()}
    alone = tradeoff_plane(tradeoff("t", "ms", {"a": (10.0, quality(0.5)), "b": (10.0, quality(0.5))}))
    assert len(alone.spots) == 2 and len(alone.columns) > 1, "two at the same place"


def test_the_cost_of_a_run_is_read_from_its_manifest_only_where_it_paid_for_every_pair(tmp_path):
    def run(name, rows=4, **counts):
        path = written(tmp_path / name, [verdict(pair(number), "L4") for number in range(rows)])
        from lore_cli.manifest import write_manifest

        write_manifest(str(path), command="lore-rair run", inputs=[], settings={}, counts={"written": rows, "reused": 0} | counts)
        return str(path)

    paid = run("paid.jsonl", usage={"cost": 0.02})
    assert run_cost([paid]) == {"per_1000": 5.0, "pairs": 4}
    assert run_cost([paid, run("more.jsonl", 12, usage={"cost": 0.02})]) == {"per_1000": 2.5, "pairs": 16}
    for other in (run("free.jsonl"), run("cached.jsonl", usage={"cost": 0.01, "cached": 3}), run("resumed.jsonl", reused=2, usage={"cost": 0.01}), "-", str(tmp_path / "none.jsonl")):
        assert run_cost([other]) is None and run_cost([paid, other]) is None
    written(tmp_path / "paid.jsonl", [verdict(pair(0), "L1")])
    assert run_cost([paid]) is None, "the manifest is about another file"


@pytest.fixture
def runs(tmp_path):
    """runs/rl and runs/student with a report.json each; the student is quicker and worse. reports/ with both under their names."""
    pairs, _ = shop(60, 1)
    for name, right, ms in (("rl", 0.9, 120.0), ("student", 0.5, 0.8)):
        document = scored(tmp_path, pairs, shop(60, 1, right, latency_ms=ms)[1])
        for place in (f"runs/{name}/report.json", f"reports/{name}.json"):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_text(json.dumps(document))
    (tmp_path / "reports" / "rl.json.manifest.json").write_text("{}")
    return tmp_path


def test_directories_files_and_names_stand_for_the_same_board(runs):
    boards_made = []
    for arguments in ([runs / "runs" / "rl", runs / "runs" / "student"], [runs / "reports"], [runs / "reports" / "rl.json", f"student={runs / 'runs' / 'student'}"]):
        done = lore("lore-rair", "board", *arguments)
        assert done.code == 0, done.err
        boards_made.append(done.out)
    assert boards_made[0] == boards_made[1] == boards_made[2]
    assert b"rl" in boards_made[0] and b"Quality against time" in boards_made[0] and b"on it" in boards_made[0]


def test_the_page_draws_and_tells_both_trade_offs(runs):
    done = lore("lore-rair", "board", runs / "reports", "--cost", "rl=0.8", "--cost", "student=0.01", "--html", runs / "b.html", "--markdown", runs / "b.md", "--quiet")
    assert done.code == 0, done.err
    page = page_of((runs / "b.html").read_text("utf-8"))
    told = [row for row in cells(page, "system") if row[-1] == "on it"]
    assert [row[:2] for row in told] == [["student", "0.800"], ["rl", "120"], ["student", "0.0100"], ["rl", "0.800"]]
    assert "cost/1,000" in cells(page, "system")[0]
    assert all(unit in (runs / "b.md").read_text("utf-8") for unit in ("ms/pair", "cost/1,000", "on it"))


def test_names_in_the_drawing_are_text(tmp_path):
    pairs, _ = shop(30, 1)
    systems = [boards.System(name, name, scored(tmp_path, pairs, shop(30, 1, 0.8, latency_ms=ms)[1])) for name, ms in (("<script>x</script> & co", 1.0), ("b", 3.0))]
    text = board_page(boards.board(systems, "t", ""))
    drawings = [ET.fromstring(f"<svg{part.split('</svg>')[0]}</svg>") for part in text.split("<svg")[1:]]
    assert any("<script>x</script> & co" in "".join(drawing.itertext()) for drawing in drawings)
    page_of(text)


def test_what_no_board_can_be_made_of_is_refused(runs):
    (runs / "empty").mkdir()
    done = lore("lore-rair", "board", runs / "empty")
    assert done.code == 3 and "empty: no report of lore-rair score is in it" in done.err
    done = lore("lore-rair", "board", f"both={runs / 'reports'}")
    assert done.code == 2 and "2 reports" in done.err
    assert lore("lore-rair", "board", runs / "reports", runs / "runs" / "rl").code == 2, "rl is there twice"
    for cost in ("rl", "rl=much", "=3", "rl=-1", "rl=inf", "stranger=1"):
        done = lore("lore-rair", "board", runs / "reports", "--cost", cost)
        assert done.code == 2 and "--cost" in done.err, cost
    (runs / "reports" / "broken.json").write_text("{")
    assert lore("lore-rair", "board", runs / "reports").code == 3
