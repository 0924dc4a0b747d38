"""lore-tier serve as its clients see it: answers, what is refused and how, tokens, documents, metrics."""

from __future__ import annotations

import json
import re
import socket
import time

import pytest

from commands_run import lore
from serving import ROWS, Served, make_shop, refresh, serving

pytest.importorskip("uvicorn", reason="the server needs uvicorn: pip install 'lore-cli[serve]'")
pytest.importorskip("prometheus_client", reason="the server needs prometheus-client: pip install 'lore-cli[serve]'")
jsonschema = pytest.importorskip("jsonschema")

ITEM = {"id": "7", "title": "Oak desk"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    plan = make_shop(tmp_path_factory.mktemp("shop"), "--student", "rulebook:")
    with serving(plan, "--max-items", 20, "--max-bytes", 20_000, "--patience", 1, "--access-log") as server:
        yield server


def test_answers_are_those_of_the_deployed_system(served):
    row = ROWS[0]
    answer = served.judge(row["query"].upper(), [row["item"], {"id": "new", "title": "lipstick 4 pack"}])
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    cached, fresh = answer.verdicts
    assert (cached["item_id"], cached["tier"], cached["route"], cached["answered_by"]) == (row["item"]["id"], "head", "cache", "cache")
    assert cached["grade"] == row["grade"] and 0 <= cached["age_s"] < 600 and cached["query"] == row["query"].upper()
    assert (fresh["id"], fresh["route"], fresh["age_s"]) == ("new", "cache: absent > student", 0) and fresh["grade"]
    assert answer.json["took_ms"] > 0


def test_small_replies_do_not_wait_for_the_clients_acknowledgement():
    from lore_cli.tier.serve.server import listen

    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "uvicorn writes head and body apart: Nagle's algorithm would hold the second back"


def test_a_malformed_item_has_its_error_in_its_place(served):
    rows = [ITEM, {"id": 5, "title": "x"}, "text", {"id": "a"}, {"id": "b", "title": "Sofa", "price": "cheap"}, {"id": "c", "title": "Desk"}]
    verdicts = served.judge("oak desk", rows).verdicts
    assert [one["item_id"] for one in verdicts] == ["7", "", "", "a", "b", "c"]
    assert ["error" in one for one in verdicts] == [False, True, True, True, True, False]
    assert verdicts[1]["error"] == "malformed: item.id: expected str, got int"
    assert verdicts[3]["error"] == "malformed: item.title: required field is missing"
    assert all("grade" not in one for one in verdicts[1:5])
    assert served.judge("oak desk", []).verdicts == []


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "not a request"), (b"{", 400, "not a request"), (b"null", 400, "expected"), (b"[]", 400, "expected"), (b'"x"', 400, "expected"), (b"\xff\xfe", 400, "not a request"),
        ({"query": 7, "items": []}, 400, "$.query"), ({"items": []}, 400, "query"), ({"query": "q"}, 400, "items"), ({"query": "q", "items": {}}, 400, "$.items"),
        ({"query": "  ", "items": []}, 400, "$.query"), ({"query": "", "items": []}, 400, "$.query"), ({"query": "q" * 2001, "items": []}, 400, "length <= 2000"),
        ({"query": "q", "items": [ITEM] * 21}, 413, "at most 20"), (b"[" * 15_000, 400, "not a request"), (b'{"query": "q", "items": [' + b"[" * 9_000, 400, "not a request"),
        ({"query": "q", "items": [{"id": "1", "title": "x" * 20_000}]}, 413, "larger than 20000 bytes"), (b'{"query": "\\ud800", "items": []}', 400, "not a request"),
    ],
)  # fmt: skip
def test_a_request_that_is_none_is_refused_with_a_reason(served, body, status, said):
    answer = served.ask("POST", "/v1/judge", body)
    assert answer.status == status and said.lower() in answer.json["error"].lower() and answer.json["next"]
    assert served.ask("GET", "/healthz").status == 200


