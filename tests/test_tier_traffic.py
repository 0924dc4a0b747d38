"""Logs of every form, what a log tells of traffic, and cuts by budget and target."""

from __future__ import annotations

import json
import math

import numpy
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from commands_run import lore
from lore_cli.errors import UsageError
from lore_cli.records import parse
from lore_cli.tier import budget, log, traffic
from lore_cli.tier.personal import personal
from tier_shop import write_rows


def counted(counts):
    return log.count_queries([parse(log.LogRow, {"query": f"q{number}", "count": int(count)}) for number, count in enumerate(counts)])


QUERIES = some.lists(some.tuples(some.text("aAéＢ ß", min_size=1, max_size=3).filter(str.strip), some.integers(1, 50)), min_size=1, max_size=30)


@settings(max_examples=25, deadline=None)
@given(QUERIES, some.sampled_from(["auto", "events", "ubi"]), some.booleans())
def test_files_in_blocks_and_row_by_row_come_to_the_same(tmp_path_factory, typed, form, parquet):
    field = "user_query" if form == "ubi" else "query"
    rows = [{field: query, **({"count": count} if form == "auto" else {}), "day": 3} for query, count in typed]
    file = tmp_path_factory.mktemp("log") / "log"
    polars.DataFrame(rows).write_parquet(file) if parquet else write_rows(file, rows)
    slow = log.count_queries([parse(log.kind_of(form), row) for row in rows], form)
    fast = log.count_files([str(file)], form)
    assert fast.frame.equals(slow.frame) and fast.rows == slow.rows == len(rows)
    assert log.count_files([str(file)] * 2, form).traffic == 2 * slow.traffic


@pytest.mark.parametrize(
    "line",
    [
        '{"query":"a"}',
        '{"query":"a","count":0}',
        '{"query":"a","count":"1"}',
        '{"query":1,"count":1}',
        '{"query":"\\u200b","count":1}',
        '{"query":"a","count":1,"item":{}}',
        "[]",
        "{",
        '{"query":null,"count":1}',
    ],
)
def test_a_log_with_one_odd_row_is_read_row_by_row(tmp_path, line):
    (tmp_path / "log.jsonl").write_text('{"query":"b","count":1}\n' * 3 + line + "\n")
    assert log.count_files([str(tmp_path / "log.jsonl")]) is None


@pytest.mark.parametrize(
    "frame",
    [
        {"query": ["a", None], "count": [1, 1]},
        {"query": ["a"], "count": [0]},
        {"query": ["a"], "count": [None]},
        {"query": ["a"], "count": [1.5]},
        {"query": [3], "count": [1]},
        {"query": ["a"]},
    ],
)
def test_a_parquet_log_with_one_odd_row_too(tmp_path, frame):
    polars.DataFrame(frame).write_parquet(tmp_path / "log.parquet")
    assert log.count_files([str(tmp_path / "log.parquet")]) is None


def test_blocks_cut_lines_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "_BLOCK", 37)
    file = write_rows(tmp_path / "log.jsonl", [{"query": f"q{number % 7}", "count": number} for number in range(1, 200)])
    assert log.count_files([str(file)]).traffic == sum(range(200))


def test_events_and_ubi_from_the_command_line(tmp_path):
    events = write_rows(tmp_path / "events.jsonl", [{"query": query, "at": 1} for query in ("a", "A", "b")])
    ubi = write_rows(tmp_path / "ubi.jsonl", [{"user_query": query, "query_id": query} for query in ("a", "A", "b")])
    for form, file in (("events", events), ("ubi", ubi)):
        assert lore("lore-tier", "plan", file, "--log", form, "-o", tmp_path / f"{form}.json").code == 0
        assert json.loads((tmp_path / f"{form}.json").read_text())["traffic"] == 3
    bad = lore("lore-tier", "plan", events, "--log", "ubi", "-o", tmp_path / "no.json")
    assert bad.code == 3 and "events.jsonl:1: user_query" in bad.err
    assert lore("lore-tier", "plan", "-", "--log", "events", "-o", tmp_path / "piped.json", stdin=events.read_bytes()).code == 0
    assert json.loads((tmp_path / "piped.json").read_text())["queries"] == 2


