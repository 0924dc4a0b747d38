"""The reply cache: what is kept and what is not, two runs at once, damage, a full disk, and a run again that asks nothing."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from commands_run import ROOT, lore
from expert_server import EXAMPLES, PAIRS, ExpertServer
from lore_cli.errors import BadInput, Missing
from lore_cli.models import Cut, Look
from lore_cli.models.remembered import Remembered
from lore_cli.models.replies import ReplyStore, Stored


class Echo:
    """A model that says what it was asked, how often it was asked so far, and fails for `bad` prompts the first time."""

    def __init__(self, name: str = "echo", **identity: str) -> None:
        self.name, self.extra, self.asked = name, identity, 0

    def generate(self, prompts, *, samples=1, temperature=0.0, max_new_tokens=256, seed=0, heard=None):
        replies = []
        for prompt in prompts:
            self.asked += 1
            draws = samples if temperature > 0 else 1
            text = prompt.text if isinstance(prompt, Look) else prompt
            said = [f"{text} {self.asked} {seed} {draw}" for draw in range(draws)]
            if text.startswith("long"):
                said = [Cut(reply, max_new_tokens) for reply in said]
            if text.startswith("bad"):
                said = [RuntimeError("no reply"), *said[1:]]
            replies.append(said * (samples // draws))
            for draw, reply in enumerate(said):
                heard(len(replies) - 1, draw, reply)
        return replies

    def label_probabilities(self, prompts, labels, *, begun=None):
        self.asked += len(prompts)
        return [RuntimeError("none") if prompt.startswith("bad") else [1 / 3, 2 / 3] for prompt in prompts]

    def identity(self):
        return {"model": self.name, **self.extra}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "replies.sqlite")


def remembered(path: str, **identity: str) -> tuple[Remembered, Echo]:
    echo = Echo(**identity)
    return Remembered(echo, ReplyStore(path)), echo  # type: ignore[arg-type]


def test_what_was_answered_is_not_asked_again_by_this_run_or_the_next(path):
    model, echo = remembered(path)
    first = model.generate(["a", "b\u2028\ud800", "long"], max_new_tokens=9)
    later, other = remembered(path)
    again = later.generate(["long", "b\u2028\ud800", "a"], max_new_tokens=9)
    assert echo.asked == 3 and other.asked == 0
    assert [first[0], first[1]] == [again[2], again[1]]
    assert isinstance(again[0][0], Cut) and again[0][0].text == first[2][0].text and str(again[0][0]) == str(first[2][0])


@pytest.mark.parametrize(
    "changed", [{"max_new_tokens": 8}, {"temperature": 0.5}, {"temperature": 0.5, "seed": 1}, {"temperature": 1.0}, {"temperature": 1.0, "seed": 2}], ids=str
)
def test_another_way_of_decoding_is_another_reply(path, changed):
    model, echo = remembered(path)
    model.generate(["a"], max_new_tokens=9)
    model.generate(["a"], max_new_tokens=9, temperature=1.0, seed=1)
    assert echo.asked == 2
    model.generate(["a"], **({"max_new_tokens": 9} | changed))
    assert echo.asked == 3


def test_greedy_replies_are_one_whatever_seed_and_samples(path):
    model, echo = remembered(path)
    (one,) = model.generate(["a"], seed=1)
    (three,) = model.generate(["a"], samples=3, seed=2)
    assert echo.asked == 1 and three == one * 3


def test_draws_grow_by_those_that_are_not_there(path):
    model, echo = remembered(path)
    two = model.generate(["a"], samples=2, temperature=1.0)[0]
    three = model.generate(["a"], samples=3, temperature=1.0)[0]
    assert three[:2] == two and len(three) == 3 and echo.asked == 2
    assert model.generate(["a"], samples=3, temperature=1.0)[0] == three and echo.asked == 2


def test_other_models_and_pictures_have_replies_of_their_own(path, tmp_path):
    picture = tmp_path / "photo.png"
    picture.write_bytes(b"blue")
    model, echo = remembered(path)
    model.generate(["a", Look("a", picture)])
    other, others = remembered(path, chat="True")
    other.generate(["a"])
    assert (echo.asked, others.asked) == (2, 1)
    picture.write_bytes(b"red")
    model.generate(["a", Look("a", picture)])
    assert echo.asked == 3
    picture.unlink()
    assert model.generate([Look("a", picture)]) == [["a 4 0 0"]]  # it is the model that says what a missing picture means


def test_a_failure_is_never_kept(path):
    model, echo = remembered(path)
    assert isinstance(model.generate(["bad", "a"])[0][0], RuntimeError)
    assert isinstance(model.generate(["bad", "a"])[0][0], RuntimeError) and echo.asked == 3
    model.label_probabilities(["bad", "a"], ["x", "y"])
    assert isinstance(model.label_probabilities(["bad", "a"], ["x", "y"])[0], RuntimeError) and echo.asked == 6


def test_label_probabilities_come_back_to_the_last_digit(path):
    model, echo = remembered(path)
    first = model.label_probabilities(["a", "b"], [" L1", " L2"], begun=["grade:", "grade:"])
    again = model.label_probabilities(["b", "a"], [" L1", " L2"], begun=["grade:", "grade:"])
    assert again == first == [[1 / 3, 2 / 3]] * 2 and echo.asked == 2
    model.label_probabilities(["a"], [" L1", " L3"], begun=["grade:"])
    model.label_probabilities(["a"], [" L1", " L2"], begun=["grades:"])
    assert echo.asked == 4


# ------------------------------------------------------------------------------------------------ the file


_WRITER = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from test_replies import remembered
model, echo = remembered({path!r})
for start in range({first}, {last}, 10):
    model.generate([f"prompt {{number}}" for number in range(start, start + 10)])
print(echo.asked, flush=True)
"""


