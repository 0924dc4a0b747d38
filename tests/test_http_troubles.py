"""Servers that misbehave, keys, and a run whose server dies: what one prompt meets is that prompt's alone, and nothing is guessed or lost."""

from __future__ import annotations

import json
import threading

import pytest

pytest.importorskip("httpx")
pytest.importorskip("stamina")

from commands_run import lore  # noqa: E402
from lore_cli.errors import Missing, UsageError  # noqa: E402
from lore_cli.models import Cut  # noqa: E402
from lore_cli.models.completions import RequestFailed, retry_after_s  # noqa: E402
from lore_cli.models.http import HttpModel, open_http  # noqa: E402
from lore_cli.models.limits import Breaker  # noqa: E402
from lore_cli.models.server import Server  # noqa: E402
from tiny_models import PAIRS_FILE, LoopbackServer, Reply, answers, free_port, models, text  # noqa: E402

RUN = ("lore-rair run", PAIRS_FILE, "--quiet")


def rows(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


# ------------------------------------------------------------------------------------------------ servers that misbehave


def model_of(server: LoopbackServer, **settings: object) -> HttpModel:
    """Waits between attempts, and for a probe, are hundredths of a second here."""
    breaker = Breaker(first_wait_s=0.05, patience_s=0.3)
    return HttpModel(Server(server.address, **({"timeout_s": 10.0, "concurrency": 4, "attempts": 3, "first_wait_s": 0.01, "breaker": breaker} | settings)), "m", chat=True)


def asked_for(body: dict) -> str:
    return body["messages"][0]["content"]


TROUBLE: dict[str, tuple[Reply, str, int]] = {  # what the server does, what the prompt's error says, requests made of it
    "page": (Reply(b"<html>Sign in</html>", headers={"content-type": "text/html; charset=utf-8"}), "not JSON but text/html", 1),
    "torn": (Reply(b'{"choices": [{"message": {"content": "grade: L4'), "the JSON is not whole", 1),
    "short": (Reply({"choices": []}, length=500), "the connection broke", 3),
    "empty": (Reply({"choices": []}), "holds no choices", 1),
    "list": (Reply([1]), "holds no choices", 1),
    "silent": (Reply({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}), "no text", 1),
    "filtered": (text("", "content_filter"), "content_filter", 1),
    "broken": (Reply({"error": {"message": "CUDA out of memory"}}, status=500), "HTTP 500: CUDA out of memory", 3),
    "gateway": (Reply(b"<html>", status=502, headers={"content-type": "text/html"}), "HTTP 502: Bad Gateway", 3),
    "refused": (Reply({"error": "the prompt\nis too long"}, status=400), "HTTP 400: the prompt is too long", 1),
    "moved": (Reply(b"", status=301, headers={"location": "http://elsewhere/"}), "redirects to http://elsewhere/", 1),
    "later": (Reply({}, status=429, headers={"retry-after": "3600"}), "asks to come back in 3600 s", 1),
    "endless": (Reply(b" " * (10 << 20)), "larger than 8 MiB", 1),
    "dripping": (Reply(text("x").body, drip=0.2), "no reply within 3 s", 1),
    "odd": (Reply({}, status=429, headers={"retry-after": "soon"}), "HTTP 429", 3),
}


def test_each_trouble_is_its_own_prompts_and_nobody_elses():
    with LoopbackServer(lambda path, body: TROUBLE[asked_for(body)][0] if asked_for(body) in TROUBLE else text(f"reply to {asked_for(body)}")) as server:
        asked = [name for pair in zip(TROUBLE, (f"good {number}" for number in range(len(TROUBLE)))) for name in pair]
        replies = model_of(server, timeout_s=3.0).generate(asked)
        assert len(replies) == len(asked)
        for name, (reply,) in zip(asked, replies, strict=True):
            if name in TROUBLE:
                assert isinstance(reply, RequestFailed) and TROUBLE[name][1] in str(reply) and "\n" not in str(reply), (name, reply)
                assert sum(asked_for(body) == name for _, body, _ in server.asked) == TROUBLE[name][2], name
            else:
                assert reply == f"reply to {name}"


def test_an_answer_in_another_language_is_no_grade():
    with LoopbackServer(lambda path, body: models("m") if body is None else text("类目 = 沙发 ; 找到 沙发 [标题] ; 完全匹配\n规则: 无\n等级: L4")) as server:
        run = lore(*RUN, "--judge", server.address, "--limit", 2)
    assert run.code == 5 and all("unparseable" in row["error"] and "grade" not in row for row in rows(run.out))


def test_a_reply_cut_by_the_server_is_cut():
    with LoopbackServer(lambda *_: text("category = so", "length")) as server:
        ((reply,),) = model_of(server).generate(["a"], max_new_tokens=7)
        assert isinstance(reply, Cut) and reply.text == "category = so" and "7 tokens" in str(reply)


@pytest.mark.parametrize("first", [Reply({}, status=429, headers={"retry-after": "0.05"}), Reply({}, status=503), Reply(b"", length=9)], ids=["429", "503", "broken connection"])
def test_a_server_that_recovers_is_asked_again(first):
    with LoopbackServer(lambda *_: first if len(server.asked) == 1 else text("at last")) as server:
        assert model_of(server).generate(["a"]) == [["at last"]] and len(server.asked) == 2


def test_retry_after_is_seconds_or_a_date():
    assert retry_after_s("2", 0.0) == 2.0 and retry_after_s("Thu, 01 Jan 1970 00:00:30 GMT", 10.0) == 20.0
    assert retry_after_s("-3", 0.0) == 0.0 and retry_after_s("soon", 0.0) is None and retry_after_s("inf", 0.0) is None


def test_a_server_that_hangs_costs_the_prompt_not_the_run():
    with LoopbackServer(lambda _, body: Reply(hang=asked_for(body) == "hang", body=text("ok").body)) as server:
        (lost,), (good,) = model_of(server, timeout_s=1.5).generate(["hang", "go"])
        assert good == "ok" and isinstance(lost, RequestFailed) and "no reply within 1.5 s" in str(lost)
        assert len(server.asked) == 2, "a time-out is not asked again"


def test_draws_are_single_requests_with_seeds_of_their_own():
    with LoopbackServer(lambda _, body: text(f"{asked_for(body)} {body.get('seed')}")) as server:
        model = model_of(server)
        first, again, other = (model.generate(["a", "b"], samples=3, temperature=0.7, seed=seed) for seed in (5, 5, 6))
        assert first == again and not {reply for row in first for reply in row} & {reply for row in other for reply in row}
        assert [len(set(row)) for row in first] == [3, 3] and model.generate(["b"], samples=3, temperature=0.7, seed=5) == first[1:]
        assert all("n" not in body and body["temperature"] == 0.7 and body["top_p"] == 1.0 for _, body, _ in server.asked)
        assert model.generate(["a"], samples=2) == [["a None", "a None"]] and server.asked[-1][1]["temperature"] == 0.0


# ------------------------------------------------------------------------------------------------ opening


def test_nobody_there_is_missing_with_the_next_step():
    run = lore(*RUN, "--judge", f"http://127.0.0.1:{free_port()}/v1#m")
    assert run.code == 4 and run.out == b"" and "no connection" in run.err and "next: is the server running" in run.err


def served_models(*names: str, serves: tuple[str, ...] = ()):
    def answer(path: str, body: dict | None) -> Reply:
        if body is None:
            return models(*names)
        return text("ok") if body["model"] in serves else Reply({"error": {"message": f"no {body['model']} here"}}, status=404)

    return LoopbackServer(answer)


def test_the_only_model_need_not_be_named():
    with served_models("only", serves=("only",)) as server:
        model = open_http(server.address)
        assert model.name == "only" and model.generate(["a"]) == [["ok"]]


def test_one_of_several_models_has_to_be_named():
    with served_models("one", "two") as server, pytest.raises(UsageError, match=r"lists 2 models: one, two\n  next: name one: .*#MODEL"):
        open_http(server.address)


def test_a_model_that_is_not_served_is_missing_with_those_that_are():
    with served_models("one", "two") as server, pytest.raises(Missing, match=r"'three': HTTP 404: no three here\n  next: it lists one, two"):
        open_http(f"{server.address}#three")


def test_a_model_that_answers_without_being_listed_will_do():
    with served_models("one", serves=("hidden",)) as server:
        assert open_http(f"{server.address}#hidden").identity() == {"model": "served:hidden", "chat": "True"}


def test_a_web_page_is_not_a_model_server():
    with LoopbackServer(lambda *_: Reply(b"<html>Welcome</html>", headers={"content-type": "text/html"})) as server:
        with pytest.raises(Missing, match="not JSON but text/html"):
            open_http(f"{server.address}#m")
        with pytest.raises(UsageError, match="does not list its models"):
            open_http(server.address)


def test_the_address_itself_is_checked():
    for uri in ("http://127.0.0.1:port/v1#m", "http://#m", "http:///v1#m", "http://user:secret@127.0.0.1:1/v1#m"):
        with pytest.raises(UsageError) as told:
            open_http(uri)
        assert "secret" not in str(told.value)


def test_the_identity_names_neither_place_nor_folder():
    with served_models("/data/models/qwen") as server:
        assert open_http(server.address).identity()["model"] == "served:qwen"


# ------------------------------------------------------------------------------------------------ the key


KEY = "sk-veryprivate0123456789"


def test_the_key_is_sent_and_never_told(tmp_path):
    def answer(path: str, body: dict | None) -> Reply:
        if server.asked[-1][2].get("authorization", server.asked[-1][2].get("Authorization")) != f"Bearer {KEY}":
            return Reply({"error": {"message": "no key"}}, status=401)
        return models("m") if body is None else Reply({"error": {"message": f"the key {KEY} has no credit"}}, status=402)

    key_file, output = tmp_path / "key", tmp_path / "out.jsonl"
    key_file.write_text(KEY + "\n")
    with LoopbackServer(answer) as server:
        without = lore(*RUN, "--judge", server.address)
        assert without.code == 4 and "HTTP 401: no key" in without.err and "--api-key-file" in without.err
        for given in ({"env": {"LORE_API_KEY": KEY}}, {}):
            flags = () if given else ("--api-key-file", key_file)
            run = lore(*RUN, "--judge", f"{server.address}#m", "--limit", 3, "-o", output, "--force", *flags, **given)
            assert run.code == 5, run.err
            written = {file.name: file.read_text() for file in tmp_path.iterdir() if file != key_file}
            assert set(written) == {"out.jsonl", "out.jsonl.manifest.json", "out.jsonl.ledger"}
            assert "the key [key] has no credit" in written["out.jsonl"]
            assert KEY not in run.err + "".join(written.values())
        assert KEY not in repr(open_http(f"{server.address}#m", api_key=KEY))


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_no_header_can_carry_is_refused_unseen(key):
    with pytest.raises(UsageError) as told:
        open_http("http://127.0.0.1:1/v1#m", api_key=key)
    assert key not in str(told.value)


# ------------------------------------------------------------------------------------------------ a run whose server dies


def test_a_run_whose_server_dies_is_finished_by_retry_failed(tmp_path):
    """The server answers ten pairs and is gone; nothing is lost, and the second run asks for the failed pairs only."""
    output, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    judged: list[str] = []

    def answer(path: str, body: dict | None) -> Reply:
        if body is None:
            return models("m")
        judged.append(body["prompt"])
        if len(judged) > 10:
            threading.Thread(target=first.stop).start()
            return Reply(b"", length=99)
        return text(answers()[body["prompt"]])

    options = ("--prompt", "short", "--structured", "off", "--concurrency", 1, "--batch-size", 1, "-o", output)
    with LoopbackServer(answer) as first:
        died = lore(*RUN, "--judge", f"{first.address}#m", *options)
    found = rows(output.read_bytes())
    assert died.code == 5 and len(found) == len(answers()), died.err
    assert [("grade" in row, "error" in row) for row in found] == [(True, False)] * 10 + [(False, True)] * (len(found) - 10)
    judged.clear()

    with LoopbackServer(lambda path, body: models("m") if body is None else judged.append(body["prompt"]) or text(answers()[body["prompt"]]), port=first.port) as second:
        again = lore(*RUN, "--judge", f"{second.address}#m", *options, "--retry-failed")
        assert again.code == 0 and judged == list(answers())[10:], again.err
        assert lore(*RUN, "--judge", f"{second.address}#m", *options[:-1], whole).code == 0
    assert output.read_bytes() == whole.read_bytes()
    assert not output.with_name("out.jsonl.ledger").exists()