def test_personal_queries_are_named_nowhere(tmp_path):
    private = ["ann.smith@example.org", "order 4111 1111 1111 1111", "call +44 20 7946 0958"]
    file = write_rows(tmp_path / "log.jsonl", [{"query": query, "count": 50} for query in (*private, "navy sofa", "4006381333931")])
    done = lore(
        "lore-tier",
        "plan",
        file,
        "--head-traffic",
        "1",
        "--tail-traffic",
        "0",
        "-o",
        tmp_path / "plan.json",
        "--report",
        tmp_path / "r.json",
        "--html",
        tmp_path / "r.html",
    )
    assert done.code == 0 and "1 e-mail, 1 phone, 1 card" in done.err
    listed = [json.loads(line)["query"] for line in (tmp_path / "plan.head.jsonl").read_text().splitlines()]
    assert listed == ["4006381333931", "navy sofa"]
    written = "".join(path.read_text() for path in tmp_path.glob("*") if path != file)
    assert not any(query in written for query in private)


@pytest.mark.parametrize(
    "query",
    [
        "iphone 12 pro max 256gb",
        "screw 3.5x40 200 pcs",
        "lego 75192",
        "9780306406157",
        "036000291452",
        "wd-40 400ml",
        "rtx 4090 24gb 4111",
        "size 42-44-46",
        "1920 1080 144hz 27",
    ],
)
def test_products_are_not_taken_for_people(query):
    assert personal(query) is None


def test_the_law_that_made_a_log_is_found_again():
    draws = numpy.random.default_rng(1).zipf(2.0, 20_000)  # counts with p(x) ~ x^-2: Zipf exponent 1
    found = traffic.zipf(counted(draws[draws < 10**9]))
    assert found["lo"] < 1.0 < found["hi"] and found["hi"] - found["lo"] < 0.2


def test_no_law_of_equal_counts_or_few_queries():
    assert traffic.zipf(counted([5] * 200)) is None and traffic.zipf(counted([9])) is None and traffic.zipf(counted([9, 3, 2])) is None


def test_good_turing_foretells_the_share_of_new_queries():
    draw = numpy.random.default_rng(2)
    shares = 1 / numpy.arange(1, 5001)
    first, second = (draw.choice(5000, 8000, p=shares / shares.sum()) for _ in range(2))
    found = traffic.never_seen(counted(numpy.unique(first, return_counts=True)[1]))
    truth = float(numpy.isin(second, first, invert=True).mean())
    assert found["lo"] - 0.01 < truth < found["hi"] + 0.01 and found["share"] == pytest.approx(truth, abs=0.015)
    assert traffic.never_seen(counted([4, 3]))["singletons"] == 0


def test_the_curve_and_its_interval():
    points = traffic.curve(counted([60, 25, 10, 5]), 0)
    assert [(point["queries"], point["share"]) for point in points] == [(1, 0.6), (2, 0.85), (4, 1.0)]
    half = 1.96 * math.sqrt(0.6 * 0.4 / 100)  # of a binomial share
    assert points[0]["hi"] - points[0]["lo"] == pytest.approx(2 * half, rel=0.15) and points[-1]["lo"] == points[-1]["hi"] == 1.0
    assert traffic.curve(counted([7]), 0) == [{"queries": 1, "share": 1.0, "lo": 1.0, "hi": 1.0}]


ECONOMY = budget.Economy(10, 30.0, 2.0, {"head": 0.1, "middle": 4.0, "tail": 30.0}, {"head": 0.95, "middle": 0.9, "tail": 0.95})


