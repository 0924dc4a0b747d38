"""The six commands for tests: the click commands by name, and running one in this process with real file descriptors."""

from __future__ import annotations

import importlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from lore_cli.commands import ending
from lore_cli.commands.verbs import walk

ROOT = Path(__file__).resolve().parent.parent
COMMANDS: dict[str, click.Command] = {f"lore-{name}": importlib.import_module(f"lore_cli.commands.{name}").cli for name in ("synth", "sft", "rl", "rair", "distill", "tier")}


def verbs(command: click.Command) -> dict[str, click.Command]:
    """{as typed: command} of a command's verbs and theirs."""
    return {" ".join(words): verb for words, verb in walk(command) if words}


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[bytes]:
        return self.out.splitlines()


def lore(*typed: object, stdin: bytes = b"", env: dict[str, str] | None = None, stdout: str | None = None) -> Done:
    """`lore("lore-rair", "run", FILE)`: the command as its console script runs it, on descriptors 0, 1 and 2 that are files (`stdout`: on that device)."""
    name, *arguments = " ".join(map(str, typed[:1])).split() + [str(word) for word in typed[1:]]
    with tempfile.TemporaryFile() as given, (open(stdout, "wb", buffering=0) if stdout else tempfile.TemporaryFile()) as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        with _descriptors([given.fileno(), out.fileno(), err.fileno()]), _environment(env or {}):
            code = ending.run(COMMANDS[name], name, arguments)
            sys.stderr.flush()
        err.seek(0)
        said = err.read().decode("utf-8", "replace")
        if stdout:
            return Done(code, b"", said)
        out.seek(0)
        return Done(code, out.read(), said)


@contextmanager
def _descriptors(wanted: Sequence[int]) -> Iterator[None]:
    """Put files in place of descriptors 0 to 2, with fresh Python streams over them."""
    kept_streams = (sys.stdin, sys.stdout, sys.stderr)
    kept = [os.dup(number) for number in range(3)]
    try:
        for number, descriptor in enumerate(wanted):
            os.dup2(descriptor, number)
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8")  # ending.run flushes it, or says why it could not
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(io.FileIO(2, "w", closefd=False)), encoding="utf-8", write_through=True)
        yield
    finally:
        sys.stderr.flush()
        sys.stdin, sys.stdout, sys.stderr = kept_streams
        for number, descriptor in enumerate(kept):
            os.dup2(descriptor, number)
            os.close(descriptor)


@contextmanager
def _environment(extra: dict[str, str]) -> Iterator[None]:
    """Only the LORE_* variables given."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("LORE_")}
    for name in kept:
        del os.environ[name]
    os.environ.update(extra)
    try:
        yield
    finally:
        for name in extra:
            del os.environ[name]
        os.environ.update(kept)
