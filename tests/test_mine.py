"""lore-synth mine: variants differ in one thing, their grades are the rulebook's, and nothing of a benchmark comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest

from commands_run import ROOT, lore
from lore_cli.commands import mine as command
from lore_cli.path.disjoint import query_key
from lore_cli.path.follow import follow
from lore_cli.path.knowledge import EMPTY, load_glossary
from lore_cli.path.needs import construct
from lore_cli.records import Match, Pair, parse
from lore_cli.rulebook import load_rulebook
from lore_cli.synth.mine import Miner, settled
from lore_cli.synth.variants import KINDS
from test_conduct import rows_of
from test_contract import EXAMPLES, PAIRS, refused, write

BOOK = load_rulebook()
MINE = ("lore-synth", "mine")


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """The small simulated market, and what the lexical baseline says of it."""
    folder = tmp_path_factory.mktemp("market")
    subprocess.run([sys.executable, str(ROOT / "examples/market/generate.py"), "-o", str(folder / "m"), "--small"], check=True, capture_output=True)
    pairs = folder / "m" / "pairs.jsonl"
    assert lore("lore-rair", "run", pairs, "--judge", f"lexical:{pairs}", "-o", folder / "verdicts.jsonl").code == 0
    return folder


def mined(market, *options):
    done = lore(*MINE, market / "verdicts.jsonl", "--gold", market / "m/pairs.jsonl", "--knowledge", market / "m/glossary.jsonl", *options)
    return done, rows_of(done.out)


def variants(query, grade="L4", names=None, kinds=tuple(KINDS), **item):
    """{kind: {(query, grade, state of the changed need)}} of one pair."""
    pair = parse(Pair, {"id": "p", "query": query, "item": {"id": "i", **item}, "grade": grade})
    miner = Miner(BOOK, EMPTY, names or {}, kinds, per_failure=1000)
    found: dict[str, set] = {}
    for row in miner.variants(pair):
        found.setdefault(row.kind, set()).add((row.query, row.grade, row.now.state))
    return found


def test_every_kind_with_its_grade():
    sofa = {"title": "velvet sofa bed in dark blue", "brand": "Acme"}
    found = variants("navy velvet sofa bed", **sofa)
    assert ("velvet sofa bed not navy", "L2", "conflict") in found["negation"]
    assert ("cobalt velvet sofa bed", "L2", "conflict") in found["colour"] and not any(query == "blue velvet sofa bed" for query, _, _ in found["colour"])  # blue is met as before
    assert found["accessory"] == {("navy velvet sofa cover", "L1", "conflict")} and set(found) == {"negation", "colour", "accessory"}
    assert ("navy sofa bed", "L4", "exact") in variants("teal sofa bed", "L2", **sofa)["colour"]
    assert variants("sofa bed not blue", "L2", **sofa)["negation"] == {("sofa bed blue", "L4", "exact")}
    assert variants("藏青沙发床", **sofa)["negation"] == {("沙发床 不要藏青", "L2", "conflict")}
    assert variants("lipstick red", title="lipstick in red")["colour"] >= {("lipstick orange", "L2", "close")}  # R8: the shade is the product
    names = {("brand", "sofa bed"): ["acme", "bolder"], ("compatibility", "phone case"): ["fono 22", "fono 22 ultra", "aurio 7"]}
    assert variants("bolder sofa bed", "L2", names, **sofa)["brand"] == {("acme sofa bed", "L4", "exact")}
    assert variants("acme sofa bed", names=names, **sofa)["brand"] == {("bolder sofa bed", "L2", "conflict")}
    unit = variants("6 ft floor lamp", title="floor lamp", attributes={"height": "72 in"})["unit"]
    assert {("72 in floor lamp", "L4", "exact"), ("183 cm floor lamp", "L4", "exact"), ("12 ft floor lamp", "L2", "conflict"), ("3 ft floor lamp", "L2", "conflict")} <= unit
    case = variants("phone case for fono 22", names=names, title="phone case for Fono 22")["compatibility"]
    assert {("phone case for aurio 7", "L1", "conflict"), ("phone case for fono 23", "L1", "conflict")} <= case
    assert not any("ultra" in query for query, _, _ in case)  # for the expert `22` and `22 ultra` are one


def test_no_grade_is_guessed():
    assert variants("navy sofa bed", "L3", title="sofa bed in navy") == {}  # the human saw something that the expert does not
    assert variants("navy sofa bed", "L3", title="sofa bed") == {"accessory": {("navy sofa cover", "L1", "conflict")}}  # whatever its colour
    exact, unknown, conflict = Match("category", "sofa", "exact"), Match("colour", "navy", "unknown"), Match("category", "sofa", "conflict")
    assert settled([exact], BOOK) == "L4" and settled([exact, unknown], BOOK) is None and settled([conflict, unknown], BOOK) == "L1"
    many = [Match("function-effect", f"f{number}", "unknown") for number in range(5)]
    assert settled([conflict, *many], BOOK) is None


def test_the_expert_gives_a_variant_the_grade_that_is_written(market):
    done, rows = mined(market)
    assert done.code == 0 and len(rows) > 50
    glossary = load_glossary([market / "m/glossary.jsonl"])
    gold = {row["id"]: row for row in rows_of((market / "m/pairs.jsonl").read_bytes())}
    known = 0
    for row in rows:
        pair, before = parse(Pair, row), gold[row["mined"]["from"]]
        needs = construct(pair.query, BOOK, glossary)
        matches = follow(needs, pair.item, BOOK, glossary)
        known += all(match.state != "unknown" for match in matches)
        assert BOOK.grade(matches)[0] == row["grade"]
        assert len(set(needs) ^ set(construct(before["query"], BOOK, glossary))) == 2 and before["item"] == row["item"] and before["grade"] == row["mined"]["grade"]
    assert known > 20
    verdicts = rows_of(lore("lore-rair", "run", "-", "--judge", "rulebook:", "--knowledge", market / "m/glossary.jsonl", stdin=b"".join(json.dumps(row).encode() + b"\n" for row in rows)).out)
    assert [verdict["grade"] for verdict in verdicts] == [row["grade"] for row in rows]


def test_variants_are_new_each_once_balanced_and_the_same_again(market):
    _, rows = mined(market)
    gold = {(query_key(row["query"]), row["item"]["id"]) for row in rows_of((market / "m/pairs.jsonl").read_bytes())}
    made = [(query_key(row["query"]), row["item"]["id"]) for row in rows]
    assert len(set(made)) == len(made) == len({row["id"] for row in rows}) and not set(made) & gold
    assert all(row["id"].startswith(f"{row['mined']['from']}~{row['mined']['kind']}") for row in rows)
    assert mined(market)[1] == rows and mined(market, "--seed", 5)[1] != rows
    few = mined(market, "--per-failure", 1, "--kinds", "colour,negation")[1]
    counts = Counter(row["mined"]["kind"] for row in few)
    assert max(Counter(row["mined"]["from"] for row in few).values()) == 1 and set(counts) == {"colour", "negation"}
    assert sum(row["grade"] != row["mined"]["grade"] for row in few) > 0.7 * len(few)


def test_what_a_benchmark_holds_is_not_made(market, tmp_path):
    _, rows = mined(market)
    other = write(tmp_path / "bench.jsonl", [{**rows[0], "id": "b", "item": {"id": "x", "title": "something else entirely"}}])
    kept = mined(market, "--benchmark", other)[1]
    assert query_key(rows[0]["query"]) not in {query_key(row["query"]) for row in kept} and kept
    itself = mined(market, "--benchmark", market / "m/pairs.jsonl")
    assert itself[1] == [] and "the benchmark holds it" in itself[0].err
    shared = mined(market, "--benchmark", market / "m/pairs.jsonl", "--shared-items")[1]
    asked = {query_key(row["query"]) for row in rows_of((market / "m/pairs.jsonl").read_bytes())}
    assert shared and not asked & {query_key(row["query"]) for row in shared}


def test_from_a_report_with_or_without_its_gold_and_on_into_synth(market, tmp_path):
    gold, report = market / "m/pairs.jsonl", tmp_path / "report.json"
    assert lore("lore-rair", "score", market / "verdicts.jsonl", "--gold", gold, "--draws", 100, "--failures", 30, "--json", report).code == 0
    with_gold, alone = lore(*MINE, report, "--gold", gold), lore(*MINE, report)
    assert with_gold.code == alone.code == 0 and {row["id"] for row in rows_of(with_gold.out)} == {row["id"] for row in rows_of(alone.out)} != set()
    out = tmp_path / "deeper" / "hard.jsonl"
    assert lore(*MINE, report, "-o", out).code == 0  # image paths follow the row to its new place
    done = lore("lore-synth", out)
    assert done.code == 0 and all(row["completion"] for row in rows_of(done.out)) and "0 failed" in done.err
    assert json.loads(out.with_name("hard.jsonl.manifest.json").read_bytes())["counts"]["failures"] == 30
    refused(lore(*MINE, report, "--gold", PAIRS), 3, "is for no pair of --gold")
    wrong = tmp_path / "other.json"
    wrong.write_text("{}")
    refused(lore(*MINE, wrong), 3, "other.json: is not a report of lore-rair score")


def test_errors_and_right_verdicts_are_no_failures_and_bad_use_is_told(tmp_path):
    verdicts = rows_of(lore("lore-rair", "run", PAIRS, "--judge", f"replay:{write(tmp_path / 'none.jsonl', [])}").out)
    assert all(row.get("error") for row in verdicts)
    done = lore(*MINE, write(tmp_path / "errors.jsonl", verdicts), "--gold", PAIRS)
    assert done.code == 0 and done.out == b"" and "0 variants of 0 failures" in done.err
    refused(lore(*MINE, tmp_path / "errors.jsonl"), 2, "verdicts hold no items", "--gold")
    refused(lore(*MINE, tmp_path / "errors.jsonl", "--gold", PAIRS, "--kinds", "colour,size"), 2, "'size' is no kind", "compatibility")
    refused(lore(*MINE, PAIRS, PAIRS, "--gold", PAIRS), 2, "2 files are given")
    refused(lore(*MINE, "-", "--gold", "-"), 2, "cannot both be standard input")
    refused(lore(*MINE, EXAMPLES / "log.jsonl", "--gold", PAIRS), 3, "log.jsonl:1: id: required field is missing")


def test_the_help_names_the_kinds_there_are():
    assert command.KINDS == tuple(KINDS)
