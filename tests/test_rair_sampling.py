"""Drawing pairs for human labels: whole-number Neyman allocation, inclusion probabilities that undo it, what is refused."""

from __future__ import annotations

import itertools
import json
import math
import random

import pytest

from commands_run import lore
from lore_cli.errors import UsageError
from lore_cli.rair.sampling import Frame, Given, allocate
from lore_cli.records import Pair, parse
from rair_rows import pair, verdict, written


def variance(strata, drawn):
    """Of the estimated total, finite population corrections included (Cochran 1977, theorem 5.3)."""
    return sum(rows**2 * (1 - drawn[name] / rows) * spread**2 / drawn[name] for name, (rows, spread) in strata.items())


def test_no_other_allocation_in_whole_numbers_has_a_smaller_variance():
    draw = random.Random(3)
    for _ in range(60):
        strata = {name: (draw.randint(2, 40), draw.choice([0.1, 0.2, 0.5])) for name in "abc"}
        size = draw.randint(6, 14)
        most = {name: range(2, rows + 1) for name, (rows, _) in strata.items()}
        others = [dict(zip("abc", counts, strict=True)) for counts in itertools.product(*most.values()) if sum(counts) == min(size, sum(rows for rows, _ in strata.values()))]
        found = allocate(strata, size)
        assert found in others and math.isclose(variance(strata, found), min(variance(strata, other) for other in others))


def test_a_budget_above_the_rows_takes_all_and_one_below_the_least_is_refused():
    assert allocate({"a": (3, 0.5), "b": (1, 0.0)}, 100) == {"a": 3, "b": 1}
    assert allocate({"a": (3, 0.5), "b": (5, 0.1)}, 2, least=0) == {"a": 1, "b": 1}
    with pytest.raises(UsageError, match="2 strata need 3 labels"):
        allocate({"a": (3, 0.5), "b": (1, 0.5)}, 2)


def shop(seed=0):
    """800 pairs in two subsets; the judge is right on 95 % of the one and on 55 % of the other, and says so."""
    draw = random.Random(seed)
    pairs = [parse(Pair, pair(number, "L4", subset="easy" if number % 10 else "hard")) for number in range(800)]
    right = {one.id: draw.random() < (0.95 if one.raw["subset"] == "easy" else 0.55) for one in pairs}
    given = {one.id: Given("L4" if right[one.id] else "L1", 0.05 if one.raw["subset"] == "easy" else 0.45) for one in pairs}
    return pairs, right, given


def estimates(given, pairs, right, size=80, seeds=range(100)):
    found = []
    for seed in seeds:
        frame = Frame(("subset",), given, seed)
        for one in pairs:
            frame.add(one)
        chosen = frame.draw(size, 2)
        weights = {number: 1 / frame.strata[frame.stratum_of(pairs[number])].inclusion for number in chosen}
        found.append(sum(weight * right[pairs[number].id] for number, weight in weights.items()) / sum(weights.values()))
    return found


def test_weighted_by_inclusion_a_sample_estimates_the_share_of_all_rows_and_better_with_the_judges_doubts():
    pairs, right, given = shop()
    truth = sum(right.values()) / len(right)
    doubted = {key: Given(None, error) for key, (_, error) in given.items()}  # strata by subset alone: what differs is the allocation
    spreads = []
    for told in (None, doubted):
        found = estimates(told, pairs, right)
        mean = sum(found) / len(found)
        spreads.append(math.sqrt(sum((one - mean) ** 2 for one in found) / (len(found) - 1)))
        assert abs(mean - truth) < 4 * spreads[-1] / math.sqrt(len(found)), "unbiased"
    assert spreads[1] < spreads[0]


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def pool(tmp_path):
    """100 pairs of two subsets; the judge is sure on `easy` and in doubt on `hard`."""
    pairs = [pair(number, None, subset="hard" if number < 20 else "easy") for number in range(100)]
    verdicts = [verdict(one, "L4", scores={"L4": 0.55, "L1": 0.45} if one["subset"] == "hard" else {"L4": 0.999, "L1": 0.001}) for one in pairs]
    return written(tmp_path / "pairs.jsonl", pairs), written(tmp_path / "verdicts.jsonl", verdicts)


