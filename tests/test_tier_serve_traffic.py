"""lore-tier serve under traffic: changes of cache and plan, a model that dies, overload, stopping. Nothing is lost, and nothing is answered wrongly."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from commands_run import lore
from expert_server import ExpertServer, traces
from serving import PAIRS, ROWS, Served, make_shop, refresh, serving
from tiny_models import Reply

pytest.importorskip("uvicorn", reason="the server needs uvicorn: pip install 'lore-cli[serve]'")
pytest.importorskip("prometheus_client", reason="the server needs prometheus-client: pip install 'lore-cli[serve]'")

ALL_TAIL = ("--head-traffic", 0, "--tail-traffic", 1)


class Load:
    """Clients that ask for example pairs one after the other until told to stop; `answers` of all, as (row, answer)."""

    def __init__(self, server: Served, clients: int = 4, rows: int = len(ROWS), **headers: str) -> None:
        self.answers: list = []
        self._end, self._server, self._rows, self._headers = threading.Event(), server, rows, headers
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(clients)]

    def _ask(self, number: int) -> None:
        while not self._end.is_set():
            number = (number + 1) % self._rows
            self.answers.append((number, self._server.row(number, **self._headers)))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join(60)


def tail_shop(folder, model):
    """A plan without a cache by which the model is asked for everything; its path."""
    plan = folder / "plan.json"
    done = lore("lore-tier", "plan", PAIRS.parent / "log.jsonl", *ALL_TAIL, "--student", "rulebook:", "--tail", model.uri, "-o", plan, "--force", "--quiet")
    assert done.code == 0, done.err
    return plan


def wait_until(condition, patience_s: float = 30.0) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def test_generations_and_plans_change_under_load_and_nothing_is_lost(tmp_path):
    plan = make_shop(tmp_path, "--student", "rulebook:")
    with serving(plan) as server:
        with Load(server) as load:
            wait_until(lambda: len(load.answers) > 20)
            refresh(tmp_path, f"lexical:{PAIRS}", "--min-agreement", 0)
            wait_until(lambda: server.metric("lore_cache_generation") == 2)
            at_two = len(load.answers)
            wait_until(lambda: len(load.answers) > at_two + 20)
            lore("lore-tier", "rollback", "--cache", tmp_path / "cache", "--quiet")
            wait_until(lambda: server.metric("lore_cache_generation") == 1)
            make_shop(tmp_path, "--student", "rulebook:", *ALL_TAIL, refreshed=False)
            wait_until(lambda: server.metric('lore_changes_total{outcome="taken up",what="plan"}') == 1)
            at_plan = len(load.answers)
            wait_until(lambda: len(load.answers) > at_plan + 20)
        assert {answer.status for _, answer in load.answers} == {200}
        for number, answer in load.answers:
            (verdict,) = answer.verdicts
            assert verdict["item_id"] == ROWS[number]["item"]["id"] and verdict["query"] == ROWS[number]["query"] and verdict["grade"]
        answered = [verdict.get("cached_from", "").partition(":")[0] for verdict in (answer.verdicts[0] for _, answer in load.answers)]
        assert set(answered) == {"rulebook", "lexical", ""}
        assert {answer.verdicts[0]["tier"] for _, answer in load.answers[at_plan + 8 :]} == {"tail"}
        assert server.stop() == 0


def test_what_cannot_be_opened_is_told_and_not_served(tmp_path):
    plan = make_shop(tmp_path, "--student", "rulebook:")
    current = tmp_path / "cache" / "current"
    with serving(plan) as server:
        bad = current.resolve().parent / "0009"
        shutil.copytree(current.resolve(), bad)
        (bad / "verdicts.lmdb").write_bytes(b"not a database" * 1000)
        current.unlink()
        current.symlink_to(f"generations/{bad.name}")
        wait_until(lambda: server.ask("GET", "/healthz").json.get("cache_problem"))
        assert server.row(0).verdicts[0]["route"] == "cache"
        before = server.ask("GET", "/healthz").json["plan"]
        plan.write_text("{}")
        wait_until(lambda: server.ask("GET", "/healthz").json.get("plan_problem"))
        assert server.ask("GET", "/healthz").json["plan"] == before and server.row(0).status == 200
        plan.unlink()
        time.sleep(0.7)
        assert server.row(0).status == 200
        assert server.said().count("is served on") == 2  # each told once
        current.unlink()
        current.symlink_to("generations/0001")
        make_shop(tmp_path, "--student", "rulebook:", "--ttl", "3d", refreshed=False)
        wait_until(lambda: server.ask("GET", "/healthz").json["plan"] != before)
        assert "plan_problem" not in {name for name, value in server.ask("GET", "/healthz").json.items() if value}


def test_a_model_that_is_killed_under_load_is_stood_in_for_and_found_again(tmp_path):
    known = traces()
    with ExpertServer() as model:
        with serving(tail_shop(tmp_path, model), "--deadline", 0.5) as server:
            first = server.judge(known[0].query, [known[0].raw["item"]]).verdicts[0]
            assert (first["answered_by"], first["route"]) == ("model", "model")
            with Load(server, clients=2) as load:
                wait_until(lambda: len(load.answers) > 4)
                model.stop()
                stopped = len(load.answers)
                wait_until(lambda: len(load.answers) > stopped + 6)
            assert {answer.status for _, answer in load.answers} == {200}
            verdicts = [answer.verdicts[0] for _, answer in load.answers]
            assert all(one["grade"] and "error" not in one for one in verdicts)
            fresh = server.judge(known[1].query, [known[1].raw["item"] | {"brand": "another"}]).verdicts[0]
            assert fresh["answered_by"] == "student" and fresh["fallback"] in ("model late", "model failed")
            assert server.metric('lore_fallbacks_total{reason="model late"}') + server.metric('lore_fallbacks_total{reason="model failed"}') >= 1
            assert server.stop() == 0


class Silent(ExpertServer):
    """Never answers what is about a pair."""

    def tell(self, path, body):
        about_a_pair = body is not None and "1 + 1" not in body["messages"][0]["content"]
        return Reply(hang=True) if about_a_pair else super().tell(path, body)


def test_overload_is_answered_by_200_and_the_documented_503_and_nothing_else(tmp_path):
    with Silent() as model, serving(tail_shop(tmp_path, model), "--deadline", 0.4, "--queue", 8) as server:

        def ask(number):
            items = [ROWS[number % len(ROWS)]["item"] | {"id": f"{number}-{one}"} for one in range(4)]
            return server.judge("oak desk", items)

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(64)))
        statuses = Counter(answer.status for answer in answers)
        assert set(statuses) == {200, 503} and statuses[200] >= 2
        for answer in answers:
            if answer.status == 503:
                assert answer.headers["retry-after"] == "1" and "overload" in answer.json["error"]
            else:
                assert [one["fallback"] for one in answer.verdicts] == ["model late"] * 4 and all(one["grade"] for one in answer.verdicts)
        assert server.metric("lore_shed_requests_total") == statuses[503]
        assert ask(99).status == 200 and server.metric("lore_pairs_waiting") == 0


def test_a_deadline_of_the_request_is_heeded(tmp_path):
    with Silent() as model, serving(tail_shop(tmp_path, model), "--deadline", 30) as server:
        assert server.row(0, x_deadline_ms="100", timeout=20).verdicts[0]["fallback"] == "model late"


def test_sigterm_lets_requests_in_flight_be_answered(tmp_path):
    with Silent() as model, serving(tail_shop(tmp_path, model), "--deadline", 1.5) as server, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.row, number) for number in range(4)]
        wait_until(lambda: server.metric("lore_pairs_waiting") == 4)
        server.signal(signal.SIGTERM)
        assert [one.result().status for one in asked] == [200] * 4
        assert all(one.result().verdicts[0]["fallback"] == "model late" for one in asked)
        assert server.process.wait(20) == 0 and "every request taken was answered" in server.said()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_sighup_opens_plan_and_models_anew(tmp_path):
    plan = make_shop(tmp_path, "--student", "rulebook:")
    with serving(plan) as server:
        server.signal(signal.SIGHUP)
        wait_until(lambda: server.metric('lore_changes_total{outcome="taken up",what="plan"}') == 1)
        assert server.row(0).verdicts[0]["route"] == "cache"
        server.signal(signal.SIGINT)
        assert server.process.wait(20) == 0
