"""Comparing two runs, and gating a release: differences, flips, exit codes."""

from __future__ import annotations

import json

import pytest

from commands_run import lore
from lore_cli.errors import UsageError
from lore_cli.rair.gate import read_requirement, unmet
from rair_rows import pair, scored, shop, verdict, written


@pytest.fixture
def runs(tmp_path):
    """60 pairs; run a is right on about half, run b on most; both orders of verdicts."""
    pairs, worse = shop(60, 1, 0.3)
    _, better = shop(60, 1, 0.95)
    return written(tmp_path / "gold.jsonl", pairs), written(tmp_path / "a.jsonl", worse), written(tmp_path / "b.jsonl", better[::-1]), pairs


def compared(gold, a, b, *more):
    done = lore("lore-rair", "compare", a, b, "--gold", gold, "--draws", "300", *more)
    return done


def test_a_better_run_is_better_outside_chance_and_the_flips_say_where(runs, tmp_path):
    gold, a, b, pairs = runs
    done = compared(gold, a, b, "--json", tmp_path / "c.json", "--flips", tmp_path / "flips.jsonl")
    assert done.code == 0, done.err
    document = json.loads((tmp_path / "c.json").read_text())
    whole = document["slices"][0]["metrics"]["acc4"]
    assert whole["difference"] == pytest.approx(whole["b"] - whole["a"]) and whole["lo"] > 0 and whole["p"] < 0.05
    assert whole["a"] == scored(tmp_path, pairs, [json.loads(line) for line in a.read_text().splitlines()])["slices"][0]["metrics"]["acc4"]["value"]
    flips = [json.loads(line) for line in (tmp_path / "flips.jsonl").read_text().splitlines()]
    gained = sum(row["b"] == row["gold"] for row in flips) - sum(row["a"] == row["gold"] for row in flips)
    assert gained / 60 == pytest.approx(whole["difference"]) and all((row["a"] == row["gold"]) != (row["b"] == row["gold"]) for row in flips)
    assert [entry["slice"].get("subset") for entry in document["slices"]] == [None, "general", "hard", "visual"]
    assert f"{whole['difference']:+.3f}" in done.out.decode()


def test_a_run_against_itself_differs_in_nothing(runs, tmp_path):
    gold, a, _, _ = runs
    assert compared(gold, a, a, "--json", tmp_path / "c.json").code == 0
    measures = json.loads((tmp_path / "c.json").read_text())["slices"][0]["metrics"]
    assert all(measure["difference"] == 0 and measure["p"] == 1 for measure in measures.values())


def test_an_incomplete_run_is_refused_unless_partial(runs, tmp_path):
    gold, a, b, _ = runs
    short = tmp_path / "short.jsonl"
    short.write_text("".join(a.read_text().splitlines(keepends=True)[:50]))
    done = compared(gold, short, b)
    assert done.code == 3 and "10 of 60 gold pairs have no verdict" in done.err and "short.jsonl" in done.err
    assert compared(gold, short, b, "--partial").code == 0
    assert compared(gold, "-", "-").code == 2
    assert compared(written(tmp_path / "none.jsonl", []), written(tmp_path / "x.jsonl", []), written(tmp_path / "y.jsonl", [])).code == 3


@pytest.fixture
def report(tmp_path):
    pairs = [pair(number, "L4", subset="hard" if number < 10 else "general") for number in range(40)]
    document = scored(tmp_path, pairs, [verdict(one, "L1" if number % 4 == 0 else "L4") for number, one in enumerate(pairs)])
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    return path, document


@pytest.mark.parametrize(
    ("requirement", "code", "said"),
    [
        ("acc4>=0.75", 0, "1 requirements met"),
        ("acc4>0.75", 1, "all: acc4.value is 0.7500"),
        ("hard:acc4>=0.7", 0, "met"),
        ("hard:acc4>=0.71", 1, "hard: acc4.value is 0.7000"),
        ("subset=general:acc4.hi<=1", 0, "met"),
        ("acc4.lo>=0.75", 1, "all: acc4.lo is 0."),
        ("*:coverage==1", 0, "met"),
        ("*:acc4>=0.75", 1, "hard: acc4.value"),
        ("adherence>=0", 1, "adherence.value is not measured"),
        ("bias>=-3", 0, "met"),
        ("acc9>=0.5", 2, "'acc9' is no metric"),
        ("acc4=0.5", 2, "is not a requirement"),
        ("tail:acc4>=0.5", 2, "no such slice"),
    ],
)
def test_the_gate_ends_by_whether_the_requirement_holds(report, requirement, code, said):
    done = lore("lore-rair", "gate", report[0], "--require", requirement)
    assert (done.code, said in done.err) == (code, True), done.err


def test_every_unmet_requirement_has_its_line(report):
    lines = unmet(report[1], [read_requirement("*:acc4>=0.99"), read_requirement("macro_f1>=2")])
    assert [line.partition(":")[0] for line in lines] == ["all", "general", "hard", "all"]
    with pytest.raises(UsageError):
        unmet(report[1], [read_requirement("nowhere:acc4>=0.5")])


def test_the_gate_refuses_what_is_no_report(tmp_path):
    other = tmp_path / "other.json"
    other.write_text('{"a": 1}')
    assert lore("lore-rair", "gate", other, "--require", "acc4>=0").code == 3
    assert lore("lore-rair", "gate", tmp_path / "none.json", "--require", "acc4>=0").code == 4
