"""Refreshing the head cache: what is judged and why, kills, two runs at once, failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from lore_cli.errors import BadInput
from lore_cli.judges import plan as plans
from lore_cli.records import change_item
from lore_cli.tier import cache
from tier_shop import ROOT, WordJudge, make_plan, pair, refresh, served

PAIRS = [pair("navy sofa", number) for number in range(4)] + [pair("oak desk", number) for number in range(3)] + [pair("rare vase", 1)]
COUNTS = {"navy sofa": 60, "oak desk": 30, "rare vase": 10}


@pytest.fixture
def shop(tmp_path):
    plan = make_plan(tmp_path, COUNTS, head=0.9)
    judge = WordJudge()
    first = refresh(tmp_path, plan, PAIRS, judge)
    assert (first.number, first.judged, first.not_head, len(served(tmp_path))) == (1, 7, 1, 7)
    assert judge.asked == [one.id for one in PAIRS[:7]]
    return tmp_path, plan


def test_nothing_changed_makes_no_generation(shop):
    folder, plan = shop
    judge = WordJudge()
    again = refresh(folder, plan, list(reversed(PAIRS)), judge, now=1e9 + 3600)
    assert (again.number, again.kept, judge.asked) == (None, 7, [])
    assert cache.generation_numbers(folder / "cache") == [1] and cache.unfinished_folders(folder / "cache") == []


def test_only_what_changed_is_judged(shop):
    folder, plan = shop
    judge = WordJudge()
    pairs = [change_item(PAIRS[0], title="navy sofa, new"), *PAIRS[1:7], pair("oak desk", 9), pair("OAK  desk", 9)]
    done = refresh(folder, plan, pairs, judge, now=1e9 + 3600)
    assert judge.asked == ["navy sofa/0", "oak desk/9"]
    assert dict(done.reasons) == {"item changed": 1, "new": 1} and (done.kept, done.repeated, done.number) == (6, 1, 2)
    kept = served(folder)
    assert kept["navy sofa", "i0"].judged_at == 1e9 + 3600 and kept["navy sofa", "i1"].judged_at == 1e9


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"judge": WordJudge("2")}, "judge changed: version"), ({"rulebook": "another"}, "rulebook changed"), ({"now": 1e9 + 86401}, "expired")],
)
def test_what_makes_every_entry_stale(shop, change, reason):
    folder, plan = shop
    done = refresh(folder, plan, PAIRS, **{"judge": WordJudge(), **change})
    assert dict(done.reasons) == {reason: 7} and done.kept == 0 and done.number == 2


def test_a_clock_set_back_expires_nothing(shop):
    folder, plan = shop
    assert refresh(folder, plan, PAIRS, WordJudge(), now=5e8).number is None


def test_candidates_that_are_gone_leave_the_cache(shop):
    folder, plan = shop
    done = refresh(folder, plan, PAIRS[:4], WordJudge())
    assert (done.number, done.dropped, done.kept, len(served(folder))) == (2, 3, 4, 4)


def test_candidates_of_another_shop_are_refused(shop):
    folder, plan = shop
    with pytest.raises(BadInput, match="no candidate has a head query"):
        refresh(folder, plan, [pair("something else", 1)], WordJudge())
    with pytest.raises(BadInput, match="no candidate has a head query"):
        refresh(folder, plan, [], WordJudge())
    assert cache.served_number(folder / "cache") == 1


def test_failed_judgements_are_no_entries_and_are_asked_again(shop):
    folder, plan = shop
    pairs = [*PAIRS, *(pair("navy sofa", number) for number in range(10, 30))]
    some = refresh(folder, plan, pairs, WordJudge(fails=frozenset({"navy sofa/10"})))
    assert (some.failed, some.number, len(served(folder))) == (1, 2, 26)
    judge = WordJudge()
    assert refresh(folder, plan, pairs, judge).judged == 1 and judge.asked == ["navy sofa/10"]


def test_too_many_failures_publish_nothing_and_lose_nothing(shop):
    folder, plan = shop
    pairs = [*PAIRS, *(pair("navy sofa", number) for number in range(10, 20))]
    down = refresh(folder, plan, pairs, WordJudge(fails=frozenset(f"navy sofa/{number}" for number in range(15, 20))))
    assert down.refused and down.number is None and cache.served_number(folder / "cache") == 1
    judge = WordJudge()
    up = refresh(folder, plan, pairs, judge)
    assert up.number == 3 and up.taken_up == 5 and judge.asked == [f"navy sofa/{number}" for number in range(15, 20)]
    assert len(served(folder)) == 17 and cache.unfinished_folders(folder / "cache") == []


def test_a_damaged_generation_is_judged_anew(shop):
    folder, plan = shop
    (folder / "cache/current/verdicts.lmdb").write_bytes(b"damaged")
    done = refresh(folder, plan, PAIRS, WordJudge())
    assert done.problem and (done.judged, done.number) == (7, 2) and len(served(folder)) == 7


def test_a_plan_whose_list_was_edited_is_refused(shop):
    folder, plan = shop
    (folder / "plan.head.jsonl").write_text('{"query":"navy sofa","count":1}\n')
    with pytest.raises(BadInput, match="is not the list the plan was made with"):
        refresh(folder, plan, PAIRS, WordJudge())
    text = (folder / "plan.json").read_text().replace('"threshold": 0.5', '"threshold": 0.1')
    (folder / "plan.json").write_text(text)
    with pytest.raises(BadInput, match="edited after it was made"):
        plans.load_plan(plan)


def slow_refresh(folder, plan, pairs, pause_s):
    """A refresh in a process of its own."""
    script = f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]
        from pathlib import Path
        from lore_cli.errors import LoreError
        from tier_shop import WordJudge, pair, refresh
        try:
            done = refresh(Path({str(folder)!r}), {plan!r}, [pair("navy sofa", number) for number in range({pairs})], WordJudge(pause_s={pause_s}))
            print("number", done.number, "judged", done.judged, "taken up", done.taken_up, flush=True)
        except LoreError as error:
            print(error, flush=True)
            sys.exit(error.exit_code)
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)


def committed(folder):
    """Entries that would survive a kill now."""
    lefts = [left / "verdicts.lmdb" for left in cache.unfinished_folders(folder / "cache")]
    script = "import lmdb,sys; print(lmdb.open(sys.argv[1], subdir=False, readonly=True, lock=False).stat()['entries'])"
    found = [subprocess.run([sys.executable, "-c", script, str(left)], capture_output=True, text=True).stdout for left in lefts if left.exists()]
    return max([int(text) for text in found if text.strip()], default=0)


def test_kill_9_in_the_middle_serves_the_old_and_resumes(tmp_path):
    plan = make_plan(tmp_path, {"navy sofa": 10})
    refresh(tmp_path, plan, [pair("navy sofa", number) for number in range(5)], WordJudge())
    running = slow_refresh(tmp_path, plan, 1200, 0.002)
    deadline = time.monotonic() + 30
    while committed(tmp_path) < 256 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert running.stdout.read() == ""
    assert len(served(tmp_path)) == 5 and cache.served_number(tmp_path / "cache") == 1
    survived = committed(tmp_path)
    assert 256 <= survived < 1200
    judge = WordJudge()
    done = refresh(tmp_path, plan, [pair("navy sofa", number) for number in range(1200)], judge)
    assert done.taken_up == survived - 5 and len(judge.asked) == 1200 - survived and done.kept + done.judged == 1200
    assert len(served(tmp_path)) == 1200 and cache.unfinished_folders(tmp_path / "cache") == []


def test_two_refreshes_at_once_one_works_one_leaves(tmp_path):
    plan = make_plan(tmp_path, {"navy sofa": 10})
    first = slow_refresh(tmp_path, plan, 60, 0.05)
    lock = tmp_path / "cache" / "refresh.lock"
    deadline = time.monotonic() + 20
    while not (lock.exists() and lock.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    second = slow_refresh(tmp_path, plan, 60, 0)
    output, _ = second.communicate()
    assert second.returncode == 1 and f"another refresh is running (process {first.pid})" in output
    output, _ = first.communicate()
    assert output.startswith("number 1 judged 60")
    assert refresh(tmp_path, plan, [pair("navy sofa", number) for number in range(60)], WordJudge()).number is None  # the lock died with its holder
