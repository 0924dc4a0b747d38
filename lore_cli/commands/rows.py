"""Where a command's rows come from, and where they go."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lore_cli import errors, stream
from lore_cli.progress import Log
from lore_cli.records import AnyRecord

_PEEKED = 100  # rows that are read and checked before anything is loaded or paid for


@dataclass(frozen=True)
class Inputs:
    """Where rows come from. `read(kind)` yields checked records; bad rows go by `on_bad`."""

    sources: tuple[str, ...]
    limit: int | None
    on_bad: str
    rejects: stream.Rejects
    sample: int | None = None
    begun: Iterator[Any] | None = None

    def peek(self, kind: type[AnyRecord], *, needs: Sequence[str] = ()) -> tuple[Inputs, list[AnyRecord]]:
        """The first rows, checked, before anything is loaded or paid for; and the inputs that `read` them again, from a pipe too."""
        rows = self.read(kind, needs=needs)
        first = list(itertools.islice(rows, _PEEKED))
        return replace(self, begun=itertools.chain(first, rows)), first

    def read(self, kind: type[AnyRecord], *, unique: bool = True, needs: Sequence[str] = ()) -> Iterator[AnyRecord]:
        """The records; `needs` names optional fields that this command cannot do without."""
        if self.begun is not None:
            yield from self.begun
            return
        self.rejects.start()
        rows = stream.read(kind, self.sources, on_bad=self.on_bad, rejects=self.rejects, limit=self.limit, unique=unique, needs=needs)
        yield from rows if self.sample is None else stream.sample(rows, self.sample)
        self.rejects.close()

    def refuse(self, problem: errors.BadInput, text: bytes) -> None:
        """Set something bad aside as it was read; raise the problem unless bad rows are skipped."""
        self.rejects.add(problem, text)
        if self.on_bad != "skip":
            raise problem

    @property
    def exit_code(self) -> int:
        """Done, or done in part where bad rows were skipped."""
        return errors.EXIT_PARTIAL if self.rejects.count else errors.EXIT_DONE

    def end(self, log: Log) -> int:
        """Say how many bad rows were skipped, if any; the exit code."""
        if self.rejects.count:
            log.say(f"{self.rejects.count} bad rows skipped", bad_rows=self.rejects.count)
        return self.exit_code

    @property
    def folder(self) -> Path:
        """What relative paths in the rows (images) are relative to: the first file's folder, the working directory for a pipe."""
        first = self.sources[0] if self.sources else "-"
        return Path.cwd() if first == "-" else Path(first).resolve().parent


@dataclass(frozen=True)
class Output:
    """Where rows go."""

    path: str | None
    format: str | None
    force: bool
    resume: bool = False
    retry_failed: bool = False

    @property
    def replaces(self) -> bool:
        """Whether what is there may be written over."""
        return self.force or self.resume or self.retry_failed

    def open(self) -> Any:
        return stream.open_output(self.path, format=self.format, force=self.replaces)
