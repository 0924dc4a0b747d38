"""What an operator sees and can undo."""

from __future__ import annotations

import json
import time

import pytest

from lore_cli.errors import Missing
from lore_cli.judges import plan as plans
from lore_cli.judges.cached import open_generation
from lore_cli.records import change_item
from lore_cli.tier import audit, status
from tier_shop import WordJudge, make_plan, pair, refresh, run, write_rows


@pytest.fixture
def shop(tmp_path):
    plan = make_plan(tmp_path, {"navy sofa": 60, "oak desk": 30, "rare vase": 10}, head=0.9)
    refresh(tmp_path, plan, [pair("navy sofa", number) for number in range(4)], WordJudge(), now=1_000_000)
    refresh(tmp_path, plan, [pair("navy sofa", number) for number in range(6)], WordJudge(), now=1_050_000)
    return tmp_path, plan


def test_generations_ages_and_coverage(shop):
    folder, plan = shop
    document = status.status(folder / "cache", plan, plans.load_plan(plan), now=1_000_000 + 86_500)
    assert [(one["number"], one["entries"], one["judged"], one["kept"], one["served"]) for one in document["generations"]] == [(1, 4, 4, 0, False), (2, 6, 2, 4, True)]
    state = document["served_state"]
    assert state["ages"]["1 to 7 days"] == 4 and state["ages"]["1 h to 1 day"] == 2
    assert (state["head_queries"], state["head_queries_held"], state["head_traffic_held"], state["due"], state["expired"]) == (2, 1, round(60 / 90, 4), 4, 0)
    assert "head queries held: 1 of 2 (66.7%" in status.table(document)


def test_status_and_rollback_from_the_command_line(shop):
    folder, plan = shop
    shown = run("status", "--cache", folder / "cache", "--plan", plan)
    assert shown.returncode == 0 and ">          2         6" in shown.stdout.decode()
    assert run("rollback", "--cache", folder / "cache").returncode == 0
    document = json.loads(run("status", "--cache", folder / "cache", "--json").stdout)
    assert document["served"] == 1 and document["served_state"]["entries"] == 4
    assert run("rollback", "--cache", folder / "cache").returncode == 4
    assert run("rollback", "--cache", folder / "cache", "--to", "2").returncode == 0
    assert run("rollback", "--cache", folder / "cache", "--to", "7").returncode == 2


def test_damage_and_absence_have_their_exit_codes(shop):
    folder, _ = shop
    (folder / "cache/current/generation.json").write_text("{")
    damaged = run("status", "--cache", folder / "cache")
    assert damaged.returncode == 3 and b"damaged" in damaged.stdout
    missing = run("status", "--cache", folder / "nowhere")
    assert missing.returncode == 4 and b"lore-tier refresh" in missing.stderr
    with pytest.raises(Missing):
        status.status(folder / "nowhere")


class Other(WordJudge):
    """L1 for the pairs of one query, as before for the others."""

    def __call__(self, pairs):
        for verdict in super().__call__(pairs):
            yield type(verdict)(verdict.id, verdict.query, verdict.item_id, verdict.judge, "L1") if verdict.query == "oak desk" else verdict


def test_an_audit_draws_by_traffic_and_finds_what_changed(tmp_path):
    """`oak desk` has a quarter of the traffic, and all of its entries changed side; how many entries a query has does not matter."""
    counts = {"navy sofa": 75, "oak desk": 25}
    plan = make_plan(tmp_path, counts, head=1.0, tail=0.0)
    pairs = [*(pair("navy sofa", number) for number in range(3)), *(pair("oak desk", number, title="oak desk") for number in range(40))]
    refresh(tmp_path, plan, pairs, WordJudge())
    _, store = open_generation(tmp_path / "cache" / "current")
    judge = Other()
    found = audit.audit(store, counts, pairs, judge, 2000, 0)
    assert len(judge.asked) == len(set(judge.asked)) == found.distinct and found.compared == 2000
    disagreement = found.document()["disagreement"]
    assert disagreement["side"]["lo"] < 0.25 < disagreement["side"]["hi"] and disagreement["side"]["hi"] - disagreement["side"]["lo"] < 0.05
    assert audit.audit(store, counts, pairs, Other(), 2000, 0) == found
    moved = [change_item(pairs[0], title="new"), *pairs[1:3]]
    partly = audit.audit(store, counts, moved, Other(fails=frozenset({pairs[1].id})), 200, 0)
    assert set(partly.reasons) == {"item changed", "not judged", "no longer a candidate"} and partly.compared + sum(partly.reasons.values()) == 200


def test_the_audit_of_the_command(tmp_path):
    rows = write_rows(tmp_path / "pairs.jsonl", [pair("navy sofa", number).raw for number in range(4)])
    log = write_rows(tmp_path / "log.jsonl", [{"query": "navy sofa", "count": 9}])
    plan, store = tmp_path / "plan.json", tmp_path / "cache"
    assert run("plan", log, "--tail", "rulebook:", "-o", plan).returncode == 0
    base = ["--plan", plan, "--pairs", rows, "--judge", "rulebook:", "--cache", store]
    assert run("refresh", *base).returncode == 0
    before = time.time()
    shown = run("status", *base, "--audit", "50", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["audit"]["disagreement"]["grade"]["value"] == 0.0
    assert (store / "current" / "generation.json").stat().st_mtime < before
    assert b"the judge gives another grade for 0.0%" in run("status", *base, "--audit", "50").stdout
    assert run("status", "--cache", store, "--audit", "50").returncode == 2
