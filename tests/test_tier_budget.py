"""What a refresh spends first, which entries an edited rule touches, what it refuses to publish, when it has nothing to do."""

from __future__ import annotations

import json

import pytest

from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.records import GRADES, change_item
from lore_cli.rulebook import DEFAULT, load_rulebook
from lore_cli.tier import cache
from lore_cli.tier.rule_changes import rule_changes
from lore_cli.tier.validation import Limits
from tier_shop import WordJudge, make_plan, pair, refresh, run, served, write_rows

COUNTS = {"navy sofa": 60, "oak desk": 30, "rare vase": 10}
PAIRS = [pair(query, number) for query in ("rare vase", "oak desk", "navy sofa") for number in range(3)]


@pytest.fixture
def shop(tmp_path):
    return tmp_path, make_plan(tmp_path, COUNTS, head=1.0, tail=0.0)


def test_the_budget_goes_to_the_most_traffic_and_the_next_run_goes_on(shop):
    folder, plan = shop
    judge = WordJudge()
    first = refresh(folder, plan, PAIRS, judge, max_pairs=4)
    assert judge.asked == ["navy sofa/0", "navy sofa/1", "navy sofa/2", "oak desk/0"] and (first.postponed, first.number) == (5, 1)
    judge = WordJudge()
    second = refresh(folder, plan, PAIRS, judge)
    assert judge.asked == ["oak desk/1", "oak desk/2", "rare vase/0", "rare vase/1", "rare vase/2"] and second.number == 2


def test_time_that_is_up_ends_the_judging_and_what_was_there_stays(shop):
    folder, plan = shop
    refresh(folder, plan, PAIRS, WordJudge())
    slow = WordJudge("2", pause_s=0.05)
    done = refresh(folder, plan, PAIRS, slow, max_seconds=0.12)
    assert 1 <= done.judged < 9 and done.judged + done.postponed == 9
    kept = served(folder)
    assert len(kept) == 9  # the old model's verdicts, not yet replaced, are served on
    again = WordJudge("2")
    assert refresh(folder, plan, PAIRS, again).judged == done.postponed and not set(again.asked) & set(slow.asked)


def test_a_pair_whose_judgement_failed_keeps_its_old_entry(shop):
    folder, plan = shop
    refresh(folder, plan, PAIRS, WordJudge())
    done = refresh(folder, plan, PAIRS, WordJudge(fails=frozenset({"oak desk/1"})), now=1e9 + 86401, max_failed=0.5)
    assert done.failed == 1 and served(folder)["oak desk", "i1"].judged_at == 1e9 and served(folder)["oak desk", "i2"].judged_at == 1e9 + 86401


def edited(folder, rule, old, new):
    """The default rulebook with one rule edited."""
    text = DEFAULT.read_text("utf-8")
    place = text.index(f'id = "{rule}"')
    file = folder / f"{rule}.toml"
    file.write_text(text[:place] + text[place:].replace(old, new, 1), "utf-8")
    return file


def test_an_edited_rule_names_exactly_the_entries_that_rest_on_it(tmp_path):
    log = write_rows(tmp_path / "log.jsonl", [{"query": query, "count": 5} for query in ("navy sofa", "red lamp")])
    rows = [
        {"id": f"{query}/{n}", "query": query, "item": {"id": f"i{n}", "title": title}}
        for query in ("navy sofa", "red lamp")
        for n, title in enumerate(("navy sofa", "red lamp", "red sofa", "table lamp"))
    ]
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)
    plan, store = tmp_path / "plan.json", tmp_path / "cache"
    assert run("plan", log, "--head-traffic", "1", "--tail-traffic", "0", "--tail", "rulebook:", "-o", plan).returncode == 0
    base = ["refresh", "--plan", plan, "--pairs", pairs, "--judge", "rulebook:", "--cache", store]
    assert run(*base).returncode == 0
    file = edited(tmp_path, "R5", 'cap = "L2"', 'cap = "L1"')
    asked = [pair(row["query"], 0, **row["item"]) for row in rows]
    old, fresh = ([(one.grade, one.rules) for one in open_judge("rulebook:", JudgeSettings(load_rulebook(path)))(asked)] for path in (None, file))
    changed = {row["id"] for row, one, other in zip(rows, old, fresh, strict=True) if one != other}
    listed = [json.loads(line) for line in run(*base, "--rulebook", file, "--dry-run").stdout.splitlines()]
    assert {row["id"] for row in listed} == changed and 0 < len(listed) < len(rows)
    assert {row["reason"] for row in listed} == {"rule R5 changed"}
    done = run(*base, "--rulebook", file)
    assert done.returncode == 0 and f"{len(listed)} rule R5 changed".encode() in done.stderr
    judge = open_judge(f"cache:{store}", JudgeSettings(load_rulebook(file)))
    assert [(one.grade, one.rules) for one in judge(asked)] == fresh  # kept ones hold under the edited rulebook too
    assert run(*base, "--rulebook", file).stderr.count(b"nothing changed") == 1


