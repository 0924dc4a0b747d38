"""Replaying a log: pages, GoodRates, hit rates, cost; numbers worked out by hand."""

from __future__ import annotations

import json

import numpy
import pytest

from lore_cli.errors import BadInput
from lore_cli.judges import plan as plans
from lore_cli.records import Verdict, parse
from lore_cli.tier import cost, log, replay_table
from lore_cli.tier import replay as replaying
from tier_shop import make_plan, pair, run, write_rows


def verdict(one, grade, tier="head", route="cache", latency=1.0, **more):
    return parse(Verdict, {"id": one.id, "query": one.query, "item_id": one.item.id, "judge": "t", "grade": grade, "tier": tier, "route": route, "latency_ms": latency, "age_s": 7200, **more})


def setting(tmp_path, counts, ranked):
    """Requests over pairs with an engine rank; `ranked`: query → grades in the engine's order."""
    plan = make_plan(tmp_path, counts)
    counted = log.count_queries([parse(log.LogRow, {"query": query, "count": count}) for query, count in counts.items()])
    pairs, gold = [], {}
    for query, grades in ranked.items():
        for number, grade in enumerate(grades):
            one = pair(query, number)
            one.raw["rank"] = number + 1
            pairs.append(one)
            gold[query, one.item.id] = grade
    made = plans.load_plan(plan)
    requests = replaying.requests_of(counted, plans.Router(plan, made), reversed(pairs), 0, 0)
    return made, counted, requests, pairs, gold


def test_goodrates_by_hand(tmp_path):
    """q1 (80 requests): the engine shows L1 L4, the verdicts turn that round. q2 (20): already perfect."""
    made, counted, requests, pairs, gold = setting(tmp_path, {"q1": 80, "q2": 20}, {"q1": ["L1", "L4", "L1"], "q2": ["L4", "L4", "L3"]})
    verdicts = {one.id: verdict(one, gold[one.query, one.item.id]) for one in pairs}
    rates = replaying.report(requests, verdicts, gold, made, counted, replaying.Page(2), 0, {})["goodrate"]
    assert rates["engine"]["query"]["value"] == 0.2 and rates["engine"]["item"]["value"] == 0.6
    assert rates["reranked"]["query"]["value"] == 0.2 and rates["reranked"]["item"]["value"] == 0.6  # 1 of 2 is still bad
    assert rates["filtered"]["query"]["value"] == 1.0 and rates["filtered"]["item"]["value"] == 1.0
    assert rates["filtered"]["gain"]["item"]["value"] == 0.4 and rates["filtered"]["relative_gain"]["query"] == 4.0
    assert {name: rates[name]["shown"] for name in replaying.PAGES} == {"engine": 2.0, "reranked": 2.0, "filtered": 1.2, "ideal": 1.2}
    one_item = replaying.report(requests, verdicts, gold, made, counted, replaying.Page(1), 0, {})["goodrate"]
    assert (one_item["engine"]["query"]["value"], one_item["reranked"]["query"]["value"]) == (0.2, 1.0)


def test_an_empty_page_is_a_bad_page(tmp_path):
    made, counted, requests, pairs, gold = setting(tmp_path, {"q1": 1}, {"q1": ["L4"]})
    verdicts = {one.id: verdict(one, "L1") for one in pairs}
    rates = replaying.report(requests, verdicts, gold, made, counted, replaying.Page(), 0, {})["goodrate"]
    assert rates["filtered"]["query"]["value"] == 0.0 and rates["reranked"]["query"]["value"] == 1.0


def test_the_ideal_page_shows_relevant_items_alone_whatever_was_judged(tmp_path):
    """q1: one of three is relevant; q2: none, so that no page of it can be good."""
    made, counted, requests, pairs, gold = setting(tmp_path, {"q1": 80, "q2": 20}, {"q1": ["L1", "L4", "L1"], "q2": ["L2", "L1"]})
    verdicts = {one.id: verdict(one, "L1") for one in pairs}
    rates = replaying.report(requests, verdicts, gold, made, counted, replaying.Page(2), 0, {})["goodrate"]
    assert rates["ideal"]["query"]["value"] == rates["ideal"]["item"]["value"] == 0.8
    assert rates["ideal"]["gain"]["item"]["value"] == 0.4 and rates["ideal"]["relative_gain"] == {"query": None, "item": 1.0}


