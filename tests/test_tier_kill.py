"""A refresh killed before each of the steps that change its folder: the old generation or the whole new one is served, and the next run finishes."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from lore_cli.tier import cache
from lore_cli.tier import refresh as refreshing
from tier_shop import WordJudge, make_plan, pair, refresh, served

PAIRS = [pair("navy sofa", number) for number in range(40)]
STEPS = ((os, "replace"), (os, "fsync"), (shutil, "rmtree"), (shutil, "copyfile"), (Path, "symlink_to"), (Path, "unlink"), (cache.Builder, "commit"))


def die_before(step: int, work) -> int:
    """Run `work` in a process that is killed before its `step`-th change of the disk; its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    left = step
    try:
        for owner, name in STEPS:
            real = getattr(owner, name)

            def counted(*given, real=real, **named):
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*given, **named)

            setattr(owner, name, counted)
        work()
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_before_every_change_of_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(refreshing, "_COMMIT_EVERY", 10)
    shop = tmp_path / "shop"
    shop.mkdir()
    plan = make_plan(shop, {"navy sofa": 10})
    refresh(shop, plan, PAIRS[:5], WordJudge())
    moments, resumed = 0, 0
    while True:
        folder = tmp_path / str(moments)
        shutil.copytree(shop, folder, symlinks=True)
        status = die_before(moments, lambda folder=folder: refresh(folder, plan, PAIRS, WordJudge(), now=1e9 + 5))
        if os.waitstatus_to_exitcode(status) == 0:
            break
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        assert len(served(folder)) == (5 if cache.served_number(folder / "cache") == 1 else 40)
        judge = WordJudge()
        refresh(folder, plan, PAIRS, judge, now=1e9 + 10)
        assert len(served(folder)) == 40 and cache.unfinished_folders(folder / "cache") == []
        resumed += 0 < len(judge.asked) < 35
        moments += 1
    assert moments >= 10 and resumed >= 2
