"""`--ray`: the same file as without, from a local cluster of two workers; a worker killed, the command killed, and finished by --resume."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # read when Ray loads; the cluster here is for this test alone
pytest.importorskip("ray", reason="ray is not installed: pip install 'lore-cli[ray]'")

from commands_run import ROOT, lore  # noqa: E402
from test_conduct import rows_of  # noqa: E402
from test_contract import EXAMPLES, PAIRS, refused, write  # noqa: E402
from tiny_models import LoopbackServer, Reply, answers, models, text  # noqa: E402

CLUSTER = """
import sys, ray
found = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
print(found.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
MARK = f"LORE_TEST_CLUSTER={os.getpid()}"  # in the environment of its processes: no other Ray on this machine is touched
NICE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # else its workers give way to whatever runs beside
ROWS = 96
RUN = ("lore-rair run", "--batch-size", "1", "--quiet")  # blocks of eight rows


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray of two cores on this machine; it ends with its process."""
    environment = os.environ | NICE | dict([MARK.split("=")])
    holder = subprocess.Popen([sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    yield holder.stdout.readline().strip()
    holder.stdin.close()
    holder.wait(60)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The example pairs, several times over."""
    rows = rows_of(PAIRS.read_bytes())
    chosen = [{**rows[number % len(rows)], "id": f"{number:03}"} for number in range(ROWS)]
    return write(tmp_path_factory.mktemp("many") / "pairs.jsonl", chosen)


def test_a_cluster_that_is_not_there_is_missing(many):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused(lore(*RUN, "--judge", "rulebook:", many, "--ray", f"127.0.0.1:{port}"), 4, f"Ray cluster 127.0.0.1:{port}: Connection refused", "ray start")


def test_a_judge_on_a_cluster_writes_the_bytes_it_writes_here(cluster, many, tmp_path):
    spread = lore(*RUN, "--judge", "rulebook:", many, "-o", tmp_path / "spread.jsonl", "--ray", cluster, "--ray-workers", 2)
    here = lore(*RUN, "--judge", "rulebook:", many, "-o", tmp_path / "here.jsonl")
    assert (spread.code, here.code, spread.out) == (0, 0, b""), spread.err
    assert (tmp_path / "spread.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    identities = [json.loads((tmp_path / f"{name}.jsonl.manifest.json").read_bytes())["identity"] for name in ("spread", "here")]
    assert identities[0] == identities[1], "a run may be finished with or without a cluster"


def test_synthesis_on_a_cluster_writes_the_bytes_it_writes_here(cluster, many, tmp_path):
    words = ("lore-synth", many, "--images", EXAMPLES, "--quiet")
    options = {"spread": ("--ray", cluster), "here": ()}
    runs = [lore(*words, "-o", tmp_path / f"{name}.jsonl", "--rejected", tmp_path / f"{name}-no.jsonl", *more) for name, more in options.items()]
    assert [run.code for run in runs] == [0, 0], runs[0].err
    for end in ("", "-no"):
        assert (tmp_path / f"spread{end}.jsonl").read_bytes() == (tmp_path / f"here{end}.jsonl").read_bytes()


def test_no_rows_need_no_work(cluster, tmp_path):
    empty = write(tmp_path / "empty.jsonl", [])
    run = lore(*RUN, "--judge", "rulebook:", empty, "-o", tmp_path / "out.jsonl", "--ray", cluster)
    assert run.code == 0 and (tmp_path / "out.jsonl").read_bytes() == b"", run.err


def test_what_goes_wrong_on_the_cluster_is_told_as_here(cluster, many):
    refused(lore(*RUN, "--judge", "hf:/nowhere/at/all", many, "--ray", cluster), 4, "no such directory")
    refused(lore(*RUN, "--judge", "nobody:", many, "--ray", cluster), 2, "names no judge")


class SlowServer(LoopbackServer):
    """Answers as the expert does, each request after a moment; calls `at[n]` when it has answered n requests, and holds that reply back meanwhile."""

    def __init__(self, at: dict[int, object]) -> None:
        self.count, self.at, self.counting = 0, at, threading.Lock()
        super().__init__(self.reply)

    def reply(self, path: str, body: dict | None) -> Reply:
        if body is None:
            return models("expert")
        with self.counting:
            self.count += 1
            event = self.at.pop(self.count, None)
        if event is not None:
            event()
        time.sleep(0.05)
        return text(answers().get(body.get("prompt") or body["messages"][0]["content"], "2"))  # a judge first asks whether anybody answers


def workers() -> list[int]:
    """The processes of the cluster's actors that map our rows. They overwrite their own environment; Ray's raylet, which starts them, does not."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # ended meanwhile
            if folder.name.isdigit() and b"ray::MapWorker" in (folder / "cmdline").read_bytes():
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if MARK.encode() in Path("/proc", parent, "environ").read_bytes():
                    found.append(int(folder.name))
    return found


def test_a_killed_worker_and_a_killed_command_cost_nothing_but_time(cluster, many, tmp_path):
    killed, process = [], None

    def kill_a_worker() -> None:
        killed.append(workers()[0])
        os.kill(killed[0], signal.SIGKILL)

    def kill_the_command() -> None:
        process.kill()

    with SlowServer({40: kill_a_worker, 85: kill_the_command}) as server:  # blocks that are done by then stand in the ledger, in order
        asked = ["--judge", server.address, "--prompt", "short", "--concurrency", "2"]
        words = [*RUN[0].split()[1:], *RUN[1:], *asked, str(many), "-o", str(tmp_path / "out.jsonl")]
        process = subprocess.Popen([sys.executable, str(ROOT / "bin" / "lore-rair"), *words, "--ray", cluster, "--ray-workers", "2"], stderr=subprocess.PIPE)
        said = process.stderr.read().decode()
        assert process.wait() == -signal.SIGKILL and len(killed) == 1, said
        assert not (tmp_path / "out.jsonl").exists()
        done = (tmp_path / "out.jsonl.ledger").read_bytes().count(b"\n") - 1
        assert 0 < done < ROWS, "killed too early or too late to show anything"
        resumed = lore("lore-rair", *words, "--ray", cluster, "--resume")
        assert resumed.code == 0, resumed.err
        counts = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["counts"]
        assert (counts["written"], counts["reused"], counts["failed"]) == (ROWS, done, 0)
        whole = lore("lore-rair", *[word.replace("out.jsonl", "whole.jsonl") for word in words])
        assert whole.code == 0 and (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
