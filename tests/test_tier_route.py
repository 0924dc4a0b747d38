"""Routing under traffic: slow, dead and busy models, answers that come late, entries that are stale or failed."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from commands_run import lore
from expert_server import NAME, PAIRS, ExpertServer, teach, traces
from lore_cli.errors import Missing
from lore_cli.judges import JudgeSettings, cached, open_judge, tiered
from lore_cli.judges import plan as plans
from lore_cli.judges.asking import Asking, Unwanted, question_of
from lore_cli.judges.recent import Recent
from lore_cli.judges.tiered import Live
from lore_cli.judges.absent import open_or_wait
from lore_cli.records import Pair, Verdict, parse
from lore_cli.rulebook import load_rulebook
from tier_shop import RULEBOOK, WordJudge, make_plan, pair, refresh, write_rows
from tiny_models import Reply, free_port

ROWS = 6


def seen():
    """The first example pairs with their captions, as the expert's server knows them."""
    return [parse(Pair, {"id": one.id, "query": one.query, "item": one.raw["item"]}) for one in traces()[:ROWS]]


def route(folder, tail, *options, student=("--student", "rulebook:")):
    """Example pairs, all of them tail, through `lore-tier route`: exit code, verdicts."""
    plan = folder / "plan.json"
    made = lore("lore-tier", "plan", "examples/log.jsonl", "--head-traffic", "0", "--tail-traffic", "1", *student, "--tail", tail, "-o", plan, "--force", "--quiet")
    assert made.code == 0, made.err
    rows = write_rows(folder / "rows.jsonl", [one.raw for one in seen()])
    done = lore("lore-tier", "route", rows, "--plan", plan, "--quiet", *options)
    return done.code, [parse(Verdict, json.loads(line)) for line in done.lines], done.err


class SilentExpert(ExpertServer):
    """Never answers what is about a pair; `begun` is set when it is asked the first time."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        super().__init__()

    def tell(self, path, body):
        if body is None or teach(body["messages"][0]["content"]) == "what?":
            return super().tell(path, body)
        self.begun.set()
        return Reply(hang=True)


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(PAIRS.parent.parent)


def test_a_model_that_is_late_is_stood_in_for_by_the_student(tmp_path):
    with SilentExpert() as server:
        code, verdicts, _ = route(tmp_path, server.uri, "--deadline", "0.2")
    assert code == 0 and len(verdicts) == ROWS and server.begun.is_set()
    assert {one.raw["route"] for one in verdicts} == {"model: late > student"}
    assert {(one.tier, one.raw["answered_by"], one.raw["fallback"], one.raw["age_s"]) for one in verdicts} == {("tail", "student", "model late", 0)}
    expert = {one.id: one.grade for one in open_judge("rulebook:", JudgeSettings(load_rulebook()))(seen())}
    assert {one.id: one.grade for one in verdicts} == expert


def test_a_model_that_is_there_answers_in_time(tmp_path):
    with ExpertServer() as server:
        code, verdicts, _ = route(tmp_path, server.uri, "--deadline", "20")
    assert code == 0 and {(one.raw["route"], one.raw["answered_by"]) for one in verdicts} == {("model", "model")}
    assert all("fallback" not in one.raw for one in verdicts)


def test_a_server_that_is_down_is_stood_in_for_from_the_start(tmp_path):
    dead = f"http://127.0.0.1:{free_port()}/v1#{NAME}"
    code, verdicts, _ = route(tmp_path, dead, "--deadline", "5")
    assert code == 0 and {one.raw["route"] for one in verdicts} == {"model: failed > student"}
    assert {one.raw["fallback"] for one in verdicts} == {"model failed"} and all(one.grade for one in verdicts)
    code, verdicts, said = route(tmp_path, dead)  # files are judged as they should be, or not at all
    assert (code, verdicts) == (4, []) and "is the server running" in said


def test_without_a_student_a_late_model_is_an_error_in_every_row(tmp_path):
    with SilentExpert() as server:
        code, verdicts, _ = route(tmp_path, server.uri, "--deadline", "0.2", student=())
    assert code == 5 and len(verdicts) == ROWS
    assert {(one.grade, one.error) for one in verdicts} == {(None, "the model gave no answer before the deadline")}


class Gated(WordJudge):
    """Answers once `open` is set."""

    def __init__(self, **how) -> None:
        super().__init__(**how)
        self.open, self.begun = threading.Event(), threading.Event()

    def __call__(self, pairs):
        self.begun.set()
        assert self.open.wait(30)
        yield from super().__call__(pairs)


def live_system(folder, student, tail, deadline_s=0.05, now=None, **live):
    """The deployed system over the shop of tier_shop, with traffic's policy. `now`: the clock, [seconds]."""
    now = now or [time.time()]
    plan = str(folder / "plan.json")
    made, settings = plans.load_plan(plan), Live(deadline_s, **live)

    def clock():
        return now[0]

    asking = Asking(student, 64, 1), Asking(tail, 64, 1, settings.most_waiting)
    cache = cached.Cache(folder / "cache", RULEBOOK, made.expire_s)
    recent = Recent(settings.remembered, made.expire_s, settings.retry_s, clock)
    return tiered.TieredJudge(plans.Router(plan, made), cache, *asking, 0.5, made.ttl_s, recent, settings, 64, 0, made.hash, "tier:plan.json", clock)


@pytest.fixture
def shop(tmp_path):
    """Judged at second 1,000,000; stale after a day, gone after two."""
    plan = make_plan(tmp_path, {"navy sofa": 80, "oak desk": 16, "rare vase": 4})
    refresh(tmp_path, plan, [pair("navy sofa", number) for number in range(3)], WordJudge("old"), now=1e6)
    return tmp_path


