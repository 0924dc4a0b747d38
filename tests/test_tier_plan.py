"""Cutting a log into tiers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from lore_cli.errors import BadInput, UsageError
from lore_cli.judges import plan as plans
from lore_cli.records import parse
from lore_cli.tier import log
from lore_cli.tier import plan as planning
from tier_shop import make_plan, run, write_rows


def rows(*pairs):
    return [parse(log.LogRow, {"query": query, "count": count}) for query, count in pairs]


def sizes(counted, head=0.8, tail=0.05, least=1):
    return {name: part["query"].to_list() for name, part in planning.cut(counted, head, tail, least).items()}


def test_spellings_of_one_query_are_added_up():
    counted = log.count_queries(rows(("Navy Sofa", 3), ("navy  sofa", 4), ("ＮＡＶＹ sofa", 1), ("rug", 8)))
    assert counted.frame.rows() == [("navy sofa", 8), ("rug", 8)] and counted.rows == 4 and counted.traffic == 16


def test_the_head_is_the_smallest_set_that_holds_its_share():
    counted = log.count_queries(rows(("a", 50), ("b", 30), ("c", 10), ("d", 6), ("e", 3), ("f", 1)))
    assert sizes(counted) == {"head": ["a", "b"], "middle": ["c", "d"], "tail": ["e", "f"]}
    assert sizes(counted, head=0.81)["head"] == ["a", "b", "c"]
    assert sizes(counted, head=1.0, tail=0)["head"] == ["a", "b", "c", "d", "e", "f"]
    assert sizes(counted, head=0, tail=1) == {"head": [], "middle": [], "tail": ["a", "b", "c", "d", "e", "f"]}


def test_one_query_and_equal_counts():
    assert sizes(log.count_queries(rows(("only", 1)))) == {"head": ["only"], "middle": [], "tail": []}
    equal = log.count_queries(rows(*((name, 5) for name in "jihgfedcba")))
    assert sizes(equal, 0.5, 0.2) == {"head": list("abcde"), "middle": list("fgh"), "tail": list("ij")}


def test_rare_queries_are_never_named(tmp_path):
    counted = log.count_queries(rows(("common", 50), ("my name and street", 1), ("rare", 2)))
    assert sizes(counted, 1.0, 0, least=2)["tail"] == ["my name and street"]


@settings(max_examples=60, deadline=None)
@given(some.dictionaries(some.text("abcdefgh", min_size=1, max_size=4), some.integers(1, 1000), min_size=1, max_size=40), some.floats(0, 1), some.floats(0, 1))
def test_every_query_has_one_tier_and_the_shares_hold(counts, head, rest):
    tail = (1 - head) * rest
    counted = log.count_queries(rows(*counts.items()))
    parts = planning.cut(counted, head, tail, 1)
    assert sorted(query for part in parts.values() for query in part["query"]) == sorted(counts)
    total = sum(counts.values())
    traffic = {name: sum(part["count"]) for name, part in parts.items()}
    assert traffic["head"] >= head * total - 1e-6
    assert traffic["tail"] <= tail * total + 1e-6
    if parts["head"].height:
        assert traffic["head"] - min(parts["head"]["count"]) < head * total  # one query fewer would not do


def test_shares_that_overlap_are_refused():
    with pytest.raises(UsageError, match="add up to more than 1"):
        sizes(log.count_queries(rows(("a", 1))), 0.8, 0.3)


def test_pairs_as_a_log():
    shown = [parse(log.LogRow, {"id": str(n), "query": query, "item": {"id": str(n)}, **count}) for n, (query, count) in enumerate([("a", {"count": 7}), ("a", {"count": 5}), ("b", {"count": 2})])]
    assert log.count_queries(shown).frame.rows() == [("a", 7), ("b", 2)]
    bare = [parse(log.LogRow, {"id": str(n), "query": query, "item": {"id": str(n)}}) for n, query in enumerate("aab")]
    assert log.count_queries(bare).frame.rows() == [("a", 2), ("b", 1)]
    with pytest.raises(BadInput, match="different forms"):
        log.count_queries([*shown, *rows(("c", 1))])


def test_the_same_log_gives_the_same_plan_wherever_it_is_read_from(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = make_plan(tmp_path / "one", {"a": 5, "b": 3, "c": 1}, cache=None, student="student:" + str(tmp_path / "one" / "s"))
    assert plans.load_plan(one).student == "student:" + str(tmp_path / "one" / "s")
    reordered = make_plan(tmp_path / "two", {"c": 1, "b": 3, "a": 5}, cache=None, student="student:" + str(tmp_path / "one" / "s"))
    assert open(one).read() == open(reordered).read()


def test_a_typed_path_is_kept_relative_to_the_plan_and_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    planning.write_plan("runs/plan.json", log.count_queries(rows(("a", 1))), {"head_traffic": 0.8, "tail_traffic": 0.0, "min_count": 1.0}, planning.Deployment("runs/cache", "student:models/s", "hf:Qwen/Qwen3-4B", 0.5, 1.0, 2.0))
    plan = plans.load_plan("runs/plan.json")
    assert (plan.cache, plan.student, plan.tail) == ("cache", "student:../models/s", "hf:Qwen/Qwen3-4B")
    monkeypatch.chdir("/")
    assert plans.beside(tmp_path / "runs/plan.json", plan.student) == f"student:{tmp_path}/models/s"
    assert plans.beside(tmp_path / "runs/plan.json", plan.tail) == "hf:Qwen/Qwen3-4B"


def test_the_command_writes_plan_lists_and_table(tmp_path):
    log = write_rows(tmp_path / "log.jsonl", [{"query": "Navy sofa", "count": 80, "day": 1}, {"query": "oak\u2028desk", "count": 16}, {"query": "vase", "count": 4}])
    done = run("plan", log, "--cache", "cache", "--tail", "rulebook:", "--ttl", "12h", "-o", tmp_path / "plan.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"head" in done.stderr and b"80.0%" in done.stderr and done.stdout == b""
    document = json.loads((tmp_path / "plan.json").read_text())
    assert document["tiers"]["head"] == {"queries": 1, "traffic": 80, "share": 0.8, "least_count": 80, "most_count": 80}
    assert (document["ttl_s"], document["expire_s"], document["cache"]) == (43200, 86400, "cache")
    assert json.loads((tmp_path / "plan.middle.jsonl").read_text()) == {"query": "oak desk", "count": 16}
    assert json.loads((tmp_path / "plan.json.manifest.json").read_text())["counts"]["traffic"] == 100
    assert run("plan", log, "-o", tmp_path / "plan.json").returncode == 2


@pytest.mark.parametrize(
    ("text", "options", "code", "message"),
    [
        ("", [], 3, "the log has no rows"),
        ('{"query":"a"}', [], 3, "required field is missing"),
        ('{"query":"a","count":0}', [], 3, "1 to"),
        ('{"query":"a","count":"3"}', [], 3, "count"),
        ('{"query":"  ","count":3}', [], 3, "is empty"),
        ('{"query":"\\u200b","count":3}', [], 3, "nothing is left"),
        ('{"query":"a","count":1000000000000000000000000}', [], 3, "count"),
        ('{"query":"a","count":1}', ["--head-traffic", "0.9", "--tail-traffic", "0.5"], 2, "add up to more than 1"),
        ('{"query":"a","count":1}', ["--ttl", "soon"], 2, "not a time span"),
        ('{"query":"a","count":1}', ["--ttl", "2d", "--expire", "1d"], 2, "shorter than --ttl"),
    ],
)
def test_bad_logs_and_options(tmp_path, text, options, code, message):
    (tmp_path / "log.jsonl").write_text(text + "\n" if text else "")
    done = run("plan", tmp_path / "log.jsonl", "-o", tmp_path / "plan.json", *options)
    assert done.returncode == code and message in done.stderr.decode(), done.stderr
    assert "Traceback" not in done.stderr.decode() and not (tmp_path / "plan.json").exists()
