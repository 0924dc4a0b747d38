"""Comparing two runs, and gating a release: differences, flips, exit codes."""

from __future__ import annotations

import json

import numpy
import pytest
from scipy import stats

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


def test_mcnemar_is_the_exact_binomial_of_the_pairs_that_one_run_has_right(runs, tmp_path):
    gold, a, b, _ = runs
    assert compared(gold, a, b, "--json", tmp_path / "c.json", "--flips", tmp_path / "flips.jsonl").code == 0
    flips = [json.loads(line) for line in (tmp_path / "flips.jsonl").read_text().splitlines()]
    found = json.loads((tmp_path / "c.json").read_text())["slices"][0]["mcnemar"]["acc4"]
    only_a = sum(row["a"] == row["gold"] for row in flips)
    assert (found["only_a"], found["only_b"]) == (only_a, len(flips) - only_a)
    assert found["p"] == pytest.approx(stats.binomtest(only_a, len(flips), 0.5).pvalue, abs=1e-6)


def test_the_permutation_test_agrees_with_scipy(runs, tmp_path):
    """Right answers per query, exchanged query by query: scipy's paired permutation test, exact over 7 queries."""
    _, a, b, pairs = runs
    pairs = pairs[:21]
    given = [{row["id"]: row for row in map(json.loads, path.read_text().splitlines())} for path in (a, b)]
    gold = written(tmp_path / "few.jsonl", pairs)
    sides = [written(tmp_path / f"{name}.jsonl", [side[one["id"]] for one in pairs]) for name, side in zip("xy", given, strict=True)]
    assert lore("lore-rair", "compare", *sides, "--gold", gold, "--draws", "4000", "--json", tmp_path / "c.json").code == 0
    queries = sorted({one["query"] for one in pairs})
    sums = [[sum(side[one["id"]]["grade"] == one["grade"] for one in pairs if one["query"] == query) for query in queries] for side in given]
    theirs = stats.permutation_test(sums, lambda x, y, axis: (y - x).mean(axis), permutation_type="samples", vectorized=True, n_resamples=numpy.inf)
    assert json.loads((tmp_path / "c.json").read_text())["slices"][0]["metrics"]["acc4"]["p"] == pytest.approx(theirs.pvalue, abs=0.02)


def test_three_runs_are_compared_with_the_first_and_corrected_together(runs, tmp_path):
    gold, a, b, _ = runs
    assert compared(gold, a, b, "--json", tmp_path / "two.json").code == 0
    done = compared(gold, a, b, a, "--json", tmp_path / "three.json", "--flips", tmp_path / "flips.jsonl")
    assert done.code == 0, done.err
    first, second = json.loads((tmp_path / "three.json").read_text())["comparisons"]
    two = json.loads((tmp_path / "two.json").read_text())["slices"][0]["metrics"]["acc4"]
    assert {**first["slices"][0]["metrics"]["acc4"], "p_holm": 0} == {**two, "p_holm": 0} and second["slices"][0]["metrics"]["acc4"]["difference"] == 0
    assert first["slices"][0]["metrics"]["acc4"]["p_holm"] == pytest.approx(2 * two["p"], abs=1e-6), "two tests of all rows"
    assert {json.loads(line)["run"] for line in (tmp_path / "flips.jsonl").read_text().splitlines()} == {1}
    assert compared(gold, a, "--json", tmp_path / "one.json").code == 2


def test_the_gate_takes_verdicts_and_a_base(tmp_path):
    (pairs, bad), (_, good) = shop(240, 1, 0.3), shop(240, 1, 0.95)
    gold, worse, better = (written(tmp_path / name, rows) for name, rows in (("gold.jsonl", pairs), ("a.jsonl", bad), ("b.jsonl", good)))
    arguments = ("--gold", gold, "--draws", "300")
    assert lore("lore-rair", "gate", better, *arguments, "--no-worse-than", worse, "--require", "acc4>=0.9").code == 0
    done = lore("lore-rair", "gate", worse, *arguments, "--no-worse-than", better, "--metric", "acc4")
    assert done.code == 1 and "not met: all: acc4 is 0." in done.err and "hard: acc4 is 0." in done.err and "corrected for 3 slices" in done.err
    assert lore("lore-rair", "gate", worse, *arguments, "--no-worse-than", worse).code == 0, "equal is not worse"
    assert lore("lore-rair", "gate", worse, *arguments, "--require", "acc4>=0.9").code == 1


def test_a_margin_wants_it_shown_that_the_run_is_not_worse(runs, tmp_path):
    gold, a, b, pairs = runs
    few, rows = written(tmp_path / "few.jsonl", pairs[:12]), [json.loads(line) for line in a.read_text().splitlines()][:12]
    changed = [row | {"grade": "L1" if row["grade"] != "L1" else "L4"} if number == 0 else row for number, row in enumerate(rows)]
    base, new = written(tmp_path / "base.jsonl", rows), written(tmp_path / "new.jsonl", changed)
    arguments = ("lore-rair", "gate", new, "--gold", few, "--draws", "300", "--no-worse-than", base, "--metric", "acc4")
    beyond_chance, shown = lore(*arguments), lore(*arguments, "--margin", "0.01")
    assert beyond_chance.code == 0, beyond_chance.err
    assert shown.code == 1 and "at most 0.01 is allowed" in shown.err
    assert lore("lore-rair", "gate", b, "--gold", gold, "--draws", "300", "--no-worse-than", a, "--margin", "0.5").code == 0


def test_a_run_that_fails_on_what_it_would_get_wrong_is_worse(tmp_path):
    """Errors in place of wrong grades make every accuracy over judged pairs better, and the release worse."""
    pairs, rows = shop(240, 1, 0.7)
    failing = [row if row["grade"] == one["grade"] else verdict(one, error="no reply") for one, row in zip(pairs, rows, strict=True)]
    failing = [verdict(one, error="no reply") if number % 3 == 0 else row for number, (one, row) in enumerate(zip(pairs, failing, strict=True))]
    gold, base, new = (written(tmp_path / f"{name}.jsonl", lines) for name, lines in (("gold", pairs), ("base", rows), ("new", failing)))
    arguments = ("lore-rair", "gate", new, "--gold", gold, "--draws", "300", "--no-worse-than", base)
    done = lore(*arguments)
    assert done.code == 1 and "all: acc2_all is" in done.err
    assert lore(*arguments, "--metric", "acc2").code == 0, "over judged pairs alone it looks better"
    silent = written(tmp_path / "silent.jsonl", [verdict(one, error="no reply") for one in pairs])
    done = lore("lore-rair", "gate", silent, "--gold", gold, "--draws", "300", "--no-worse-than", base, "--metric", "acc2")
    assert done.code == 1 and "acc2 is not measured in both runs" in done.err


def test_a_gate_without_what_it_needs_is_refused(runs, report):
    gold, a, _, _ = runs
    assert lore("lore-rair", "gate", report[0]).code == 2
    assert lore("lore-rair", "gate", report[0], "--no-worse-than", a).code == 2
    assert lore("lore-rair", "gate", a, "--gold", gold, "--no-worse-than", a, "--metric", "acc9").code == 2
    assert lore("lore-rair", "gate", a, "--require", "acc4>=0").code == 3, "verdicts are no report"