def test_a_budget_of_pairs_hours_or_money_gives_the_largest_head():
    queries = counted([50, 20, 15, 10, 5])
    assert budget.head_for_budget(queries, budget.Budget(pairs=29), ECONOMY, 1) == 0.7  # two queries of ten pairs
    assert budget.head_for_budget(queries, budget.Budget(hours=30 * 0.03 / 3600), ECONOMY, 1) == 0.85  # 30 pairs
    assert budget.head_for_budget(queries, budget.Budget(money=0.02, pairs=1000), ECONOMY, 1) == 0.5
    assert budget.head_for_budget(queries, budget.Budget(pairs=10**6), ECONOMY, 15) == 0.85  # rarer ones are never listed
    for refused in (budget.Budget(pairs=9), budget.Budget(hours=0.0)):
        with pytest.raises(UsageError, match="the budget is"):
            budget.head_for_budget(queries, refused, ECONOMY, 1)
    with pytest.raises(UsageError, match="--price"):
        budget.head_for_budget(queries, budget.Budget(money=1.0), budget.Economy(10, None, None, {}, {}), 1)


def test_a_target_of_latency_gives_the_smallest_head():
    share = budget.head_for_latency(3.0, ECONOMY, 0.05)
    assert share * 0.1 + (0.95 - share) * 4.0 + 0.05 * 30.0 == pytest.approx(3.0)
    assert budget.head_for_latency(50.0, ECONOMY, 0.05) == 0.0
    with pytest.raises(UsageError, match="no cut is faster than 1.595"):
        budget.head_for_latency(1.0, ECONOMY, 0.05)
    with pytest.raises(UsageError, match="--measured"):
        budget.head_for_latency(1.0, budget.Economy(10, None, None, {}, {}), 0.05)


def test_the_table_of_cuts():
    rows = budget.cuts(counted([50, 20, 15, 10, 5]), 0.7, 0.05, ECONOMY)
    chosen = next(row for row in rows if row["chosen"])
    assert (chosen["queries"], chosen["pairs"], chosen["money"]) == (2, 20, 0.04) and chosen["hours"] == pytest.approx(20 * 0.03 / 3600)
    assert chosen["ms"] == pytest.approx(0.7 * 0.1 + 0.25 * 4 + 0.05 * 30) and chosen["quality"] == pytest.approx(0.7 * 0.95 + 0.25 * 0.9 + 0.05 * 0.95)
    assert all(row["ms"] is None for row in budget.cuts(counted([5]), 0.7, 0.05, budget.Economy(1, None, None, {}, {})))


def test_the_command_with_budget_churn_and_page(tmp_path):
    yesterday = write_rows(tmp_path / "1.jsonl", [{"query": query, "count": count} for query, count in (("a", 50), ("b", 30), ("c", 15), ("d", 5))])
    today = write_rows(tmp_path / "2.jsonl", [{"query": query, "count": count} for query, count in (("a", 50), ("e", 30), ("c", 15), ("f", 5))])
    assert lore("lore-tier", "plan", yesterday, "-o", tmp_path / "1.json").code == 0
    options = ["--previous", tmp_path / "1.json", "--budget-pairs", "85", "--report", tmp_path / "r.json", "--html", tmp_path / "r.html"]
    done = lore("lore-tier", "plan", today, "-o", tmp_path / "2.json", *options)
    assert done.code == 0, done.err
    document, plan = (json.loads((tmp_path / name).read_text()) for name in ("r.json", "2.json"))
    assert plan["tiers"]["head"]["queries"] == 2 and document["churn"] == {
        "entered": 1,
        "left": 1,
        "stayed": 1,
        "kept_traffic": 0.625,
        "new_traffic": pytest.approx(0.35),
    }
    page = (tmp_path / "r.html").read_text()
    assert "<svg" in page and "NaN" not in page and page.count("<pre>") == 3
    assert lore("lore-tier", "plan", today, "-o", tmp_path / "3.json", "--budget-pairs", "85", "--target-ms", "3").code == 2
    assert lore("lore-tier", "plan", today, "-o", tmp_path / "3.json", "--measured", tmp_path / "2.json").code == 3
    one = write_rows(tmp_path / "one.jsonl", [{"query": "only", "count": 1}])
    assert (
        lore("lore-tier", "plan", one, "-o", tmp_path / "4.json", "--html", tmp_path / "one.html").code == 0 and "<svg" in (tmp_path / "one.html").read_text()
    )
