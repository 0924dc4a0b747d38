"""Long work survives: what Ctrl-C, kill -9 or a full disk leaves behind is nothing half-written, and --resume gives the bytes of a run that was never disturbed."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from commands_run import ROOT, lore
from lore_cli import ledger, stream
from lore_cli.records import Trace
from test_conduct import rows_of
from test_contract import EXAMPLES, PAIRS, refused, write

RUN, SYNTH = ("lore-rair run", "--judge", "rulebook:"), ("lore-synth", "--images", str(EXAMPLES))
LONG = pytest.mark.parametrize("words", [RUN, SYNTH], ids=lambda words: words[0].replace(" ", "-"))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """480 rows, in a file."""
    rows = rows_of(PAIRS.read_bytes())
    return write(tmp_path_factory.mktemp("many") / "pairs.jsonl", [{**row, "id": f"{number:02}-{row['id']}"} for number in range(20) for row in rows])


def start(words, out, *more, **options):
    """A command as a process of its own that reads rows from a pipe."""
    command = [sys.executable, str(ROOT / "bin" / words[0].split()[0]), *words[0].split()[1:], *words[1:], "-o", str(out), *map(str, more)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def feed(process, lines, ledger, outcomes):
    """Give it rows and wait until the ledger holds so many outcomes, or the process ended."""
    process.stdin.write(b"".join(lines))
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if ledger.exists() and ledger.read_bytes().count(b"\n") > outcomes:
            return
        time.sleep(0.02)
    raise AssertionError(f"not so far: {process.stderr.read() if process.poll() is not None else 'still starting'}")


def disturbed(words, many, folder, number):
    """Run on a pipe, signal it when 200 of 480 rows are done; returns (exit code, stderr, rows done)."""
    out = folder / "out.jsonl"
    process = start(words, out)
    feed(process, many.read_bytes().splitlines(keepends=True)[:400], folder / "out.jsonl.ledger", 200)
    process.send_signal(number)
    said = process.stderr.read().decode()
    code = process.wait()
    process.stdin.close()
    process.stdout.close()
    return code, said


@LONG
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_run_says_so_in_one_line_and_is_finished_by_resume(words, number, many, tmp_path):
    code, said = disturbed(words, many, tmp_path, number)
    assert (code, said.count("\n")) == (130, 1) and "interrupted" in said and "Traceback" not in said, said
    assert {file.name for file in tmp_path.iterdir()} == {"out.jsonl.ledger"}
    whole = tmp_path / "whole.jsonl"
    assert lore(*words, many, "-o", whole).code == 0
    refused(lore(*words, many, "-o", tmp_path / "out.jsonl"), 2, "holds unfinished work", "--resume")
    resumed = lore(*words, many, "-o", tmp_path / "out.jsonl", "--resume")
    assert resumed.code == 0 and (tmp_path / "out.jsonl").read_bytes() == whole.read_bytes()
    counts = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["counts"]
    assert counts["written"] == 480 and counts["reused"] >= 200
    assert not (tmp_path / "out.jsonl.ledger").exists()


@LONG
def test_a_killed_run_is_finished_by_resume_and_leaves_nothing_behind(words, many, tmp_path):
    code, _ = disturbed(words, many, tmp_path, signal.SIGKILL)
    assert code == -signal.SIGKILL and not (tmp_path / "out.jsonl").exists()
    ledger = tmp_path / "out.jsonl.ledger"
    ledger.write_bytes(ledger.read_bytes()[:-7])  # the last line torn, as by a power cut
    whole = tmp_path / "whole.jsonl"
    assert lore(*words, many, "-o", whole).code == 0
    assert lore(*words, many, "-o", tmp_path / "out.jsonl", "--resume").code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == whole.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {f"{name}.jsonl{more}" for name in ("out", "whole") for more in ("", ".manifest.json")}


def test_a_row_that_was_edited_meanwhile_is_done_again(many, tmp_path):
    disturbed(RUN, many, tmp_path, signal.SIGKILL)
    lines = many.read_bytes().splitlines(keepends=True)
    row = json.loads(lines[0])
    row["item"]["title"] = row["item"]["title"] + " spare part"
    edited = tmp_path / "edited.jsonl"
    edited.write_bytes(json.dumps(row).encode() + b"\n" + b"".join(lines[1:]))
    assert lore(*RUN, edited, "-o", tmp_path / "out.jsonl", "--resume").code == 0
    assert lore(*RUN, edited, "-o", tmp_path / "whole.jsonl").code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_resuming_under_other_settings_is_refused_naming_the_difference(many, tmp_path):
    disturbed(RUN, many, tmp_path, signal.SIGKILL)
    out, book = tmp_path / "out.jsonl", tmp_path / "rulebook.toml"
    book.write_text((ROOT / "lore_cli" / "rulebook.toml").read_text("utf-8") + "\n# changed\n", "utf-8")
    before = (tmp_path / "out.jsonl.ledger").read_bytes()
    refused(lore(*RUN, many, "-o", out, "--resume", "--rulebook", book), 2, "rulebook: was '", "--force")
    refused(lore("lore-rair run", "--judge", f"lexical:{PAIRS}", many, "-o", out, "--resume"), 2, "judge: was 'rulebook', is 'lexical'")
    refused(lore(*RUN, many, "-o", out, "--resume", "--samples", 3), 2, "samples: was 0, is 3")
    refused(lore(*RUN, many, "-o", out, "--resume", "--knowledge", EXAMPLES / "glossary.jsonl"), 2, "knowledge: was 'none'")
    assert (tmp_path / "out.jsonl.ledger").read_bytes() == before and not out.exists()
    assert lore(*RUN, many, "-o", out, "--resume").code == 0
    refused(lore(*RUN, many, "-o", out, "--resume", "--samples", 3), 2, "samples: was 0, is 3")  # a finished output is held to the same
    assert lore(*RUN, many, "-o", out, "--resume").code == 0
    (tmp_path / "out.jsonl.manifest.json").unlink()
    refused(lore(*RUN, many, "-o", out, "--resume"), 2, "no manifest or ledger says what made it")


def test_a_damaged_ledger_is_refused_with_its_line(many, tmp_path):
    disturbed(RUN, many, tmp_path, signal.SIGKILL)
    ledger = tmp_path / "out.jsonl.ledger"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([*lines[:4], b"{}\n", *lines[5:]]))
    refused(lore(*RUN, many, "-o", tmp_path / "out.jsonl", "--resume"), 3, f"{ledger}:5: is damaged", "--force")
    assert lore(*RUN, many, "-o", tmp_path / "out.jsonl", "--force").code == 0


def test_resume_needs_a_file_and_bad_first_rows_leave_nothing_to_resume(tmp_path):
    refused(lore(*RUN, PAIRS, "--resume"), 2, "need a file")
    bad = write(tmp_path / "bad.jsonl", [{"id": "1"}])
    refused(lore(*RUN, bad, "-o", tmp_path / "out.jsonl"), 3, "bad.jsonl:1: query: required field is missing")
    assert {file.name for file in tmp_path.iterdir()} == {"bad.jsonl"}


def test_failed_rows_are_asked_again_by_retry_failed_and_only_they(tmp_path):
    shop = tmp_path / "shop"
    shutil.copytree(EXAMPLES / "images", shop / "images")
    rows = rows_of(PAIRS.read_bytes())
    gone = shop / rows[5]["item"]["image"]
    kept = gone.read_bytes()
    gone.unlink()
    out, words = tmp_path / "out.jsonl", ("lore-synth", PAIRS, "--images", shop, "--on-bad", "skip", "-o", tmp_path / "out.jsonl")
    first = lore(*words)
    assert first.code == 5 and "1 failed" in first.err and "visual" in rows_of(out.read_bytes())[5]["error"]
    again = lore(*words, "--resume")
    assert again.code == 5 and json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["counts"]["reused"] == 24
    assert lore(*words, "--retry-failed").code == 5
    gone.write_bytes(kept)
    assert lore(*words, "--retry-failed").code == 0
    assert json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["counts"]["reused"] == 23
    assert lore("lore-synth", PAIRS, "--images", shop, "-o", tmp_path / "whole.jsonl").code == 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes() and not (tmp_path / "out.jsonl.ledger").exists()


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """240 rows of which a part is rejected: every fifth has another grade than its raters gave."""
    rows = rows_of(PAIRS.read_bytes()) * 10
    rows = [{**row, "id": f"{number:03}", "grade": "L1" if number % 5 == 0 else row["grade"]} for number, row in enumerate(rows)]
    return write(tmp_path_factory.mktemp("graded") / "pairs.jsonl", rows)


def killed(prepare, *words):
    """A run in a process of its own (a fork, which starts at once) that `prepare` arranged to kill itself."""
    child = os.fork()
    if child == 0:
        prepare()
        lore(*words)
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def die_when_the_ledger_has(moment, path):
    """Arrange that the process is killed when it has written so many bytes of the ledger, in the middle of a line as a rule."""

    def torn(row):
        line, size = stream.encode(row), path.stat().st_size if path.exists() else 0
        if size + len(line) <= moment:
            return line
        with open(path, "ab") as file:
            file.write(line[: max(0, moment - size)])
        os.kill(os.getpid(), signal.SIGKILL)

    ledger.encode = torn


def ledger_bytes(monkeypatch, *words):
    """How long the ledger of a run becomes that nothing disturbs."""
    lengths = []

    def counted(row):
        lengths.append(len(stream.encode(row)))
        return stream.encode(row)

    monkeypatch.setattr(ledger, "encode", counted)
    assert lore(*words).code == 0
    monkeypatch.undo()
    return sum(lengths)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_killed_at_twenty_moments_and_resumed_is_as_if_never_disturbed(suffix, graded, tmp_path, monkeypatch):
    def words(name):
        return ("lore-synth", graded, "--images", EXAMPLES, "-o", tmp_path / name / f"out.{suffix}", "--rejected", tmp_path / name / "rejected.jsonl")

    length = ledger_bytes(monkeypatch, *words("whole"))
    log = tmp_path / "again" / f"out.{suffix}.ledger"
    for number, moment in enumerate(sorted(random.Random(20).sample(range(1, length), 20))):
        killed(lambda: die_when_the_ledger_has(moment, log), *words("again"), *(["--resume"] if number else []))
        assert log.stat().st_size == moment and [file.name for file in log.parent.iterdir() if not file.name.startswith(".lore-")] == [log.name]
    assert lore(*words("again"), "--resume").code == 0
    whole, again = ({file.name: file for file in (tmp_path / name).iterdir()} for name in ("whole", "again"))
    assert set(again) == set(whole) and log.name not in again  # what the killed runs had begun is gone
    for name in (f"out.{suffix}", "rejected.jsonl"):
        assert again[name].read_bytes() == whole[name].read_bytes()
    kept, rejected = (list(stream.read(Trace, [str(again[name])])) for name in (f"out.{suffix}", "rejected.jsonl"))
    assert sorted(row.id for row in (*kept, *rejected)) == [f"{number:03}" for number in range(240)] and len(rejected) > 20
    counts = json.loads(again[f"out.{suffix}.manifest.json"].read_bytes())["counts"]
    assert 0 < counts["reused"] < 240 and counts | {"reused": 0} == json.loads(whole[f"out.{suffix}.manifest.json"].read_bytes())["counts"]


@pytest.mark.parametrize("place", range(4))
def test_killed_while_it_publishes_and_resumed_is_as_if_never_disturbed(place, graded, tmp_path):
    """Before and after the file of rejected rows, or the output, gets its name."""

    def words(name):
        return ("lore-synth", graded, "--limit", 60, "--images", EXAMPLES, "-o", tmp_path / name / "out.jsonl", "--rejected", tmp_path / name / "rejected.jsonl")

    def prepare():
        replace, calls = os.replace, iter(range(2))

        def dying(*paths):
            turn = next(calls)
            if place != 2 * turn:
                replace(*paths)
            if place // 2 == turn:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = dying

    killed(prepare, *words("again"))
    assert lore(*words("again"), "--resume").code == 0 and lore(*words("whole")).code == 0
    for name in ("out.jsonl", "rejected.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(list((tmp_path / "again").iterdir())) == len(list((tmp_path / "whole").iterdir()))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 48 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def full(done_code, said):
    assert done_code == 4 and "Traceback" not in said and "next: free some space" in said, said


def test_a_full_disk_is_told_and_resume_goes_on_when_there_is_room(many, small_disk):
    done = lore(*RUN, many, "-o", small_disk / "out.jsonl")
    full(done.code, done.err)
    assert "No space left" in done.err and [file.name for file in small_disk.iterdir()] == ["out.jsonl.ledger"]
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert lore(*RUN, many, "-o", small_disk / "out.jsonl", "--resume").code == 0
    assert (small_disk / "out.jsonl").read_bytes() == lore(*RUN, many).out


def test_a_file_that_may_not_grow_is_like_a_full_disk(many, tmp_path):
    """The same where nothing can be mounted: the system lets no file of this process grow over 40 KB."""
    process = start(RUN, tmp_path / "out.jsonl", many, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)))
    out, said = process.communicate()
    full(process.returncode, said.decode())
    assert os.strerror(errno.EFBIG) in said.decode() and not (tmp_path / "out.jsonl").exists()
    assert lore(*RUN, many, "-o", tmp_path / "out.jsonl", "--resume").code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == lore(*RUN, many).out
