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
