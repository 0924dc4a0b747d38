"""Batch exchange: requests out, results in, in any order, late, twice and with errors, until the file is the one that a run over http writes."""

from __future__ import annotations

import json
import random
import urllib.request
import zlib
from pathlib import Path

import pytest

pytest.importorskip("httpx")
pytest.importorskip("stamina")

from commands_run import lore  # noqa: E402
from expert_server import EXAMPLES, NAME, PAIRS, ExpertServer  # noqa: E402

NOBODY = f"http://batch.invalid/v1#{NAME}"
WORDS = ("lore-synth", PAIRS, "--images", EXAMPLES, "--limit", 12, "--attempts", 3)


@pytest.fixture(scope="module")
def served():
    with ExpertServer(first=lambda prompt: "what?" if zlib.crc32(prompt.encode()) % 3 == 0 else None) as server:
        yield server


@pytest.fixture(scope="module")
def direct(served, tmp_path_factory) -> tuple[bytes, bytes]:
    """(traces, rejected) of a run over http."""
    folder = tmp_path_factory.mktemp("direct")
    assert lore(*WORDS, "--judge", served.uri, "-o", folder / "out.jsonl", "--rejected", folder / "rejected.jsonl").code == 0
    return (folder / "out.jsonl").read_bytes(), (folder / "rejected.jsonl").read_bytes()


class Batches:
    """Runs of lore-synth that talk to nobody, in a folder of their own."""

    def __init__(self, folder: Path, served: ExpertServer) -> None:
        self.folder, self.served = folder, served

    def synth(self, *more: object):
        return lore(*WORDS, "--judge", NOBODY, "--reply-cache", self.folder / "replies.sqlite", *more)

    def emit(self, *more: object) -> tuple[list[dict], str]:
        """The requests of a batch file, and what was said."""
        path = self.folder / "batch.jsonl"
        done = self.synth("--emit-batch", path, "--force", *more)
        assert done.code == 0 and done.out == b"", done.err
        return [json.loads(line) for line in path.read_bytes().splitlines()], done.err

    def answered(self, requests: list[dict]) -> list[dict]:
        """The result of each request, as `vllm run-batch` and OpenAI's Batch API write them."""
        results = []
        for request in requests:
            sent = urllib.request.Request(self.served.address.removesuffix("/v1") + request["url"], json.dumps(request["body"]).encode(), {"content-type": "application/json"}, method=request["method"])
            with urllib.request.urlopen(sent) as reply:
                results.append({"id": "batch_req", "custom_id": request["custom_id"], "response": {"status_code": 200, "request_id": "r", "body": json.loads(reply.read())}, "error": None})
        return results

    def results(self, name: str, rows: list) -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows))
        return path

    def usage(self) -> dict:
        return json.loads((self.folder / "out.jsonl.manifest.json").read_bytes())["counts"]["usage"]


@pytest.fixture
def batches(served, tmp_path) -> Batches:
    return Batches(tmp_path, served)


def failed(custom_id: str) -> list[dict]:
    return [
        {"custom_id": custom_id, "response": {"status_code": 500, "body": {"error": {"message": "broken"}}}, "error": None},
        {"custom_id": custom_id, "response": None, "error": {"code": "batch_expired"}},
    ]


def test_rounds_of_batches_give_the_bytes_of_a_run_over_http(batches, direct, tmp_path):
    chance, rounds, stages = random.Random(7), 0, set()
    requests, said = batches.emit()
    while requests:
        rounds += 1
        stages |= {"re-sampling" if request["body"]["temperature"] else "first" for request in requests}
        assert len({request["custom_id"] for request in requests}) == len(requests) and f"{len(requests)} requests" in said
        results = batches.answered(requests)
        chance.shuffle(results)
        half = len(results) // 2
        first = batches.results(f"first{rounds}.jsonl", results[:half] + failed(results[-1]["custom_id"]))
        late = batches.results(f"late{rounds}.jsonl", [*results[half:], *results[:2], {**results[0], "custom_id": "0" * 32}])
        waiting, said = batches.emit("--ingest-batch", first)
        assert f"{half} replies, 2 failed requests" in said and len(waiting) >= len(results) - half
        requests, said = batches.emit("--ingest-batch", late)
        assert f"{len(results) - half} replies, 0 failed requests, {len(results[:2])} that were here before, 1 that nobody here asked for" in said
    assert rounds >= 4 and stages == {"first", "re-sampling"} and "nothing waits" in said  # needs, needs again, evidence, answers, answers again …
    assert set(path.name for path in tmp_path.iterdir() if path.suffix == ".json" or "out" in path.name) == set()
    out, rejected = tmp_path / "out.jsonl", tmp_path / "rejected.jsonl"
    asked = batches.served.paid
    done = batches.synth("-o", out, "--rejected", rejected, "--ingest-batch", late)
    assert done.code == 0 and (out.read_bytes(), rejected.read_bytes()) == direct and batches.served.paid == asked
    assert batches.usage()["requests"] == 0 and batches.usage()["cached"] > 0


