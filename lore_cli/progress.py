"""Progress on stderr: a live line on a terminal, one plain line every 30 seconds elsewhere, JSON lines with `--log-json`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import orjson

from lore_cli.files import is_first_process

Row = TypeVar("Row")


class Log:
    """What a command says while it works. Data never comes this way; stdout is never touched."""

    def __init__(self, command: str, *, quiet: bool = False, json: bool = False) -> None:
        self.command, self.quiet, self.json = command, quiet or not is_first_process(), json
        self._live = not self.quiet and not json and sys.stderr.isatty()
        self._shown = False  # a live line stands on the terminal
        self._last = time.monotonic()

    def say(self, message: str, **fields: Any) -> None:
        """One line for the reader; `fields` are added in the JSON form."""
        if self.quiet:
            return
        self._clear()
        if self.json:
            sys.stderr.buffer.write(orjson.dumps({"command": self.command, "message": message, **fields}, default=str) + b"\n")
        else:
            print(f"{self.command}: {message}", file=sys.stderr)
        sys.stderr.flush()

    def beat(self, message: str, **fields: Any) -> None:
        """Where long work stands. May be called as often as one likes: a live line on a terminal, elsewhere one line in 30 seconds."""
        if not self.quiet and self._due():
            self._tell(message, **fields)

    def track(self, rows: Iterable[Row], what: str = "rows", total: int | None = None) -> Iterator[Row]:
        """Pass rows through, telling how many and how fast."""
        started = self._last = time.monotonic()
        count = 0
        of = f"/{total}" if total else ""
        for row in rows:
            yield row
            count += 1
            if not self.quiet and self._due():
                rate = count / (time.monotonic() - started)
                self._tell(f"{count}{of} {what}, {rate:.0f}/s", rows=count, per_second=round(rate, 1))
        self._clear()

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < (0.2 if self._live else 30.0):
            return False
        self._last = now
        return True

    def _tell(self, message: str, **fields: Any) -> None:
        if self._live:
            print(f"\r\033[K{self.command}: {message}", end="", file=sys.stderr, flush=True)
            self._shown = True
        else:
            self.say(message, **fields)

    def _clear(self) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._shown = False
