"""A server under load, down, or done with us: how many requests it gets, when, over which connections, and what becomes of the prompts."""

from __future__ import annotations

import json
import threading
import time

import pytest

pytest.importorskip("httpx")
pytest.importorskip("stamina")

from commands_run import lore  # noqa: E402
from lore_cli.models.completions import RequestFailed  # noqa: E402
from lore_cli.models.http import HttpModel  # noqa: E402
from lore_cli.models.limits import Breaker  # noqa: E402
from lore_cli.models.server import Server  # noqa: E402
from tiny_models import PAIRS_FILE, LoopbackServer, Reply, answers, free_port, models, text  # noqa: E402

KEY = "sk-expires-soon-0123456789"


def model_of(address: str, **settings: object) -> HttpModel:
    """Waits between attempts, and for a probe, are hundredths of a second here."""
    quick = {"timeout_s": 20.0, "concurrency": 16, "attempts": 8, "first_wait_s": 0.02, "breaker": Breaker(first_wait_s=0.05, patience_s=0.3)}
    return HttpModel(Server(address, **(quick | settings)), "m", chat=True)


def asked_for(body: dict) -> str:
    return body["messages"][0]["content"]


def some(count: int) -> list[str]:
    return [str(number) for number in range(count)]


class Strict(LoopbackServer):
    """A server with so many places, which refuses what comes beyond and counts it."""

    def __init__(self, places: int, seconds: float) -> None:
        self.refused = 0

        def answer(_path: str, body: dict) -> Reply:
            if self.in_flight > places:
                self.refused += 1
                return Reply({"error": "too many requests"}, status=429)
            time.sleep(seconds)
            return text(asked_for(body))

        super().__init__(answer)