def test_a_request_is_what_a_server_is_asked(batches, served, tmp_path):
    requests, said = batches.emit()
    assert set(requests[0]) == {"custom_id", "method", "url", "body"} and (requests[0]["method"], requests[0]["url"]) == ("POST", "/v1/chat/completions")
    before = len(served.asked)
    lore(*WORDS, "--judge", served.uri, "--stages", "knowledge", "--attempts", 1)
    bodies = [body for path, body, _ in served.asked[before:] if body]
    assert sorted(map(json.dumps, bodies)) == sorted(json.dumps(request["body"]) for request in requests)
    assert "12 wait for them" in said


def test_what_is_there_goes_on_and_the_rest_fails_until_it_comes(batches, tmp_path):
    requests, _ = batches.emit("--stages", "knowledge")
    results = batches.answered(requests)
    out = tmp_path / "out.jsonl"
    done = batches.synth("--stages", "knowledge", "--attempts", 1, "-o", out, "--ingest-batch", batches.results("one.jsonl", results[:1]))
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    waiting = [row for row in rows if row.get("error")]
    assert done.code == 5 and waiting and all("waits for its batch" in row["error"] for row in waiting) and len(rows) == 12 - done.err.count("rejected: ")
    done = batches.synth("--stages", "knowledge", "--attempts", 1, "-o", out, "--retry-failed", "--ingest-batch", batches.results("rest.jsonl", results[1:]))
    assert done.code == 0 and not any(json.loads(line).get("error") for line in out.read_bytes().splitlines()), done.err


def test_a_line_that_is_no_result_is_told_or_set_aside(batches, tmp_path):
    requests, _ = batches.emit()
    good = batches.answered(requests[:1])
    torn = batches.results("torn.jsonl", [*good, b'{"custom_id": "ab', b"\n", b'{"response": {}}\n', b"[1]\n", b'{"custom_id": "ab"}\n', b"  \n"])
    stopped = batches.synth("--emit-batch", tmp_path / "next.jsonl", "--ingest-batch", torn)
    assert stopped.code == 3 and f"{torn}:2: not valid JSON" in stopped.err and "--on-bad skip" in stopped.err and not (tmp_path / "next.jsonl").exists()
    rejects = tmp_path / "rejects.jsonl"
    done = batches.synth("--emit-batch", tmp_path / "next.jsonl", "--ingest-batch", torn, "--on-bad", "skip", "--rejects", rejects)
    assert done.code == 5 and "0 replies, 0 failed requests, 1 that were here before, 0 that nobody here asked for, 4 bad lines" in done.err
    assert [(row["line"], row["field"]) for row in map(json.loads, rejects.read_bytes().splitlines())] == [(2, ""), (3, "custom_id"), (4, "custom_id"), (5, "response")]


def test_a_reply_that_was_cut_off_or_holds_no_text_is_never_a_reply(batches):
    requests, _ = batches.emit("--stages", "knowledge")
    results = batches.answered(requests)
    for result, (ending, content) in zip(results, (("length", "category = so"), ("content_filter", ""), ("stop", None)), strict=False):
        choice = result["response"]["body"]["choices"][0]
        choice |= {"finish_reason": ending, "message": {"role": "assistant", "content": content}}
    _, said = batches.emit("--stages", "knowledge", "--ingest-batch", batches.results("odd.jsonl", results[:3]))
    assert "1 replies, 2 failed requests" in said
    exported = [json.loads(line) for line in lore("lore-synth", "cache", "export", batches.folder / "replies.sqlite").lines]
    assert [(row["kind"], row["text"]) for row in exported] == [("cut", "category = so")]
    stat = json.loads(lore("lore-synth", "cache", "stat", batches.folder / "replies.sqlite", "--json").out)
    assert stat["waiting"] >= len(results) - 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--judge", NOBODY), "batches need --reply-cache"),
        (("--judge", "rulebook:", "--reply-cache", "{}/r"), "--judge rulebook: takes no batches"),
        (("--judge", NOBODY.partition("#")[0], "--reply-cache", "{}/r"), "names no model"),
        (("--judge", NOBODY, "--reply-cache", "{}/r", "--dry-run"), "--dry-run writes no batch"),
    ],
    ids=["no-cache", "expert", "no-name", "dry-run"],
)
def test_options_that_do_not_go_together(options, told, tmp_path):
    done = lore("lore-synth", PAIRS, "--images", EXAMPLES, "--emit-batch", tmp_path / "batch.jsonl", *(option.format(tmp_path) for option in options))
    assert done.code == 2 and told in done.err and not (tmp_path / "batch.jsonl").exists(), done.err


def test_files_that_are_missing_or_in_the_way(batches, tmp_path):
    missing = batches.synth("--ingest-batch", tmp_path / "none.jsonl", "-o", tmp_path / "out.jsonl")
    assert missing.code == 4 and "none.jsonl: No such file" in missing.err
    (tmp_path / "batch.jsonl").write_text("kept")
    refused = batches.synth("--emit-batch", tmp_path / "batch.jsonl")
    assert refused.code == 2 and "batch.jsonl exists" in refused.err and (tmp_path / "batch.jsonl").read_text() == "kept"


def test_no_rows_make_an_empty_batch(batches, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    done = lore("lore-synth", empty, "--judge", NOBODY, "--reply-cache", tmp_path / "r", "--emit-batch", tmp_path / "batch.jsonl")
    assert done.code == 0 and (tmp_path / "batch.jsonl").read_bytes() == b"" and "nothing waits" in done.err
