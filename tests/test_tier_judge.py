"""The deployed system as one judge: who answers, why, in what order."""

from __future__ import annotations

import gc
import json
import time
import weakref

import pytest

from lore_cli.errors import BadInput, Missing, UsageError
from lore_cli.judges import JudgeSettings, cached, open_judge, tiered
from lore_cli.judges import plan as plans
from lore_cli.judges.asking import Asking
from lore_cli.records import Pair, Verdict, change_item, parse, row_of
from lore_cli.rulebook import load_rulebook
from tier_shop import RULEBOOK, WordJudge, make_plan, pair, refresh, run, write_rows

COUNTS = {"navy sofa": 80, "oak desk": 16, "rare vase": 4}
SURE = {"L1": 0.0, "L2": 0.05, "L3": 0.05, "L4": 0.9}
UNSURE = {"L1": 0.3, "L2": 0.25, "L3": 0.25, "L4": 0.2}


@pytest.fixture
def shop(tmp_path):
    plan = make_plan(tmp_path, COUNTS)
    refresh(tmp_path, plan, [pair("navy sofa", number) for number in range(3)], WordJudge(), now=time.time() - 100)
    return tmp_path, plan


def system(shop, student=None, tail=None, threshold=0.5, with_cache=True, window=64):
    folder, plan = shop
    store = cached.Cache(folder / "cache", RULEBOOK, 86400) if with_cache else None
    made = plans.load_plan(plan)
    asking = [None if judge is None else Asking(judge, window) for judge in (student, tail)]
    return tiered.TieredJudge(plans.Router(plan, made), store, *asking, threshold, made.ttl_s, None, None, window, 0, made.hash, "tier:plan.json")


ASKED = [pair("rare vase", 1), pair("NAVY  sofa", 1), pair("oak desk", 4), pair("navy sofa", 9), pair("never seen", 2), pair("navy sofa", 2)]


def test_each_pair_goes_to_its_tier_and_comes_back_in_order(shop):
    student, tail = WordJudge(scores=SURE), WordJudge()
    answers = list(system(shop, student, tail)(ASKED))
    assert [one.id for one in answers] == [one.id for one in ASKED]
    assert [one.tier for one in answers] == ["tail", "head", "middle", "head", "tail", "head"]
    assert [one.raw["route"] for one in answers] == ["model", "cache", "student", "cache: absent > student", "model", "cache"]
    assert student.asked == ["oak desk/4", "navy sofa/9"] and tail.asked == ["rare vase/1", "never seen/2"]
    assert {one.judge for one in answers} == {"tier:plan.json"}
    assert all(one.latency_ms >= 0 and one.error is None for one in answers)
    assert 95 <= answers[1].raw["age_s"] <= 200 and answers[1].query == "NAVY  sofa"


def test_what_is_loaded_is_not_looked_through_at_every_collection_but_what_was_replaced_is_let_go(shop):
    class Left:
        pass

    opened = tiered.open(str(shop[1]), JudgeSettings(load_rulebook()), student="rulebook:")
    assert not any(found is opened for found in gc.get_objects()) and gc.get_freeze_count() > 10_000
    left = Left()
    left.itself = left
    gone = weakref.ref(left)
    gc.freeze()
    del left
    gc.collect()
    assert gone() is not None, "what is frozen stays"
    tiered.open(str(shop[1]), JudgeSettings(load_rulebook()), student="rulebook:")
    assert gone() is None


def test_a_student_that_is_not_sure_hands_over(shop):
    student, tail = WordJudge(scores=UNSURE), WordJudge()
    answers = list(system(shop, student, tail)(ASKED))
    assert answers[2].raw["route"] == "student: 0.30 is under 0.5 > model" and tail.asked == ["rare vase/1", "oak desk/4", "navy sofa/9", "never seen/2"]
    assert answers[2].scores is None  # the model's verdict, not the student's
    assert [one.raw["route"] for one in system(shop, student, WordJudge(), threshold=0.2)(ASKED)][2] == "student"


def test_a_student_that_calls_itself_unsure_hands_over(shop):
    class Doubting(WordJudge):
        def __call__(self, pairs):
            return (parse(Verdict, {**row_of(verdict), "unsure": True}) if verdict.id == "oak desk/4" else verdict for verdict in super().__call__(pairs))

    tail = WordJudge()
    answers = list(system(shop, Doubting(scores=SURE), tail)(ASKED))
    assert answers[2].raw["route"] == "student: unsure > model" and answers[3].raw["route"] == "cache: absent > student" and "oak desk/4" in tail.asked


def test_a_student_that_fails_hands_over_and_a_model_that_fails_hands_back(shop):
    student, tail = WordJudge(fails=frozenset({"oak desk/4"}), scores=UNSURE), WordJudge(fails=frozenset({"rare vase/1", "navy sofa/9"}))
    answers = list(system(shop, student, tail)(ASKED))
    assert answers[2].raw["route"] == "student: failed > model" and answers[2].grade and "fallback" not in answers[2].raw
    assert answers[0].raw["route"] == "model: failed > student" and answers[3].raw["route"] == "cache: absent > student: 0.30 is under 0.5 > model: failed > student"
    for one in (answers[0], answers[3]):
        assert (one.error, one.raw["answered_by"], one.raw["fallback"], one.scores) == (None, "student", "model failed", UNSURE)
    assert student.asked.count("navy sofa/9") == 1