def test_scores_rank_within_a_grade_and_a_failed_verdict_ranks_between(tmp_path):
    made, counted, requests, pairs, gold = setting(tmp_path, {"q1": 1}, {"q1": ["L1", "L4", "L3"]})
    scores = [None, {"L1": 0.0, "L2": 0.0, "L3": 0.1, "L4": 0.9}, {"L1": 0.0, "L2": 0.0, "L3": 0.9, "L4": 0.1}]
    found = [replaying.expected_grade(verdict(one, "L3", scores=score)) for one, score in zip(pairs, scores, strict=True)]
    assert found == pytest.approx([3.0, 3.9, 3.1])
    failed = parse(Verdict, {"id": "x", "query": "q", "item_id": "i", "judge": "t", "error": "down"})
    assert replaying.expected_grade(failed) == 2.5


def test_the_engine_order_is_rank_or_lexical_overlap():
    ranked = [pair("navy sofa", number) for number in range(3)]
    for one, rank in zip(ranked, (2, 3, 1), strict=True):
        one.raw["rank"] = rank
    assert [one.item.id for one in replaying.engine_order(ranked)] == ["i2", "i0", "i1"]
    assert [one.item.id for one in replaying.engine_order([pair("navy sofa", 0), pair("navy sofa", 1), pair("navy sofa", 10)])] == ["i1", "i0", "i10"]


def test_tiers_cache_and_cost(tmp_path):
    made, counted, requests, pairs, gold = setting(tmp_path, {"h": 80, "m": 16, "t": 4}, {"h": ["L4", "L1"], "m": ["L4"], "t": ["L3"]})
    routes = {"h/0": ("head", "cache", 0.1), "h/1": ("head", "cache: expired > student", 1.0), "m/0": ("middle", "student: 0.31 is under 0.5 > model", 21.0), "t/0": ("tail", "model", 19.0)}
    verdicts = {one.id: verdict(one, "L4", *routes[one.id]) for one in pairs}
    document = replaying.report(requests, verdicts, gold, made, counted, replaying.Page(), 0, {("t", "i0"): "L4", ("h", "i1"): "L3"})
    tiers = {tier["tier"]: tier for tier in document["tiers"]}
    assert tiers["head"]["traffic_share"] == 0.8 and tiers["head"]["answered_by"] == {"cache": 1, "student": 1}
    assert tiers["middle"]["answered_by"] == {"model": 1}
    assert tiers["head"]["against_gold"] == {"pairs": 2, "acc2": 0.5, "acc4": 0.5}
    assert tiers["head"]["against_model"] == {"pairs": 1, "acc2": 1.0, "acc4": 0.0} and tiers["middle"]["against_model"]["pairs"] == 0
    assert document["cache"]["hit_rate"] == 0.5 and document["cache"]["misses"] == {"expired": 1} and document["cache"]["ages"]["1 h to 1 day"] == 1
    spent = (80 * 0.1 + 80 * 1.0 + 16 * 21 + 4 * 19) / (160 + 16 + 4)
    assert document["cost"]["tiered"] == pytest.approx(spent, abs=1e-4) and document["cost"]["model_alone"] == 20.0
    each = document["cost"]["per_1000_requests"]
    assert each["model_pairs"] == 200.0 and each["seconds"] == pytest.approx((80 * 1.1 + 16 * 21 + 4 * 19) / 100, abs=1e-4)
    whole = document["latency_ms"]["request"]
    assert (whole["p50"], whole["p95"], whole["p99"]) == (1.1, 21.0, 21.0) and document["latency_ms"]["pair"]["p99"] == 21.0
    assert "cache hits 50.0%" in replay_table.table(document)


def test_intervals_are_by_query_and_weighted():
    values = numpy.array([[1.0], [0.0], [1.0], [0.0]])
    mean, low, high = replaying.weighted_interval(values, numpy.array([1.0, 1.0, 1.0, 1.0]), 0)
    assert mean[0] == 0.5 and 0.0 <= low[0] < 0.3 and 0.7 < high[0] <= 1.0
    mean, low, high = replaying.weighted_interval(values, numpy.array([97.0, 1.0, 1.0, 1.0]), 0)
    assert mean[0] == 0.98
    constant = replaying.weighted_interval(numpy.ones((9, 1)), numpy.arange(1.0, 10.0), 0)
    assert [float(part[0]) for part in constant] == [1.0, 1.0, 1.0]
    assert all((one == other).all() for one, other in zip(replaying.weighted_interval(values, values[:, 0] + 1, 3), replaying.weighted_interval(values, values[:, 0] + 1, 3), strict=True))


def test_a_sample_keeps_each_tiers_traffic(tmp_path):
    counts = {f"h{number}": 100 for number in range(8)} | {f"t{number}": 1 for number in range(150)}
    plan = make_plan(tmp_path, counts, head=0.8, tail=0.2)
    counted = log.count_queries([parse(log.LogRow, {"query": query, "count": count}) for query, count in counts.items()])
    pairs = [pair(query, 1) for query in counts]
    made = plans.load_plan(plan)
    some = replaying.requests_of(counted, plans.Router(plan, made), pairs, 5, 3)
    weight = {tier: sum(one.weight for one in some if one.tier == tier) for tier in plans.TIERS}
    assert len(some) == 10 and weight["head"] == pytest.approx(800) and weight["tail"] == pytest.approx(150)
    again = replaying.requests_of(counted, plans.Router(plan, made), pairs, 5, 3)
    assert [one.query for one in again] == [one.query for one in some]