def test_other_wrong_requests(served):
    assert served.ask("POST", "/v1/judge", {"query": "q", "items": []}, content_type="text/plain").status == 415
    for deadline in ("0", "-1", "1.5", "soon", "9999999", "٣"):
        assert served.ask("POST", "/v1/judge", {"query": "q", "items": []}, x_deadline_ms=deadline.encode().decode("latin-1")).status == 400
    assert served.row(0, x_deadline_ms="250").status == 200
    assert served.ask("GET", "/v1/judge").status == 405
    chunked = b"POST /v1/judge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n" + b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    assert served.raw(chunked + b"4000\r\n" + b"x" * 0x4000 + b"\r\n").startswith(b"HTTP/1.1 413")
    claimed = b"POST /v1/judge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{"
    assert served.raw(claimed).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/judge/", "//v1/judge", "/v1/../etc/passwd", "/..%2f..%2fetc/passwd", "/v1/judge%00", "/plan.json", "/openapi.json/..", "/\\..\\x"])
def test_paths_that_lead_nowhere(served, path):
    for method in ("GET", "POST"):
        reply = served.raw(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
        assert reply.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), reply
        assert b"root:" not in reply


_TO_JUDGE = b"POST /v1/judge HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n\r\n", _TO_JUDGE + b"content-length: -5\r\n\r\n",
        _TO_JUDGE + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello", _TO_JUDGE + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)  # fmt: skip
def test_bytes_that_are_no_request(served, data):
    assert served.raw(data)[:12] in (b"HTTP/1.1 400", b"")
    assert served.ask("GET", "/healthz").status == 200


def counted(served, status: int) -> float:
    """Requests of a status, as `/metrics` tells them."""
    text = served.ask("GET", "/metrics").body.decode()
    found = re.search(rf'^lore_requests_total{{status="{status}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0


def test_what_is_refused_before_it_is_a_request_is_counted(served):
    before = counted(served, 400), counted(served, 431)
    served.raw(b"GET / HTTP/1.1\r\n\r\n")
    served.raw(b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000)
    assert (counted(served, 400), counted(served, 431)) == (before[0] + 1, before[1] + 1)


def test_what_is_no_body_is_bounded(served):
    chunked = b"POST /v1/judge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    endless = (
        b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000, b"GET /" + b"y" * 100_000,
        chunked + b"1;x=" + b"y" * 100_000, chunked + b"1\r\n{\r\n" * 15_000,
    )  # fmt: skip
    for data in endless:
        assert served.raw(data).startswith(b"HTTP/1.1 431"), data[:20]
    asked = b"GET /healthz/live HTTP/1.1\r\nhost: x\r\n"
    many = served.raw((asked + b"\r\n") * 2_000 + asked + b"connection: close\r\n\r\n", half_close=False)
    assert many.count(b"HTTP/1.1 200") == 2_001  # each head within the limit, all of them together not
    assert served.ask("GET", "/healthz").status == 200


def test_slow_clients_are_let_go_and_cost_the_others_nothing(served):
    drip = b"POST /v1/judge HTTP/1.1\r\nhost: x\r\n"
    body = b"content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    slow = [socket.create_connection(("127.0.0.1", served.port), timeout=20) for _ in range(60)]
    for number, connection in enumerate(slow):  # nothing at all, half a head, half a body
        connection.sendall((b"", drip, drip + body)[number % 3])
    assert served.row(0).status == 200
    for connection in slow:
        found = b""
        try:
            while part := connection.recv(4096):
                found += part
        except ConnectionError:
            pass
        assert found == b"" or found.startswith(b"HTTP/1.1 408")
        connection.close()
    kept = socket.create_connection(("127.0.0.1", served.port), timeout=20)
    kept.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    reply = b""
    while not reply.endswith(b"}"):
        reply += kept.recv(65536)
    assert reply.startswith(b"HTTP/1.1 200")
    kept.sendall(b"GET /hea")  # and on a connection that has been used
    assert kept.recv(65536) == b""