def test_an_edit_beyond_the_rules_makes_everything_stale(tmp_path):
    old = load_rulebook()
    text = DEFAULT.read_text("utf-8")
    file = tmp_path / "values.toml"
    file.write_text(text.replace("[units]", "[units]\nhue = { red = 1.0 }", 1), "utf-8")
    changed = rule_changes(old, load_rulebook(file))
    assert changed.rules is None and changed.reach({"matches": [{"attribute": "colour", "need": "red", "state": "exact"}]}) is None
    worded = rule_changes(old, load_rulebook(edited(tmp_path, "R1", "is wrong", "is quite wrong")))
    assert worded.rules == {"R1"} and worded.reach({"grade": "L4"}) is None  # a verdict without matches cannot be checked
    assert worded.reach({"matches": [{"attribute": "category", "need": "sofa", "state": "conflict"}]}) == {"R1"}
    assert worded.reach({"matches": [{"attribute": "category", "need": "sofa", "state": "exact"}]}) == frozenset()
    assert worded.reach({"matches": [{"attribute": "category", "need": "sofa", "state": "exact"}], "rules": ["R1"]}) == {"R1"}  # cited, if wrongly


class Contrary(WordJudge):
    """Says the opposite."""

    def __call__(self, pairs):
        for verdict in super().__call__(pairs):
            yield type(verdict)(verdict.id, verdict.query, verdict.item_id, verdict.judge, GRADES[3 - GRADES.index(verdict.grade)])


def test_an_implausible_jump_is_refused_and_accepted_when_asked_for(shop):
    folder, plan = shop
    pairs = [pair("navy sofa", number) for number in range(40)]
    refresh(folder, plan, pairs, WordJudge())
    jump = refresh(folder, plan, pairs, Contrary("2"))
    assert "on the same side of relevance as before" in jump.refused and cache.served_number(folder / "cache") == 1
    judge = Contrary("2")
    again = refresh(folder, plan, pairs, judge)
    assert again.refused and judge.asked == []  # what was judged is not paid for twice
    taken = refresh(folder, plan, pairs, judge, limits=Limits(min_agreement=0.0))
    assert taken.number == 4 and judge.asked == [] and (taken.comparison.rejudged, taken.comparison.same_side) == (40, 0)


def test_a_cache_that_would_lose_most_of_its_entries_is_refused(shop):
    folder, plan = shop
    refresh(folder, plan, PAIRS, WordJudge())
    assert "shrank by more than" in refresh(folder, plan, PAIRS[:3], WordJudge()).refused and len(served(folder)) == 9
    assert refresh(folder, plan, PAIRS[:3], WordJudge(), limits=Limits(max_shrink=1.0)).number


def test_a_changed_item_is_no_disagreement(shop):
    folder, plan = shop
    pairs = [pair("navy sofa", number) for number in range(40)]
    refresh(folder, plan, pairs, WordJudge())
    turned = [change_item(one, title="rug" if "sofa" in one.item.title else "navy sofa") for one in pairs]
    assert refresh(folder, plan, turned, WordJudge()).number == 2


def test_if_changed_reads_nothing_twice_and_sees_every_change(tmp_path):
    log = write_rows(tmp_path / "log.jsonl", [{"query": "navy sofa", "count": 5}])
    pairs = write_rows(tmp_path / "pairs.jsonl", [pair("navy sofa", number).raw for number in range(3)])
    plan, store = tmp_path / "plan.json", tmp_path / "cache"
    assert run("plan", log, "--tail", "rulebook:", "-o", plan).returncode == 0
    base = ["refresh", "--plan", plan, "--pairs", pairs, "--judge", "rulebook:", "--cache", store, "--if-changed"]
    assert b"generation 1 published" in run(*base).stderr
    assert b"nothing changed since the last refresh" in run(*base).stderr
    write_rows(pairs, [pair("navy sofa", number).raw for number in range(4)])
    assert b"generation 2 published" in run(*base).stderr
    cache.roll_back(store, None)
    assert b"generation 3 published" in run(*base).stderr
    assert b"nothing changed since" not in run(*base, "--ttl", "90d").stderr  # another ttl is another question
    assert run(*base[:4], "-", *base[5:], stdin=b"").returncode == 2
