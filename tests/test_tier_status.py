"""What an operator sees and can undo."""

from __future__ import annotations

import json

import pytest

from lore_cli.errors import Missing
from lore_cli.judges import plan as plans
from lore_cli.tier import status
from tier_shop import WordJudge, make_plan, pair, refresh, run


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