def writer(path: str, first: int, last: int) -> subprocess.Popen:
    code = _WRITER.format(root=str(ROOT), tests=str(ROOT / "tests"), path=path, first=first, last=last)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_three_processes_may_write_at_once(path):
    processes = [writer(path, first, first + 400) for first in (0, 200, 400)]
    ended = [process.communicate() + (process.returncode,) for process in processes]
    assert all(code == 0 for *_, code in ended), ended
    store = ReplyStore(path)
    assert store.stat()["entries"] == 800 and store.stat()["hits"] == 1200 - sum(int(out) for out, *_ in ended)


def test_a_kill_leaves_a_file_that_goes_on(path):
    process = writer(path, 0, 1_000_000)
    store = ReplyStore(path)
    deadline = time.monotonic() + 60
    while not os.path.exists(path) or store.stat()["entries"] < 30:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = store.stat()["entries"]
    assert kept >= 30
    model, echo = remembered(path)
    model.generate([f"prompt {number}" for number in range(kept + 5)])
    assert echo.asked == 5 and ReplyStore(path).stat()["entries"] == kept + 5


def test_a_full_disk_is_told_and_what_was_there_stays(path):
    model, _ = remembered(path)
    model.generate(["a"])
    model._store._database.execute(f"PRAGMA max_page_count = {model._store._database.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(Missing, match="cannot be written.*full.*\n.*free some space"):
        model.generate(["x" * 100_000])
    again, echo = remembered(path)
    again.generate(["a"])
    assert echo.asked == 0


def run(path: str, *more: object, judge: str = "rulebook:"):
    return lore("lore-rair run", PAIRS, "--judge", judge, "--reply-cache", path, "--structured", "off", *more)


@pytest.fixture(scope="module")
def served():
    pytest.importorskip("httpx")
    pytest.importorskip("stamina")
    with ExpertServer() as server:
        yield server


def test_a_damaged_file_and_other_databases_are_told(path, tmp_path, served):
    with open(path, "wb") as file:
        file.write(b"no database at all" * 1000)
    done = run(path, judge=served.uri)
    assert done.code == 3 and f"{path}: is damaged, or no reply cache" in done.err and "next: move it away" in done.err and done.out == b""
    other = tmp_path / "other.sqlite"
    sqlite3.connect(other).execute("CREATE TABLE shop (id)").connection.close()
    done = run(str(other), judge=served.uri)
    assert done.code == 3 and "is a database, but no reply cache" in done.err
    done = run(str(tmp_path / "none" / "replies.sqlite"), judge=served.uri)
    assert done.code == 4 and "unable to open" in done.err
    ReplyStore(path + "2").add("m", [("k", Stored("text", b"t"))])
    with sqlite3.connect(path + "2") as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(BadInput, match="version 9; this version of lore reads 1"):
        ReplyStore(path + "2").stat()


@pytest.mark.parametrize("options", [(), ("--samples", 2)], ids=["greedy", "draws"])
def test_a_run_again_asks_nothing_and_writes_the_same(path, options, tmp_path, served):
    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    assert run(path, *options, "-o", first, judge=served.uri).code in (0, 5)
    asked = served.paid
    assert run(path, *options, "-o", again, judge=served.uri).code in (0, 5)
    assert served.paid == asked and again.read_bytes() == first.read_bytes()
    usage = json.loads((tmp_path / "again.jsonl.manifest.json").read_bytes())["counts"]["usage"]
    rows = len(PAIRS.read_bytes().splitlines())
    assert usage["requests"] == usage["prompt_tokens"] == 0 and usage["cached"] == rows * (1 + sum(map(int, options[1:])))


def test_synthesis_again_asks_nothing_also_by_variable(path, tmp_path, served):
    words = ("lore-synth", PAIRS, "--images", EXAMPLES, "--judge", served.uri, "--attempts", 2)
    first = lore(*words, env={"LORE_REPLY_CACHE": path})
    asked = served.paid
    again = lore(*words, "--reply-cache", path)
    assert first.code == again.code == 0 and served.paid == asked and again.out == first.out and again.lines, first.err


# ------------------------------------------------------------------------------------------------ lore-synth cache


@pytest.fixture
def filled(path):
    """Two models: ten replies of one written three days ago, four of the other now, two of them asked for again."""
    store = ReplyStore(path)
    store.add("old", [(f"o{number}", Stored("text", b"x" * 100)) for number in range(10)])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE replies SET written = written - 3 * 86400 - number FROM (SELECT key AS k, row_number() OVER () AS number FROM replies) WHERE key = k")
    store.add("new", [*((f"n{number}", Stored("text", b"y" * 50)) for number in range(2)), ("n2", Stored("cut", b"cut \xe6")), ("n3", Stored("row", b"[0.25,0.75]"))])
    store.find(["n0", "n1"])
    store.close()
    return path


def test_stat_counts_entries_bytes_and_hits_per_model(filled):
    done = lore("lore-synth", "cache", "stat", filled, "--json")
    told = json.loads(done.out)
    assert done.code == 0 and (told["entries"], told["bytes"], told["hits"], told["waiting"]) == (14, 1116, 2, 0) and told["file_bytes"] > 4096
    assert [(row["model"], row["entries"], row["bytes"], row["hits"]) for row in told["models"]] == [("old", 10, 1000, 0), ("new", 4, 116, 2)]
    assert told["models"][0]["newest_s"] == pytest.approx(3 * 86400, abs=100)
    table = lore("lore-synth", "cache", "stat", filled).out.decode()
    assert "14 entries" in table and "old" in table and "2 hits" in table


@pytest.mark.parametrize(
    ("options", "left"),
    [(("--older-than", 2), {"new": 4}), (("--older-than", 4), {"old": 10, "new": 4}), (("--keep-model", "old"), {"old": 10}), (("--max-bytes", 400), {"old": 2, "new": 4}), (("--max-bytes", 0), {})],
    ids=str,
)
def test_gc_removes_what_is_old_of_other_models_or_too_much(filled, options, left):
    done = lore("lore-synth", "cache", "gc", filled, *options)
    assert done.code == 0 and f"{14 - sum(left.values())} of 14 entries removed" in done.err
    assert {row["model"]: row["entries"] for row in ReplyStore(filled).stat()["models"]} == left


def test_gc_gives_space_back_and_wants_to_be_told_what_to_remove(path):
    store = ReplyStore(path)
    store.add("m", [(f"{number}", Stored("text", b"z" * 10_000)) for number in range(300)])
    store.close()
    before = os.path.getsize(path)
    assert lore("lore-synth", "cache", "gc", path, "--max-bytes", 1000).code == 0 and os.path.getsize(path) < before / 10
    assert lore("lore-synth", "cache", "gc", path).code == 2


def test_export_gives_every_entry_as_a_row(filled, tmp_path):
    out = tmp_path / "rows.jsonl"
    assert lore("lore-synth", "cache", "export", filled, "-o", out).code == 0
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert [row["key"] for row in rows] == sorted(row["key"] for row in rows) and len(rows) == 14
    by_key = {row["key"]: row for row in rows}
    assert by_key["n0"]["text"] == "y" * 50 and by_key["n0"]["hits"] == 1 and by_key["n3"]["probabilities"] == [0.25, 0.75] and by_key["n2"]["kind"] == "cut"
    assert all(math.isfinite(row["written"]) for row in rows)
    assert lore("lore-synth", "cache", "export", filled).lines == out.read_bytes().splitlines()


@pytest.mark.parametrize("verb", ["stat", "gc", "export"])
def test_a_cache_that_is_not_there_is_missing_and_is_not_begun(verb, path):
    done = lore("lore-synth", "cache", verb, path, *(["--max-bytes", 1] if verb == "gc" else []))
    assert done.code == 4 and "no such reply cache" in done.err and not os.path.exists(path)