def ask(judge, *pairs):
    return [(one.raw["route"], one.raw.get("answered_by"), one.raw.get("age_s")) for one in judge(pairs)]


def wait_until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come to that")


def test_a_late_answer_is_there_for_the_next_one_who_asks(shop):
    now, tail, rare = [1e6], Gated(), pair("rare vase", 3)
    judge = live_system(shop, WordJudge(), tail, now=now)
    assert ask(judge, rare) == [("model: late > student", "student", 0)]
    tail.open.set()
    wait_until(lambda: len(judge.recent))
    now[0] += 60
    assert ask(judge, rare) == [("recent", "model", 60)] and tail.asked == [rare.id]


def test_being_asked_for_often_never_extends_an_answer(shop):
    now, tail, rare = [1e6], WordJudge(), pair("rare vase", 3)
    judge = live_system(shop, WordJudge(), tail, now=now, deadline_s=10)
    assert ask(judge, rare) == [("model", "model", 0)]
    for _ in range(4):
        now[0] += 0.5 * 86400
        assert ask(judge, rare)[0][:2] == ("recent", "model")
    now[0] += 1
    assert ask(judge, rare) == [("model", "model", 0)] and len(tail.asked) == 2


def test_a_stale_entry_is_served_while_the_model_is_asked_anew(shop):
    now, tail, popular = [1e6 + 86500], Gated(), pair("navy sofa", 1)
    judge = live_system(shop, WordJudge(), tail, now=now)
    first = next(judge([popular]))
    assert (first.raw["route"], first.raw["stale"], first.raw["age_s"]) == ("cache", True, 86500)
    assert ask(judge, popular)[0][0] == "cache"
    tail.open.set()
    wait_until(lambda: len(judge.recent))
    second = next(judge([popular]))
    assert (second.raw["route"], second.raw["age_s"]) == ("cache > recent", 0) and "stale" not in second.raw
    assert tail.asked == [popular.id]  # twice asked for, once judged
    now[0] = 1e6 + 172801  # the entry is gone, the new answer holds
    assert ask(judge, popular) == [("cache: expired > recent", "model", 86301)]


def test_a_pair_that_the_model_failed_for_is_not_put_to_it_again_at_once(shop):
    now, rare = [1e6], pair("rare vase", 3)
    tail = WordJudge(fails=frozenset({rare.id}))
    judge = live_system(shop, WordJudge(), tail, now=now, deadline_s=10, retry_s=30)
    assert ask(judge, rare) == [("model: failed > student", "student", 0)]
    now[0] += 20
    again = next(judge([rare]))
    assert (again.raw["route"], again.raw["fallback"]) == ("model: failed 20 s ago > student", "model failed") and tail.asked == [rare.id]
    tail.fails = frozenset()
    now[0] += 11
    assert ask(judge, rare) == [("model", "model", 0)]


def test_an_answer_that_comes_between_routing_and_asking_is_no_failure(shop):
    tail, rare = WordJudge(), pair("rare vase", 3)
    judge = live_system(shop, WordJudge(), tail, deadline_s=10)
    routed = judge.begin([rare])
    judge.recent.put(question_of(rare), next(WordJudge()([rare])))
    judge.finish(routed)
    assert judge.verdict(routed[0]).raw["route"] == "model"


def test_many_who_ask_the_same_at_once_are_one_question(shop):
    tail, rare = Gated(), pair("rare vase", 3)
    judge = live_system(shop, WordJudge(), tail, deadline_s=20)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, judge, rare) for _ in range(8)]
        tail.begun.wait(20)
        tail.open.set()
        assert {one.result()[0][1] for one in asked} == {"model"}
    assert tail.asked == [rare.id]


def test_a_model_with_too_much_to_do_is_busy(shop):
    tail = Gated()
    judge = live_system(shop, WordJudge(), tail, most_waiting=2)
    routes = [route for route, _, _ in ask(judge, *(pair("rare vase", number) for number in range(6)))]
    assert routes[2:] == ["model: busy > student"] * 4 and set(routes[:2]) == {"model: late > student"}
    tail.open.set()


def test_what_nobody_waits_for_any_more_is_not_judged():
    judge = Gated()
    judge.name = "left out"
    asking = Asking(judge, batch=1, threads=1)
    first, second = asking.ask([pair("oak desk", 1)]), asking.ask([pair("oak desk", 2)], until=time.monotonic())
    third = asking.ask([pair("oak desk", 3)])
    judge.open.set()
    wait([*first, *second, *third], 20)
    assert judge.asked == ["oak desk/1", "oak desk/3"] and isinstance(second[0].exception(), Unwanted)
    asking.close()
    wait_until(lambda: not any(thread.name == "left out 0" for thread in threading.enumerate()))


def test_memory_is_bounded_and_the_oldest_goes():
    now = [0.0]
    recent = Recent(2, 100, 10, lambda: now[0])
    verdict = next(WordJudge()([pair("oak desk", 1)]))
    for number in range(3):
        recent.put(("q", str(number), ""), verdict)
    assert len(recent) == 2 and recent.get(("q", "0", "")) is None and recent.get(("q", "2", "")).verdict is verdict
    now[0] = -5.0  # the clock was set back
    assert recent.get(("q", "2", "")).age_s == 0.0


def test_a_server_that_comes_later_is_found(tmp_path):
    port = free_port()
    judge = open_or_wait(f"http://127.0.0.1:{port}/v1#{NAME}", JudgeSettings(load_rulebook()), retry_s=0.0)
    with pytest.raises(Missing):
        list(judge(seen()))
    with ExpertServer() as server:
        judge.name = server.uri
        assert all(one.grade for one in judge(seen()))
    assert judge.identity()["model"] == f"served:{NAME}"