def test_the_openapi_document_describes_what_is_sent(served):
    document = served.ask("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1") and set(document["paths"]) == {"/v1/judge", "/healthz", "/healthz/live", "/metrics"}
    schemas = document["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named <= set(schemas)

    def check(name, value):
        jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]}).validate(value)

    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    check("JudgeRequest", {"query": ROWS[0]["query"], "items": [ROWS[0]["item"]]})
    check("JudgeReply", served.judge(ROWS[0]["query"], [ROWS[0]["item"], {"id": 4}]).json)
    check("Problem", served.ask("POST", "/v1/judge", b"").json)
    check("Health", served.ask("GET", "/healthz").json)
    with pytest.raises(jsonschema.ValidationError):
        check("JudgeRequest", {"query": 4, "items": [{"id": "1"}]})


def test_metrics_are_prometheus_text_and_count(served):
    from prometheus_client.parser import text_string_to_metric_families

    before = served.metric('lore_verdicts_total{answered_by="cache",tier="head"}')
    served.row(0)
    reply = served.ask("GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(reply.body.decode())}
    assert {"lore_requests", "lore_request_seconds", "lore_verdicts", "lore_shed_requests", "lore_pairs_waiting", "lore_cache_generation"} <= set(families)
    assert served.metric('lore_verdicts_total{answered_by="cache",tier="head"}') == before + 1
    assert ROWS[0]["query"] not in reply.body.decode()


def test_the_access_log_is_json_without_queries(served):
    served.row(0)
    served.ask("GET", "/healthz?query=lipstick&token=secret")
    time.sleep(0.2)
    lines = [json.loads(line) for line in served.said().splitlines() if '"method"' in line]
    assert {"at", "method", "path", "status", "ms"} <= set(lines[-1]) and any(line.get("pairs") == 1 for line in lines)
    assert "lipstick" not in served.said() and "secret" not in served.said()


def test_nobody_but_this_machine_without_a_token(tmp_path):
    plan = make_shop(tmp_path, "--student", "rulebook:", refreshed=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        done = lore("lore-tier", "serve", "--plan", plan, "--host", host)
        assert done.code == 2 and "--token-file" in done.err
    short, token = tmp_path / "short", tmp_path / "token"
    short.write_text("hunter2-hunter")
    assert lore("lore-tier", "serve", "--plan", plan, "--token-file", short).code == 2
    assert "hunter2" not in lore("lore-tier", "serve", "--plan", plan, "--token-file", short).err
    assert lore("lore-tier", "serve", "--plan", plan, "--token-file", tmp_path / "none").code == 4
    secret = "correct-horse-battery-staple"
    token.write_text(secret + "\n")
    with serving(plan, "--cache", _cache_of(tmp_path), "--token-file", token, "--access-log") as server:
        _token_is_asked_for(server, secret)


def _cache_of(folder):
    refresh(folder, "rulebook:")
    return folder / "cache"


def _token_is_asked_for(server: Served, secret: str) -> None:
    for wrong in ({}, {"authorization": "Bearer wrong"}, {"authorization": secret}, {"authorization": f"Basic {secret}"}, {"authorization": f"Bearer {secret}x"}):
        answer = server.row(0, **wrong)
        assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert server.ask("GET", "/metrics", **wrong).status == 401
    assert server.row(0, authorization=f"Bearer {secret}").status == 200
    assert server.ask("GET", "/healthz").status == server.ask("GET", "/healthz/live").status == 200
    assert server.stop() == 0 and secret not in server.said()


def test_what_cannot_be_served_is_told_before_it_listens(tmp_path):
    plan = make_shop(tmp_path, "--student", "rulebook:", refreshed=False)
    assert lore("lore-tier", "serve", "--plan", plan, "--port", "0").code == 4  # no generation yet
    assert lore("lore-tier", "serve", "--plan", tmp_path / "none.json").code == 4
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = lore("lore-tier", "serve", "--plan", plan, "--cache", _cache_of(tmp_path), "--port", taken.getsockname()[1])
    assert done.code == 4 and "cannot listen" in done.err
