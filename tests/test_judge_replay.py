"""Recorded verdicts, given again."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from commands_run import lore
from lore_cli.errors import BadInput, Missing
from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.records import Pair, parse, row_of
from lore_cli.rulebook import load_rulebook
from tiny_models import PAIRS_FILE

SETTINGS = JudgeSettings(load_rulebook())


def pair(number: int, query: str = "navy sofa", item: str | None = None) -> Pair:
    return parse(Pair, {"id": f"p{number}", "query": query, "item": {"id": item or f"i{number}", "title": "sofa"}})


def recorded(number: int, **fields: object) -> dict:
    return {"id": f"p{number}", "query": "navy sofa", "item_id": f"i{number}", "judge": "expert", "grade": "L3", **fields}


def judge(folder, *rows: dict):
    file = folder / "verdicts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_judge(f"replay:{file}", SETTINGS)


def test_replaying_a_run_scores_as_the_run_did(tmp_path):
    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    assert lore("lore-rair run", PAIRS_FILE, "--judge", "rulebook:", "-o", first).code == 0
    assert lore("lore-rair run", PAIRS_FILE, "--judge", f"replay:{first}", "-o", again).code == 0
    for was, now in zip(*([json.loads(line) for line in file.read_text().splitlines()] for file in (first, again)), strict=True):
        assert now == {**was, "judge": f"replay:{first}", "replayed_from": "rulebook"}


def test_everything_recorded_comes_along(tmp_path):
    row = recorded(1, scores={"L1": 0.0, "L2": 0.0, "L3": 1.0, "L4": 0.0}, samples=["L3", None], latency_ms=3.5, shelf="own field", matches=[], rules=["R10"])
    (verdict,) = judge(tmp_path, row)([pair(1)])
    assert row_of(verdict) == {**row, "judge": judge(tmp_path, row).name, "replayed_from": "expert"}
    assert verdict.samples == ("L3", None) and verdict.scores["L3"] == 1.0


def test_any_order_and_any_part_is_answered(tmp_path):
    replay = judge(tmp_path, *(recorded(number, latency_ms=float(number)) for number in range(6)))
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1], [0, 1, 4, 2], [2, 2, 0], [0, 0], [5]):
        assert [verdict.latency_ms for verdict in replay(pair(number) for number in order)] == order


def test_what_was_not_recorded_is_an_error_and_not_a_grade(tmp_path):
    verdicts = list(judge(tmp_path, recorded(0), recorded(1))([pair(0), pair(7), pair(1), pair(8)]))
    assert [(verdict.id, verdict.grade, verdict.error) for verdict in verdicts] == [
        ("p0", "L3", None), ("p7", None, "not recorded"), ("p1", "L3", None), ("p8", None, "not recorded")
    ]  # fmt: skip


@pytest.mark.parametrize("other", [pair(0, query="oak desk"), pair(0, item="i9")], ids=["query", "item"])
def test_an_id_that_means_another_pair_is_an_error(tmp_path, other):
    for order in ([other], [pair(1), other]):
        *_, verdict = judge(tmp_path, recorded(0), recorded(1))(order)
        assert verdict.grade is None and "recorded for query 'navy sofa' and item 'i0'" in verdict.error
        assert (verdict.query, verdict.item_id) == (other.query, other.item.id)


def test_a_recorded_failure_stays_one(tmp_path):
    row = {**recorded(0), "error": "no reply: HTTP 500"}
    del row["grade"]
    (verdict,) = judge(tmp_path, row)([pair(0)])
    assert verdict.grade is None and verdict.error == "no reply: HTTP 500"


def test_verdicts_come_one_at_a_time_and_are_not_kept_while_the_order_holds(tmp_path):
    count = 3000
    replay = judge(tmp_path, *(recorded(number, reason="x" * 2000) for number in range(count)))
    tracemalloc.start()
    assert sum(verdict.grade == "L3" for verdict in replay(pair(number) for number in range(count))) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < count * 2000 / 4, "the file's six megabytes were held"


def test_the_identity_is_the_content(tmp_path):
    one = judge(tmp_path, recorded(0)).identity()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert judge(elsewhere, recorded(0)).identity() == one and str(tmp_path) not in str(one)
    assert judge(tmp_path, recorded(0, grade="L4")).identity() != one


def test_parquet_is_read_as_well(tmp_path):
    file = tmp_path / "verdicts.parquet"
    assert lore("lore-rair run", PAIRS_FILE, "--judge", "rulebook:", "-o", file).code == 0
    replayed = lore("lore-rair run", PAIRS_FILE, "--judge", f"replay:{file}")
    expected = lore("lore-rair run", PAIRS_FILE, "--judge", "rulebook:").lines
    assert replayed.code == 0 and len(expected) == 24
    assert [json.loads(line)["grade"] for line in replayed.lines] == [json.loads(line)["grade"] for line in expected]


def test_no_file_and_bad_rows_are_told(tmp_path):
    with pytest.raises(Missing, match="nowhere.jsonl: no such file of verdicts\n  next: record them first"):
        open_judge(f"replay:{tmp_path / 'nowhere.jsonl'}", SETTINGS)
    with pytest.raises(Missing):
        open_judge("replay:", SETTINGS)
    with pytest.raises(BadInput, match=r"verdicts.jsonl:2: grade: .*'L9'"):
        list(judge(tmp_path, recorded(0), recorded(1, grade="L9"))([pair(0), pair(1)]))
