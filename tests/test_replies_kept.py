"""What a kill -9 leaves of replies that were paid for: all of them, with a reply cache and without."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

import pytest

pytest.importorskip("httpx")
pytest.importorskip("stamina")

from commands_run import ROOT, lore  # noqa: E402
from expert_server import EXAMPLES, PAIRS, ExpertServer  # noqa: E402

CONCURRENCY, SECONDS = 4, 0.02
ROWS = len(PAIRS.read_bytes().splitlines())
COMMANDS = {
    "lore-rair": ("run", PAIRS, "--structured", "off"),
    "lore-synth": (PAIRS, "--images", EXAMPLES, "--attempts", 2),
}


class Slow(ExpertServer):
    """Takes its time for each reply; `asked_for` counts how often each prompt came."""

    def tell(self, path, body):
        if body is not None:
            time.sleep(SECONDS)
        return super().tell(path, body)

    @property
    def asked_for(self) -> Counter[tuple[str, int]]:
        return Counter((body["messages"][0]["content"], body.get("seed", 0)) for _, body, _ in list(self.asked) if body and body["max_tokens"] > 1)


def killed_and_resumed(command, words, server, output, when):
    """The run is killed when the server has been asked so often, and resumed; what the resumed run said."""
    words = (*words, "--judge", server.uri, "--concurrency", CONCURRENCY, "-o", output)
    process = subprocess.Popen([sys.executable, ROOT / "bin" / command, *map(str, words)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while server.paid < when:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(SECONDS / 4)
    process.kill()
    process.wait()
    assert not output.exists()
    return lore(command, *words, "--resume")


@pytest.mark.parametrize("cached", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_killed_run_pays_twice_for_what_was_in_flight_only(command, cached, tmp_path):
    cache = ("--reply-cache", tmp_path / "replies.sqlite") if cached else ()
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    with Slow() as server:
        first = lore(command, *COMMANDS[command], "--judge", server.uri, "-o", whole)
        wanted, server.asked[:] = server.asked_for, []
        done = killed_and_resumed(command, (*COMMANDS[command], *cache), server, output, when=len(wanted) // 2)
        again = server.asked_for
    assert done.code == first.code and output.read_bytes() == whole.read_bytes(), done.err
    assert set(again) == set(wanted) and sum(again.values()) - sum(wanted.values()) <= CONCURRENCY + 1
    assert "replies from the cache" in done.err
    assert not list(tmp_path.glob("out.jsonl.replies*"))


def test_replies_that_were_left_are_for_resume_alone(tmp_path):
    """--force starts again, and --retry-failed asks anew for what was no good."""
    output = tmp_path / "out.jsonl"
    words = COMMANDS["lore-rair"]
    with Slow() as server:
        assert killed_and_resumed("lore-rair", words, server, output, when=ROWS // 2).code == 5
        asked = server.paid
        assert lore("lore-rair", *words, "--judge", server.uri, "-o", output, "--force").code == 5
        assert server.paid - asked >= ROWS
        left = tmp_path / "out.jsonl.replies"
        left.write_bytes(b"no database")
        done = lore("lore-rair", *words, "--judge", server.uri, "-o", output, "--force", "--quiet")
    assert done.code == 5 and not left.exists(), done.err
