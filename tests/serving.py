"""`lore-tier serve` in a process of its own, over a small shop; used by the tests of the server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands_run import ROOT, lore

PAIRS = ROOT / "examples" / "pairs.jsonl"
LOG = ROOT / "examples" / "log.jsonl"
ROWS = [json.loads(line) for line in PAIRS.read_text("utf-8").splitlines()]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        return self.json["verdicts"]


class Served:
    """A running server. `said()`: its standard error so far."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._lines: list[bytes] = []
        self.port = 0
        self._listening = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._listening.wait(60) or not self.port:
            process.kill()
            raise AssertionError(f"the server did not start: {self.said()}")

    def _read(self) -> None:
        for line in self.process.stderr:
            self._lines.append(line)
            with contextlib.suppress(ValueError, AttributeError):
                self.port = self.port or json.loads(line).get("port", 0)
            if self.port:
                self._listening.set()
        self._listening.set()

    def said(self) -> str:
        return b"".join(self._lines).decode("utf-8", "replace")

    def ask(self, method: str, path: str, body: Any = None, timeout: float = 60, **headers: str) -> Answer:
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            named = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
            connection.request(method, path, content, named)
            reply = connection.getresponse()
            return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def judge(self, query: str, items: list[Any], **headers: str) -> Answer:
        return self.ask("POST", "/v1/judge", {"query": query, "items": items}, **headers)

    def row(self, number: int, **headers: str) -> Answer:
        """An example pair."""
        return self.judge(ROWS[number]["query"], [ROWS[number]["item"]], **headers)

    def raw(self, data: bytes, timeout: float = 20, half_close: bool = True) -> bytes:
        """What comes back for bytes, until the server closes or, where nothing more will be sent (half_close), has answered."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            found = b""
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(65536):
                    found += part
            return found

    def metric(self, name: str) -> float:
        """The value of a metric, labels included in the name; 0 when it was not counted yet."""
        text = self.ask("GET", "/metrics").body.decode()
        return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + " ")), 0.0)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it by SIGTERM; its exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(30)


def make_shop(folder: Path, *options: object, judge: str = "rulebook:", refreshed: bool = True) -> Path:
    """A plan over the example log, with a cache judged by `judge`; the plan's path."""
    plan = folder / "plan.json"
    made = lore("lore-tier", "plan", LOG, "--cache", folder / "cache", *options, "-o", plan, "--force", "--quiet")
    assert made.code == 0, made.err
    if refreshed:
        refresh(folder, judge)
    return plan


def refresh(folder: Path, judge: str, *options: object) -> None:
    """A new generation of the shop's cache."""
    done = lore("lore-tier", "refresh", "--plan", folder / "plan.json", "--pairs", PAIRS, "--judge", judge, "--cache", folder / "cache", "--quiet", *options)
    assert done.code == 0, done.err


@contextlib.contextmanager
def serving(plan: Path, *options: object) -> Iterator[Served]:
    """A server of a plan on a free port; killed at the end if it still runs."""
    command = [sys.executable, str(ROOT / "bin" / "lore-tier"), "serve", "--plan", str(plan), "--port", "0", "--log-json", *map(str, options)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LORE_")} | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    try:
        yield Served(process)
    finally:
        process.kill()
        process.wait()
