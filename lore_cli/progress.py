"""Progress on stderr: a live line on a terminal, one plain line every 30 seconds elsewhere, JSON lines with `--log-json`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import orjson

Row = TypeVar("Row")


class Log:
    """What a command says while it works. Data never comes this way; stdout is never touched."""

    def __init__(self, command: str, *, quiet: bool = False, json: bool = False) -> None:
        self.command, self.quiet, self.json = command, quiet, json
        self._live = not quiet and not json and sys.stderr.isatty()

    def say(self, message: str, **fields: Any) -> None:
        """One line for the reader; `fields` are added in the JSON form."""
        if self.quiet:
            return
        if self.json:
            sys.stderr.buffer.write(orjson.dumps({"command": self.command, "message": message, **fields}, default=str) + b"\n")
        else:
            print(f"{self.command}: {message}", file=sys.stderr)
        sys.stderr.flush()

    def track(self, rows: Iterable[Row], what: str = "rows", total: int | None = None) -> Iterator[Row]:
        """Pass rows through, telling how many and how fast."""
        started = last = time.monotonic()
        count = 0
        every = 0.2 if self._live else 30.0
        for row in rows:
            yield row
            count += 1
            now = time.monotonic()
            if not self.quiet and now - last >= every:
                last = now
                rate = count / (now - started)
                of = f"/{total}" if total else ""
                if self._live:
                    print(f"\r\033[K{self.command}: {count}{of} {what}, {rate:.0f}/s", end="", file=sys.stderr, flush=True)
                else:
                    self.say(f"{count}{of} {what}, {rate:.0f}/s", rows=count, per_second=round(rate, 1))
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
