"""The ledger of long work: what a kill -9 leaves, `--resume` finishes.

`OUTPUT.ledger` is append-only JSONL. Its first line says what determines the answers (judge, prompt, rulebook, options); a resume
under anything else is refused, naming the difference. Every later line is one outcome, keyed by the row's id and content, so a row
that was edited is done again. A torn last line is cut off. When all rows are done the ledger is removed; when some failed it
stays for `--retry-failed`. Memory: about 200 bytes for each row already done.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from lore_cli.errors import BadInput, UsageError
from lore_cli.files import is_pipe, manifest_path, read_json, refuse_existing
from lore_cli.records import Pair, Trace
from lore_cli.stream import content_key, encode

State = Literal["done", "failed", "rejected"]
_SKIPPED_AT_MOST = 10_000  # recorded outcomes held back while a batch of fresh ones is filled


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one input row: `row` is what goes to the output (done, failed) or to the file of rejected rows."""

    state: State
    row: dict[str, Any]


class Ledger:
    """Maps rows to outcomes in order, remembering them. Without a path (output to a pipe) it only maps."""

    def __init__(self, output: str | None, identity: dict[str, Any], *, resume: bool = False, retry_failed: bool = False, force: bool = False) -> None:
        """Raises `UsageError` when there is nothing to resume to, when the identity differs, or when an output or unfinished ledger is in the way."""
        self.path = None if output is None or is_pipe(output) else Path(f"{output}.ledger")
        self._identity = orjson.loads(orjson.dumps(identity))
        self._retry_failed = retry_failed
        self._done: dict[bytes, int] = {}
        self._file: IO[bytes] | None = None
        self._recorded_any = False
        self.failed = self.reused = 0
        if self.path is None:
            if resume or retry_failed:
                raise UsageError("--resume and --retry-failed need a file", hint="pass --output FILE")
            return
        continuing = resume or retry_failed
        refuse_existing(output, force or continuing)
        if continuing and self.path.exists():
            self._load()
        elif continuing and not self.path.exists() and Path(str(output)).exists() and not force:
            refuse_difference(finished_identity(str(output)), self._identity, str(output))
            self._start()
        elif self.path.exists() and not force:
            raise UsageError(f"{self.path} holds unfinished work", hint="pass --resume to finish it, or --force to start again")
        else:
            self._start()
        self._file = open(self.path, "r+b")

    def map(self, rows: Iterable[Pair | Trace], work: Callable[[Iterator[Any]], Iterator[Outcome]]) -> Iterator[Outcome]:
        """One outcome per row, in order: recorded ones are read back, the others come from `work`, which must keep order and lose nothing."""
        source, exhausted = iter(rows), False
        while not exhausted:
            waiting: deque[int | bytes] = deque()

            def fresh() -> Iterator[Any]:
                nonlocal exhausted
                skipped = 0
                for row in source:
                    key = content_key(row)
                    if key in self._done:
                        waiting.append(self._done[key])
                        skipped += 1
                        if skipped >= _SKIPPED_AT_MOST:
                            return
                        continue
                    waiting.append(key)
                    yield row
                exhausted = True

            for outcome in work(fresh()):
                yield from self._recorded(waiting)
                self._record(waiting.popleft(), outcome)  # type: ignore[arg-type]
                yield outcome
            yield from self._recorded(waiting)
            if waiting:
                raise RuntimeError(f"the judge lost {len(waiting)} row(s)")

    def close(self, complete: bool) -> None:
        """Close; remove the file when the work is complete and nothing failed, and when it holds nothing worth resuming."""
        if self._file is not None and self.path is not None:
            with contextlib.suppress(OSError):  # a disk that is full now was full before: that error is on its way already
                self._file.close()
            if (complete and not self.failed) or not self._recorded_any:
                self.path.unlink()

    def _recorded(self, waiting: deque[int | bytes]) -> Iterator[Outcome]:
        while waiting and isinstance(waiting[0], int):
            assert self._file is not None
            self._file.seek(waiting.popleft())  # type: ignore[arg-type]
            entry = orjson.loads(self._file.readline())
            self.reused += 1
            self.failed += entry["state"] == "failed"
            yield Outcome(entry["state"], entry["row"])

    def _record(self, key: bytes, outcome: Outcome) -> None:
        self.failed += outcome.state == "failed"
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)
            self._file.write(encode({"key": key.hex(), "state": outcome.state, "row": outcome.row}))
            self._file.flush()
            self._recorded_any = True

    def _start(self) -> None:
        assert self.path is not None
        self.path.write_bytes(encode({"ledger": 1, "identity": self._identity}))

    def _load(self) -> None:
        assert self.path is not None
        with open(self.path, "r+b") as file:
            whole = 0
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    self._take(orjson.loads(line), whole)
                except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                    raise BadInput("is damaged: this line is no outcome", where=str(self.path), line=number, hint="pass --force to start again") from error
                whole += len(line)
            file.truncate(whole)
        if whole == 0:
            self._start()

    def _take(self, entry: dict[str, Any], offset: int) -> None:
        if offset == 0:
            refuse_difference(entry["identity"], self._identity, str(self.path))
            return
        self._recorded_any = True
        key = bytes.fromhex(entry["key"])
        if entry["state"] == "failed" and self._retry_failed:
            self._done.pop(key, None)
        else:
            self._done[key] = offset


def refuse_difference(recorded: dict[str, Any], identity: dict[str, Any], where: str) -> None:
    """Raise `UsageError` naming every part of an identity that is not as it was recorded."""
    differing = [name for name in sorted({*recorded, *identity}) if recorded.get(name) != identity.get(name)]
    if differing:
        changes = "; ".join(f"{name}: was {recorded.get(name)!r}, is {identity.get(name)!r}" for name in differing)
        raise UsageError(f"{where} was made under other settings: {changes}", hint="use the same settings to resume, or --force to start again")


def finished_identity(output: str) -> dict[str, Any]:
    """What made an output that is complete, as its manifest tells. Raises `UsageError` without one."""
    manifest = manifest_path(output)
    document = read_json(manifest, "the manifest of the output to resume") if manifest.exists() else None
    if not isinstance(document, dict) or not isinstance(document.get("identity"), dict):
        raise UsageError(f"{output} exists, and no manifest or ledger says what made it", hint="pass --force to replace it, or choose another --output")
    return document["identity"]
