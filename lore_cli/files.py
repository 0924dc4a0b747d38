"""Files that appear whole or not at all: a temporary name beside the target, fsync, rename.

A target whose content would not change is left as it is, mtime included, so that make stays quiet. What a killed run left beside
its output is removed by the next run for the same output. Devices and named pipes (`/dev/stdout`, `>(…)`) are written to directly, like standard output.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from lore_cli.errors import BadInput, Missing, UsageError

OWN_FILES = ("lore.json", "student.json", "card.json", "truth.jsonl")  # what a directory written by a lore command holds

_LEAST_FREE = 1 << 14  # bytes: with less a disk is full before the work begins [ours]


def is_first_process() -> bool:
    """False in all but one process of a run on several GPUs: all compute, one writes. `accelerate launch` and `torchrun` set RANK."""
    return os.environ.get("RANK", "0") == "0"


def process_count() -> int:
    """Of how many processes such a run consists; 1 for any other."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_pipe(path: str | Path | None) -> bool:
    """Whether an output is written as it comes, without publishing: standard output, a device or a named pipe."""
    if path is None or str(path) == "-":
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def refuse_existing(path: str | None, force: bool, *, directory: bool = False) -> None:
    """Raise `UsageError` when an output would overwrite something, before any work is done; check that its folder can be written and has space.

    With force a file may replace a file and a directory one that a lore command wrote; nothing replaces any other directory.
    """
    if path is None or is_pipe(path) or not is_first_process():
        return
    if os.path.isdir(path) and not (directory and (_ours(Path(path)) or not force)):
        raise UsageError(f"{path} is a directory{' that no lore command wrote' if directory else ''}", hint="choose another --output" + ("; --force replaces only our own" if directory else ""))
    if os.path.exists(path) and not force:
        raise UsageError(f"{path} exists", hint="pass --force to replace it, or choose another --output")
    parent = Path(path).resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    if not os.access(parent, os.W_OK):
        raise Missing(f"{parent}: cannot be written", hint="choose another --output")
    if (free := shutil.disk_usage(parent).free) < _LEAST_FREE:
        raise Missing(f"{parent}: {free} bytes free", hint="free some space, or choose another --output")


def _ours(folder: Path) -> bool:
    return not any(folder.iterdir()) or manifest_path(folder).exists() or any((folder / name).exists() for name in OWN_FILES)


def manifest_path(output: str | Path) -> Path:
    """Where the manifest of an output lies: beside it."""
    return Path(f"{str(output).rstrip('/')}.manifest.json")


@contextlib.contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """A folder beside `target` for what is not finished; gone afterwards. What killed runs for the same target left is removed first."""
    named = re.compile(rf"\.lore-(\d+)-\w+-{re.escape(target.name)}")
    for left in target.parent.iterdir():
        found = named.fullmatch(left.name)
        if found and not _alive(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".lore-{os.getpid()}-", suffix=f"-{target.name}"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def publish(temporary: Path, target: Path) -> None:
    """Move a finished file into place; an existing target with the same bytes stays untouched, mtime included."""
    if target.is_file() and filecmp.cmp(temporary, target, shallow=False):
        temporary.unlink()
        return
    with open(temporary, "rb+") as file:
        sync(file)
    os.replace(temporary, target)
    sync_folder(target.resolve().parent)


def write_bytes_atomic(path: str | Path, data: bytes) -> None:
    """Write a small file whole or not at all."""
    target = Path(path)
    if is_pipe(target):
        target.write_bytes(data)
        return
    target.resolve().parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.resolve().parent, prefix=".lore-")
    try:
        os.fchmod(descriptor, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            sync(file)
        publish(Path(name), target)
    finally:
        Path(name).unlink(missing_ok=True)


def write_text_atomic(path: str | Path, text: str) -> None:
    """`write_bytes_atomic` for UTF-8 text."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: str | Path, document: Any) -> None:
    """A JSON document, indented, keys in the order given, ending in a newline."""
    write_bytes_atomic(path, orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))


@contextlib.contextmanager
def output_directory(path: str, *, force: bool = False) -> Iterator[Path]:
    """A temporary directory that becomes `path` when the block ends well; an older one is replaced only then, and only with `force`.

    In the other processes of a run on several GPUs a folder of their own that is thrown away.
    """
    if not is_first_process():
        with tempfile.TemporaryDirectory(prefix=".lore-") as aside:
            yield Path(aside)
        return
    refuse_existing(path, force, directory=True)
    target = Path(path).resolve()
    with workspace(target) as work:
        fresh = work / "new"
        fresh.mkdir()
        yield fresh
        older = work / "old"
        try:
            if target.exists():
                os.replace(target, older)
            os.replace(fresh, target)
        except BaseException:
            if older.exists() and not target.exists():
                os.replace(older, target)
            raise
        sync_folder(target.parent)


def read_json(path: str | Path, what: str) -> Any:
    """A JSON document from disk. Raises `Missing` or `BadInput` naming the file and `what` it should be."""
    try:
        return orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise Missing(f"{what} {path}: {error.strerror}", hint="check the path") from error
    except orjson.JSONDecodeError as error:
        raise BadInput(f"not valid JSON: {error}", where=str(path), hint=f"expected {what}") from error


def sync(file: IO[bytes]) -> None:
    """To the disk, not only to the operating system."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """A rename in `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
