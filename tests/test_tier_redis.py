"""One Redis for many hosts: a whole generation, swapped by one key; a Redis that goes away."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time

import pytest

from lore_cli.errors import BadInput, Missing
from lore_cli.judges import JudgeSettings, open_judge, remote
from lore_cli.judges.cached import open_cache
from lore_cli.rulebook import load_rulebook
from lore_cli.tier.publishing import publish_remote
from tier_shop import RULEBOOK, WordJudge, make_plan, pair, refresh, run, served, write_rows

pytest.importorskip("redis", reason="the package redis is not installed: pip install 'lore-cli[serve]'")
if not shutil.which("redis-server"):
    pytest.skip("no redis-server on the PATH: apt-get install redis-server", allow_module_level=True)

PAIRS = [pair("navy sofa", number) for number in range(12)]


@pytest.fixture
def server(tmp_path):
    """(URL, process) of a Redis of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0#shop"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            remote.Remote(url).client.ping()
            break
        except Exception:  # noqa: BLE001  not up yet
            time.sleep(0.05)
    yield url, process
    process.kill()
    process.wait()


@pytest.fixture
def shop(tmp_path):
    plan = make_plan(tmp_path, {"navy sofa": 10})
    refresh(tmp_path, plan, PAIRS[:4], WordJudge(), now=time.time())
    return tmp_path, plan


def test_a_generation_is_served_whole_and_swapped_under_a_reader(shop, server):
    (folder, plan), (url, _) = shop, server
    assert publish_remote(folder / "cache", url, 2) == 1 and publish_remote(folder / "cache", url, 2) is None
    reader = open_cache(url, RULEBOOK)
    assert {(entry.query, entry.item_id): entry for _, entry in reader.store.entries()} == served(folder)
    assert [one.reason for one in reader.look_up(PAIRS[3:5], time.time())] == ["hit", "absent"]
    refresh(folder, plan, PAIRS, WordJudge(), now=time.time())
    assert publish_remote(folder / "cache", url, 2) == 2
    reader.follow()
    assert reader.info.number == 2 and reader.look_up([PAIRS[4]], time.time())[0].reason == "hit"
    refresh(folder, plan, PAIRS[:8], WordJudge(), now=time.time())
    publish_remote(folder / "cache", url, 2)
    assert sorted(reader._remote.client.keys("lore:shop:generation:*")) == [b"lore:shop:generation:2", b"lore:shop:generation:3"]  # noqa: SLF001


def test_a_page_is_one_question_to_redis(shop, server):
    (folder, _), (url, _) = shop, server
    publish_remote(folder / "cache", url, 2)
    reader, redis = open_cache(url, RULEBOOK), remote.Remote(url).client
    redis.config_resetstat()
    assert len(reader.look_up(PAIRS, time.time())) == 12 and reader.look_up([], time.time()) == []
    assert {name: told["calls"] for name, told in redis.info("commandstats").items() if name.startswith("cmdstat_h")} == {"cmdstat_hmget": 1}


def test_a_generation_of_another_format_is_refused(shop, server):
    (folder, _), (url, _) = shop, server
    publish_remote(folder / "cache", url, 2)
    at = remote.Remote(url)
    for description, told in ((b'{"format": 1}', "format 1; this version reads"), (b"{", "not JSON")):
        at.client.set(at.key("info", 1), description)
        with pytest.raises(BadInput, match=told):
            open_cache(url, RULEBOOK)


def test_a_publication_that_stopped_half_way_is_not_served(shop, server):
    (folder, plan), (url, _) = shop, server
    publish_remote(folder / "cache", url, 2)
    refresh(folder, plan, PAIRS, WordJudge(), now=time.time())
    at = remote.Remote(url)
    at.client.hset(at.key("generation", 2), b"half", b"{}")
    assert open_cache(url, RULEBOOK).info.number == 1
    assert publish_remote(folder / "cache", url, 2) == 2 and len(open_cache(url, RULEBOOK).store) == 12


def test_a_redis_that_goes_away_and_comes_back(shop, server, monkeypatch):
    (folder, _), (url, process) = shop, server
    monkeypatch.setattr(remote, "ASK_AGAIN_S", 0.2)
    monkeypatch.setattr(remote, "TIMEOUT_S", 0.2)
    publish_remote(folder / "cache", url, 2)
    reader = open_cache(url, RULEBOOK)
    process.send_signal(signal.SIGSTOP)  # a server that hangs
    began = time.monotonic()
    assert [reader.look_up([PAIRS[0]], time.time())[0].reason for _ in range(50)] == ["unreachable"] * 50
    reader.follow()
    assert time.monotonic() - began < 5
    process.send_signal(signal.SIGCONT)
    time.sleep(0.3)
    assert reader.look_up([PAIRS[0]], time.time())[0].reason == "hit"
    process.kill()
    process.wait()
    with pytest.raises(Missing, match="serves generation 1"):
        publish_remote(folder / "cache", url, 2)
    with pytest.raises(Missing):
        open_cache(url, RULEBOOK)
    assert len(served(folder)) == 4


def test_the_commands(tmp_path, server):
    url, process = server
    log = write_rows(tmp_path / "log.jsonl", [{"query": "navy sofa", "count": 80}])
    pairs = write_rows(tmp_path / "pairs.jsonl", [one.raw for one in PAIRS])
    plan, store = tmp_path / "plan.json", tmp_path / "cache"
    assert run("plan", log, "--cache", url, "--tail", "rulebook:", "-o", plan).returncode == 0
    base = ["refresh", "--plan", plan, "--pairs", pairs, "--judge", "rulebook:", "--cache", store]
    published = run(*base, "--publish", url)
    assert published.returncode == 0 and b"serves generation 1" in published.stderr
    routed = run("route", pairs, "--plan", plan)
    assert routed.returncode == 0 and routed.stdout.count(b'"route":"cache"') == 12, routed.stderr
    assert all(verdict.error is None for verdict in open_judge(f"cache:{url}", JudgeSettings(load_rulebook()))(PAIRS))
    assert run(*base, "--publish", "redis://user:secret@127.0.0.1/0").returncode == 2
    process.kill()
    process.wait()
    write_rows(pairs, [one.raw for one in PAIRS[:9]])
    gone = run(*base, "--publish", url)
    assert gone.returncode == 4 and b"generation 2 published" in gone.stderr and b"serves generation 2" in gone.stderr
    assert len(served(tmp_path)) == 9