def test_the_command(tmp_path):
    log = write_rows(tmp_path / "log.jsonl", [{"query": "navy sofa", "count": 80}, {"query": "oak desk", "count": 16}, {"query": "rug", "count": 4}])
    rows = [pair(query, number).raw | {"grade": "L4" if number > 1 else "L1"} for query in ("Navy Sofa", "oak desk", "rug") for number in range(5)]
    candidates = write_rows(tmp_path / "candidates.jsonl", rows)
    plan = tmp_path / "plan.json"
    assert run("plan", log, "--cache", tmp_path / "cache", "--tail", "rulebook:", "-o", plan).returncode == 0
    assert run("refresh", "--plan", plan, "--pairs", candidates, "--judge", "rulebook:", "--cache", tmp_path / "cache").returncode == 0
    arguments = ["replay", log, "--plan", plan, "--candidates", candidates, "--gold", candidates, "--page", "3"]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["cache"]["hit_rate"] == 1.0 and [tier["pairs"] for tier in document["tiers"]] == [5, 5, 5]
    assert document["page"]["size"] == 3 and document["goodrate"]["reranked"]["shown"] == 3.0 and b"Query GoodRate" in done.stderr
    assert run(*arguments, "-o", tmp_path / "replay.json").returncode == 0 and (tmp_path / "replay.json.manifest.json").exists()
    assert run(*arguments, "-o", tmp_path / "replay.json").returncode == 2
    ungraded = write_rows(tmp_path / "bare.jsonl", [{name: part for name, part in row.items() if name != "grade"} for row in rows])
    assert run(*arguments[:-4], "--gold", ungraded).returncode == 3
    other = write_rows(tmp_path / "other.jsonl", [pair("unknown", 1).raw])
    assert b"no candidate belongs to a query of the log" in run("replay", log, "--plan", plan, "--candidates", other, "--gold", candidates).stderr


def test_no_graded_candidate_is_bad_input(tmp_path):
    made, counted, requests, pairs, _ = setting(tmp_path, {"q1": 1}, {"q1": ["L1"]})
    with pytest.raises(BadInput, match="has a grade in --gold"):
        replaying.report(requests, {one.id: verdict(one, "L1") for one in pairs}, {("q9", "i1"): "L4"}, made, counted, replaying.Page(), 0, {})


def test_weighted_quantiles_are_those_of_the_repeated_values():
    draw = numpy.random.default_rng(0)
    values, weights = draw.random(50), draw.integers(1, 9, 50)
    assert cost.quantiles(list(values), list(weights)) == cost.quantiles(list(numpy.repeat(values, weights)))
    assert cost.quantiles([]) is None


def test_several_plans_on_one_log(tmp_path):
    log_file = write_rows(tmp_path / "log.jsonl", [{"query": "navy sofa", "count": 60}, {"query": "oak desk", "count": 40}])
    rows = [pair(query, number).raw | {"grade": "L4" if number > 1 else "L1"} for query in ("navy sofa", "oak desk") for number in range(4)]
    candidates = write_rows(tmp_path / "candidates.jsonl", rows)
    wide, none = tmp_path / "wide.json", tmp_path / "none.json"
    assert run("plan", log_file, "--head-traffic", "1", "--tail-traffic", "0", "--cache", tmp_path / "cache", "--tail", "rulebook:", "-o", wide).returncode == 0
    assert run("refresh", "--plan", wide, "--pairs", candidates, "--judge", "rulebook:", "--cache", tmp_path / "cache").returncode == 0
    assert run("plan", log_file, "--head-traffic", "0", "--tail-traffic", "1", "--tail", "rulebook:", "-o", none).returncode == 0
    base = ["replay", log_file, "--plan", wide, "--candidates", candidates, "--gold", candidates]
    done = run(*base, "--what-if", none)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (other,) = document["what_if"]
    assert other["path"] == str(none) and (document["cost"]["per_1000_requests"]["model_pairs"], other["cost"]["per_1000_requests"]["model_pairs"]) == (0.0, 4000.0)
    assert document["cache"]["hit_rate"] == 1.0 and other["cache"]["hit_rate"] is None and b"none.json" in done.stderr
    assert other["goodrate"] == document["goodrate"]  # the same expert, asked ahead of time or live
    assert run(*base, "--what-if", tmp_path / "nowhere.json").returncode == 4