def test_never_more_than_the_limit_are_in_flight_whoever_asks():
    """Two threads ask one model; the server refuses the fifth request at a time, and gets none."""
    with Strict(4, 0.01) as server:
        model, replies = model_of(server.address, concurrency=4), {}
        threads = [threading.Thread(target=lambda name=name: replies.update({name: model.generate([f"{name}{n}" for n in range(40)])})) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert replies == {name: [[f"{name}{n}"] for n in range(40)] for name in "ab"}
        assert server.most_in_flight == 4 and server.refused == 0


def test_a_limit_that_only_the_server_knows_is_found_and_no_prompt_is_lost():
    with Strict(3, 0.02) as server:
        assert model_of(server.address).generate(some(150)) == [[name] for name in some(150)]
        assert 0 < server.refused < 60, "found by being refused, and then mostly kept to"


def test_connections_are_used_again_from_one_batch_to_the_next():
    with LoopbackServer(lambda _, body: text(asked_for(body))) as server:
        model = model_of(server.address, concurrency=2)
        for _ in range(5):
            model.generate(some(4))
        assert len(server.asked) == 20 and len(server.connections) <= 2


def test_retry_after_holds_back_every_request():
    times: list[float] = []

    def answer(_path: str, body: dict) -> Reply:
        times.append(time.monotonic())
        return Reply({}, status=429, headers={"retry-after": "1"}) if len(times) == 5 else text(asked_for(body))

    with LoopbackServer(answer) as server:
        assert model_of(server.address, concurrency=2).generate(some(20)) == [[name] for name in some(20)]
    refused = times[4]
    assert not [moment for moment in times[5:] if refused + 0.2 < moment < refused + 0.95], "what was under way may arrive, nothing else"
    assert len(times) == 21


# ------------------------------------------------------------------------------------------------ down, and back


def test_a_dead_server_fails_many_prompts_with_few_connections_tried():
    attempts, port = [], free_port()
    model = model_of(f"http://127.0.0.1:{port}/v1")
    send = model.server._send

    async def counted(*arguments):
        attempts.append(arguments)
        return await send(*arguments)

    model.server._send = counted
    replies = [reply for (reply,) in model.generate(some(500))]
    assert all(isinstance(reply, RequestFailed) for reply in replies) and len(attempts) < 60
    assert sum("the server is down (last: no connection" in str(reply) for reply in replies) > 400
    with LoopbackServer(lambda *_: text("back"), port=port):
        for _ in range(100):
            if model.generate(["a"]) == [["back"]]:
                break
            time.sleep(0.05)
        assert model.generate(some(3)) == [["back"]] * 3, "a probe found it, and closed the breaker"


def test_a_server_that_comes_back_in_time_loses_nothing():
    def answer(_path: str, body: dict) -> Reply:
        if len(server.asked) == 20:
            down.set()
        return Reply({}, status=503) if down.is_set() else text(asked_for(body))

    down = threading.Event()
    with LoopbackServer(answer) as server:
        model = model_of(server.address, breaker=Breaker(first_wait_s=0.2, patience_s=20.0))
        threading.Thread(target=lambda: (down.wait(20), time.sleep(0.5), down.clear())).start()
        assert model.generate(some(100)) == [[name] for name in some(100)]
        assert len(server.asked) < 160, "while it was down only probes were sent"


# ------------------------------------------------------------------------------------------------ a key that expires


def test_a_key_that_expires_ends_the_asking_and_is_never_told(tmp_path):
    """Ten replies, then 401 with the key repeated in the message."""
    judged: list[str] = []

    def answer(_path: str, body: dict | None) -> Reply:
        if body is None:
            return models("m")
        judged.append(body["prompt"])
        if len(judged) > 10:
            return Reply({"error": {"message": f"the key {KEY} expired; renew {KEY}"}}, status=401)
        return text(answers()[body["prompt"]])

    output = tmp_path / "out.jsonl"
    with LoopbackServer(answer) as server:
        options = ("--prompt", "short", "--structured", "off", "--concurrency", 2, "-o", output)
        run = lore("lore-rair run", PAIRS_FILE, "--quiet", "--judge", server.address, *options, env={"LORE_API_KEY": KEY})
        assert run.code == 5 and len(judged) < 20
    found = [json.loads(line) for line in output.read_bytes().splitlines()]
    assert len(found) == len(answers()) and sum("grade" in row for row in found) == 10
    assert all(row["error"] == "no reply: HTTP 401: the key [key] expired; renew [key]" for row in found if "error" in row)
    assert not [file for file in tmp_path.iterdir() if KEY in file.read_text()] and KEY not in run.err


def test_no_exception_holds_the_key():
    long = "x" * 230  # the message is cut where the key stands
    with LoopbackServer(lambda *_: Reply({"error": f"{long} {KEY}"}, status=403, headers={"location": KEY})) as server:
        ((error,),) = model_of(server.address, api_key=KEY).generate(["a"])
        assert "HTTP 403" in str(error)
        for at in (error, error.__cause__, error.__context__):
            assert KEY[:12] not in f"{at!r} {at} {getattr(at, 'args', '')}"


def test_one_prompt_that_a_firewall_refuses_does_not_end_the_asking():
    with LoopbackServer(lambda _, body: Reply({}, status=403) if asked_for(body) == "3" else text(asked_for(body))) as server:
        replies = model_of(server.address, concurrency=1).generate(some(10))
        assert [reply for (reply,) in replies if isinstance(reply, str)] == [name for name in some(10) if name != "3"]


# ------------------------------------------------------------------------------------------------ what it cost


def test_tokens_are_counted_as_the_server_tells_them():
    def answer(_path: str, body: dict) -> Reply:
        reply = text("ok")
        reply.body["usage"] = {"a": {"prompt_tokens": 7, "completion_tokens": 2}, "b": None, "c": {"prompt_tokens": "many"}}.get(asked_for(body), {})
        return reply if asked_for(body) != "d" else Reply({}, status=400)

    with LoopbackServer(answer) as server:
        model = model_of(server.address)
        model.generate(["a", "b", "c", "d", "a"])
        assert (model.usage.requests, model.usage.prompt_tokens, model.usage.completion_tokens) == (4, 14, 4)
