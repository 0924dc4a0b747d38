"""Choosing pairs worth learning from."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import training_toys as toys
from commands_run import lore


@pytest.fixture
def rows(tmp_path) -> Path:
    return toys.write(tmp_path / "pairs.jsonl", toys.pairs())


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


# ---------------------------------------------------------------- the low-confidence pool
def replayed(tmp_path: Path, rows: list[dict], **fields: dict) -> tuple[Path, str]:
    """The rows as a file, and a judge that says of them what `fields` say: {field: {id: value}}."""
    verdicts = [
        {"id": row["id"], "query": row["query"], "item_id": row["item"]["id"], "judge": "j", "grade": "L4", **{name: values[row["id"]] for name, values in fields.items()}} for row in rows
    ]
    return toys.write(tmp_path / "rows.jsonl", rows), f"replay:{toys.write(tmp_path / 'verdicts.jsonl', verdicts)}"


def test_the_unsure_pool_goes_by_probability_and_needs_no_human_grade(tmp_path):
    given_rows = [{name: value for name, value in row.items() if name != "grade"} for row in toys.pairs(3)]
    scores = {"p0": {"L4": 0.9, "L3": 0.1}, "p1": {"L4": 0.5, "L3": 0.45, "L1": 0.05}, "p2": {"L4": 0.6, "L2": 0.4}}
    rows, judge = replayed(tmp_path, given_rows, scores=scores)
    found, _ = keep(rows, "--judge", judge, "--soft", "--unsure", 0.2)
    assert [(row["id"], row["margin"]) for row in found] == [("p1", pytest.approx(0.05)), ("p2", pytest.approx(0.2))]
    assert found[0]["selected_because"] == "margin 0.05 of probabilities lies in [0, 0.2]"


def test_without_probabilities_the_draws_vote_and_one_that_cannot_be_read_votes_for_nothing(tmp_path):
    samples = {"p0": ["L4"] * 4, "p1": ["L4", "L4", "L3", "L3"], "p2": ["L4", None, None, None], "p3": [None] * 4}
    rows, judge = replayed(tmp_path, toys.pairs(4), samples=samples)
    found, _ = keep(rows, "--judge", judge, "--samples", 4, "--unsure", 0.25)
    assert [(row["id"], row["margin"]) for row in found] == [("p1", 0.0), ("p2", 0.25), ("p3", 0.0)]


def test_a_verdict_with_neither_is_a_failure_not_a_sure_one(tmp_path):
    rows, judge = replayed(tmp_path, toys.pairs(2))
    done = lore("lore-rl", "select", rows, "--judge", judge, "--unsure", 0.5, "-o", tmp_path / "out.jsonl")
    assert done.code == 5 and all("error" in row for row in toys.read(tmp_path / "out.jsonl"))


# ---------------------------------------------------------------- strata
def test_a_quota_takes_the_same_rows_in_any_order_and_says_why(tmp_path):
    everything = toys.pairs(48)
    chosen = {}
    for name, given_rows in (("a", everything), ("b", everything[::-1])):
        rows = toys.write(tmp_path / f"{name}.jsonl", given_rows)
        rejected = tmp_path / f"{name}.rejected.jsonl"
        found, said = keep(rows, "--judge", "rulebook:", "--least", 0, "--most", 1, "--per-grade", 3, "--rejected", rejected)
        chosen[name] = {row["id"] for row in found}
        assert [row["id"] for row in found] == [row["id"] for row in given_rows if row["id"] in chosen[name]], "in the order of the input"
        rest = toys.read(rejected)
        assert len(rest) == 48 - len(found) and all(row["reason"].endswith("but its strata have enough others") and "selected_because" not in row for row in rest)
    assert chosen["a"] == chosen["b"]
    grades = [row["grade"] for row in found]
    assert all(grades.count(grade) == min(3, sum(row["grade"] == grade for row in everything)) for grade in set(grades))
    assert found[0]["selected_because"].endswith(f"; one of 3 for grade {found[0]['grade']}")
    assert "grade L4: 12 seen, 12 chosen, 3 kept" in said


def test_either_quota_keeps_a_row_and_capabilities_are_those_of_the_query(tmp_path):
    given_rows = toys.pairs(12)
    given_rows[5]["query"] = "lamp not red"
    rows = toys.write(tmp_path / "rows.jsonl", given_rows)
    found, said = keep(rows, "--judge", "rulebook:", "--least", 0, "--most", 1, "--per-capability", 2)
    assert "p5" in {row["id"] for row in found} and "capability negation: 1 seen, 1 chosen, 1 kept" in said
    assert "capability unlisted: 5 seen, 5 chosen, 3 kept" in said and "capability plain: 7 seen, 7 chosen, 2 kept" in said and len(found) == 5
    both, _ = keep(rows, "--judge", "rulebook:", "--least", 0, "--most", 1, "--per-capability", 2, "--per-grade", 8)
    assert {row["id"] for row in found} < {row["id"] for row in both}


def test_a_resumed_selection_counts_what_was_recorded(tmp_path):
    given_rows = toys.pairs(24)
    options = ("--judge", "rulebook:", "--least", 0, "--most", 1, "--per-grade", 2)
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    toys.write(rows, given_rows)
    whole, _ = keep(rows, *options)
    rows.write_bytes(rows.read_bytes().replace(orjson.dumps(given_rows[20]), b"{}"))
    assert lore("lore-rl", "select", rows, *options, "-o", out).code == 3 and not out.exists()
    toys.write(rows, given_rows)
    done = lore("lore-rl", "select", rows, *options, "-o", out, "--resume")
    assert done.code == 0 and toys.read(out) == whole
    counts = orjson.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["counts"]
    assert counts["reused"] == 20 and counts["strata"]["grade L4"]["kept"] == 2


def test_nothing_to_select_from_is_no_error(tmp_path):
    assert keep(toys.write(tmp_path / "rows.jsonl", []), "--judge", "rulebook:", "--per-grade", 2)[0] == []