def test_the_sample_holds_rows_of_the_input_with_stratum_and_inclusion(pool, tmp_path):
    source, verdicts = pool
    done = lore("lore-rair", "sample", source, "--size", "30", "--by", "subset", "--verdicts", verdicts, "-o", tmp_path / "sample.jsonl")
    assert done.code == 0, done.err
    rows = rows_of(tmp_path / "sample.jsonl")
    drawn = {name: [row for row in rows if row["subset"] == name] for name in ("easy", "hard")}
    assert len(rows) == 30 and len(drawn["hard"]) > 0.4 * 30, "a fifth of the rows, most of the doubt"
    for name, size in (("easy", 80), ("hard", 20)):
        assert all(row["inclusion"] == len(drawn[name]) / size and row["stratum"] == f"subset={name}, given=L4" for row in drawn[name])
    source_ids = [row["id"] for row in rows_of(source)]
    assert sorted(rows, key=lambda row: source_ids.index(row["id"])) == rows
    counts = json.loads((tmp_path / "sample.jsonl.manifest.json").read_text())["counts"]
    assert counts["strata"]["subset=hard, given=L4"]["drawn"] == len(drawn["hard"]) and counts["written"] == 30
    back = written(tmp_path / "back.jsonl", rows_of(source)[::-1])
    assert lore("lore-rair", "sample", back, "--size", "30", "--by", "subset", "--verdicts", verdicts, "-o", tmp_path / "again.jsonl").code == 0
    assert {row["id"] for row in rows_of(tmp_path / "again.jsonl")} == {row["id"] for row in rows}, "in any order the same"


def test_a_sample_of_a_sample_has_the_probability_of_both_draws(pool, tmp_path):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    assert lore("lore-rair", "sample", pool[0], "--size", "50", "-o", first).code == 0
    assert lore("lore-rair", "sample", first, "--size", "10", "-o", second).code == 0
    assert {row["inclusion"] for row in rows_of(first)} == {0.5} and {row["inclusion"] for row in rows_of(second)} == {0.5 * 0.2}
    broken = written(tmp_path / "broken.jsonl", [pair(0, None, inclusion="often")])
    done = lore("lore-rair", "sample", broken, "--size", "1", "-o", tmp_path / "third.jsonl")
    assert done.code == 3 and "row 'p0': inclusion: found 'often'" in done.err and not (tmp_path / "third.jsonl").exists()


def test_a_pilot_says_where_the_judge_errs(pool, tmp_path):
    source, verdicts = pool
    graded = [pair(number, "L4" if number >= 10 else "L1", subset="hard" if number < 20 else "easy") for number in (*range(20), *range(20, 60))]
    pilot = written(tmp_path / "pilot.jsonl", graded)
    shares = []
    for options in (("--pilot", pilot, "--verdicts", verdicts), ()):
        done = lore("lore-rair", "sample", source, "--size", "30", "--by", "subset", *options, "-o", tmp_path / "sample.jsonl", "--force")
        assert done.code == 0, done.err
        shares.append(sum(row["subset"] == "hard" for row in rows_of(tmp_path / "sample.jsonl")))
    assert shares[1] == 6, "without a judge each subset gets its share"
    assert shares[0] >= 12, "half of the hard ones were wrong in the pilot, none of the easy ones"


def test_what_cannot_be_sampled_is_refused(pool, tmp_path):
    source, verdicts = pool
    target = tmp_path / "sample.jsonl"
    assert lore("lore-rair", "sample", source, "-o", target).code == 2
    done = lore("lore-rair", "sample", source, "--size", "3", "--by", "subset", "-o", target)
    assert done.code == 2 and "2 strata need 4 labels" in done.err
    done = lore("lore-rair", "sample", source, "--size", "9", "--by", "nothing", "-o", target)
    assert done.code == 3 and "row 'p0': nothing" in done.err
    assert lore("lore-rair", "sample", source, "--size", "9", "--pilot", source, "-o", target).code == 2
    assert lore("lore-rair", "sample", source, "--size", "9", "--verdicts", tmp_path / "none.jsonl", "-o", target).code == 4
    other = written(tmp_path / "other.jsonl", [pair(900, "L4")])
    done = lore("lore-rair", "sample", source, "--size", "9", "--verdicts", verdicts, "--pilot", other, "-o", target)
    assert done.code == 3 and "--pilot: none of its pairs" in done.err
    done = lore("lore-rair", "sample", source, "--size", "9", "--verdicts", written(tmp_path / "strange.jsonl", [verdict(pair(900), "L4")]), "-o", target)
    assert done.code == 3 and "no row to sample has a verdict" in done.err
    done = lore("lore-rair", "sample", source, "--size", "9", "--verdicts", verdicts, "--pilot", source, "-o", target)
    assert done.code == 3 and "has no grade" in done.err
    assert not target.exists()


def test_nothing_to_sample_from_gives_an_empty_sample(tmp_path):
    done = lore("lore-rair", "sample", written(tmp_path / "empty.jsonl", []), "--size", "9", "-o", tmp_path / "sample.jsonl")
    assert done.code == 0 and (tmp_path / "sample.jsonl").read_bytes() == b""