def test_where_both_fail_the_pair_is_an_error_and_not_lost(shop):
    everything = frozenset(one.id for one in ASKED)
    answers = list(system(shop, WordJudge(fails=everything), WordJudge(fails=everything))(ASKED))
    assert [one.id for one in answers] == [one.id for one in ASKED]
    assert answers[0].raw["route"] == "model: failed > student: failed" and answers[2].raw["route"] == "student: failed > model: failed"
    assert all((one.grade, one.error) == (None, "no answer") and "answered_by" not in one.raw for one in (answers[0], answers[2]))
    assert answers[1].grade


def test_the_same_question_is_put_once(shop):
    tail = WordJudge()
    twice = [pair("rare vase", 1), pair("rare vase", 1), parse(Pair, pair("rare vase", 1).raw | {"id": "other"})]
    answers = list(system(shop, None, tail)(twice))
    assert tail.asked == ["rare vase/1"] and [one.id for one in answers] == ["rare vase/1", "rare vase/1", "other"]


def test_with_one_judge_only_it_takes_what_the_others_would(shop):
    tail = WordJudge()
    assert [one.raw["route"] for one in system(shop, None, tail)(ASKED)] == ["model", "cache", "model", "cache: absent > model", "model", "cache"]
    student = WordJudge(scores=UNSURE)
    routes = [one.raw["route"] for one in system(shop, student, None, with_cache=False)(ASKED)]
    assert routes == ["student"] * 6


def test_stale_entries_are_not_served(shop):
    changed = change_item(pair("navy sofa", 1), title="sold out")
    assert [one.raw["route"] for one in system(shop, WordJudge(), WordJudge())([changed])] == ["cache: item changed > student"]
    old = system(shop, WordJudge(), WordJudge())
    old.cache.expire_s = 50
    assert [one.raw["route"] for one in old([pair("navy sofa", 1)])] == ["cache: expired > student"]


def test_a_damaged_entry_is_no_answer(shop):
    lmdb = pytest.importorskip("lmdb")
    generation = shop[0] / "cache" / "current" / "verdicts.lmdb"
    with lmdb.open(str(generation), subdir=False, lock=False, map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
        transaction.put(cached.key_of("navy sofa", "i1"), b"{")
    routes = [one.raw["route"] for one in system(shop, WordJudge(), None)([pair("navy sofa", 1), pair("navy sofa", 2)])]
    assert routes == ["cache: damaged > student", "cache"]


def test_windows_are_lazy_and_lose_nothing(shop):
    student = WordJudge(scores=SURE)
    judge = system(shop, student, WordJudge(), window=4)
    taken = 0

    def source():
        nonlocal taken
        for number in range(50):
            taken += 1
            yield pair("oak desk", number)

    answers = judge(source())
    assert next(answers).id == "oak desk/0" and taken == 4 and len(student.asked) == 4
    assert [one.id for one in answers] == [f"oak desk/{number}" for number in range(1, 50)]


def test_a_new_generation_is_served_without_opening_the_judge_again(shop):
    folder, plan = shop
    judge = system(shop, WordJudge(), WordJudge())
    assert [one.raw["route"] for one in judge([pair("navy sofa", 9)])] == ["cache: absent > student"]
    refresh(folder, plan, [pair("navy sofa", number) for number in range(10)], WordJudge(), now=time.time())
    assert [one.raw["route"] for one in judge([pair("navy sofa", 9)])] == ["cache"]
    assert judge.identity()["cache.generation"] == "2"


def test_opening_a_plan(tmp_path):
    rulebook = load_rulebook()
    settings = JudgeSettings(rulebook)
    with pytest.raises(UsageError, match="names neither a student nor a tail judge"):
        open_judge(f"tier:{make_plan(tmp_path, COUNTS)}", settings)
    with pytest.raises(Missing, match="no published cache generation"):
        open_judge(f"tier:{_plan_with_expert(tmp_path)}", settings)
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(BadInput, match="not a tier plan"):
        open_judge(f"tier:{tmp_path / 'plan.json'}", settings)
    (tmp_path / "plan.json").write_text('{"version": 99}')
    with pytest.raises(BadInput, match="version 99"):
        open_judge(f"tier:{tmp_path / 'plan.json'}", settings)
    with pytest.raises(Missing):
        open_judge(f"tier:{tmp_path / 'none.json'}", settings)


def _plan_with_expert(folder):
    return make_plan(folder, COUNTS, student="rulebook:")


def test_the_deployed_system_from_the_command_line(tmp_path):
    rows = [one.raw | {"shop": "ours"} for one in ASKED]
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)
    plan = _plan_with_expert(tmp_path)
    assert run("refresh", "--plan", plan, "--pairs", pairs, "--judge", "rulebook:", "--cache", tmp_path / "cache").returncode == 0
    done = run("route", pairs, "--plan", plan)
    assert done.returncode == 0, done.stderr
    verdicts = [parse(Verdict, json.loads(line)) for line in done.stdout.splitlines()]
    assert [one.tier for one in verdicts] == ["tail", "head", "middle", "head", "tail", "head"]
    assert [one.raw["route"] for one in verdicts] == ["student", "cache", "student", "cache", "student", "cache"]
    alone = run("route", "-", "--plan", plan, stdin=b"")
    assert (alone.returncode, alone.stdout) == (0, b"")
