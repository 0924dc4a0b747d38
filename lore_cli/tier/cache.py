"""Writing the head cache: generations built aside, checked, published by an atomic swap, kept and rolled back.

    DIR/refresh.lock            held (flock) by the one refresh that runs; the kernel frees it when that process dies, however it dies
    DIR/unfinished/0008/        a generation being built; what a kill leaves of it, the next refresh takes up
    DIR/generations/0007/       published, read-only from then on
    DIR/current                 symbolic link to the generation served (layout: judges/cached.py)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lore_cli.errors import EXIT_GATE, BadInput, LoreError, Missing, UsageError, require
from lore_cli.files import sync_folder
from lore_cli.judges.cached import Entry, GenerationInfo, Store, open_generation, open_store, read_info
from lore_cli.stream import write_json_atomic

_AT_ONCE = 50_000  # entries written together: sorted, so that each page of the file is written few times
_FIRST_MAP, _LARGEST_MAP = 64 << 20, 1 << 40  # bytes of address space, not of disk: LMDB's file grows as it fills


class Busy(LoreError):
    """Another refresh is at work on the same cache."""

    exit_code = EXIT_GATE


class Builder:
    """Fills one generation. Entries are durable once `commit` returns, also through kill -9."""

    def __init__(self, folder: Path, largest_map: int = _LARGEST_MAP) -> None:
        self._lmdb = require("lmdb", "serve")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._largest, self._waiting = folder, largest_map, {}
        with self._translated():
            self._environment = self._lmdb.open(str(folder / "verdicts.lmdb"), subdir=False, lock=False, map_size=min(_FIRST_MAP, largest_map))

    def put(self, key: bytes, entry: Entry) -> None:
        self._waiting[key] = entry.pack()
        if len(self._waiting) >= _AT_ONCE:
            self.commit()

    def commit(self) -> None:
        """Write what was put; a map that is full is doubled. Raises `LoreError` when the disk, or the largest map allowed, is full."""
        while self._waiting:
            try:
                with self._translated(), self._environment.begin(write=True) as transaction:
                    transaction.cursor().putmulti(sorted(self._waiting.items()))
                self._waiting = {}
            except self._lmdb.MapFullError:
                size = 2 * self._environment.info()["map_size"]
                if size > self._largest:
                    raise LoreError(f"the cache outgrew its map of {size // 2} bytes; the generation served before is served on", hint="give more room, or plan a smaller head") from None
                self._environment.set_mapsize(size)

    def close(self) -> None:
        self._environment.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._lmdb.MapFullError:
            raise
        except (self._lmdb.Error, OSError) as error:
            raise Missing(f"{self.folder}: {error}; the generation served before is served on", hint="free some space and run the refresh again: it goes on where it stopped") from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the cache's lock. Raises `Busy` when another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "refresh.lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise Busy(f"{folder}: another refresh is running (process {holder})", hint="let it finish; nothing was changed") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def generation_numbers(folder: Path) -> list[int]:
    """The numbers of the published generations kept, ascending."""
    return _numbers(folder / "generations")


def served_number(folder: Path) -> int | None:
    """The number of the generation served, or None."""
    link = folder / "current"
    return int(Path(os.readlink(link)).name) if link.is_symlink() else None


def generation_folder(folder: Path, number: int) -> Path:
    return folder / "generations" / f"{number:04d}"


def unfinished_folders(folder: Path) -> list[Path]:
    """What killed refreshes left, newest first."""
    return [folder / "unfinished" / f"{number:04d}" for number in reversed(_numbers(folder / "unfinished"))]


def next_build_folder(folder: Path) -> Path:
    """Where the next generation is built: a name that no published or unfinished one has."""
    number = max([0, *generation_numbers(folder), *_numbers(folder / "unfinished")]) + 1
    return folder / "unfinished" / f"{number:04d}"


def sources(folder: Path) -> tuple[Store | None, list[Store], str]:
    """Where entries that still hold may come from: the generation served, what killed refreshes left, and why the served one cannot be read (or '')."""
    served, problem, number = None, "", served_number(folder)
    if number is not None:
        try:
            served = open_generation(generation_folder(folder, number))[1]
        except (BadInput, Missing) as error:
            problem = error.message
    left = []
    for unfinished in unfinished_folders(folder):
        with contextlib.suppress(BadInput, Missing):  # killed before its first commit: it holds nothing
            left.append(open_store(unfinished / "verdicts.lmdb"))
    return served, left, problem


def publish(folder: Path, build: Path, info: GenerationInfo, keep: int) -> None:
    """Check a finished build, make it the generation served, remove older ones but `keep`.

    The check reads every entry back and compares their number with the description. Raises `BadInput`; then the served one stays.
    """
    write_json_atomic(build / "generation.json", msgspec.to_builtins(info))
    store = Store(build / "verdicts.lmdb")
    found = sum(1 for _ in store.entries())
    del store
    if found != info.entries:
        raise BadInput(f"{found} entries can be read back, {info.entries} were written; not published", where=str(build), hint="run the refresh again")
    target = generation_folder(folder, info.number)
    target.parent.mkdir(exist_ok=True)
    os.replace(build, target)
    sync_folder(target.parent)
    serve(folder, info.number)
    shutil.rmtree(folder / "unfinished", ignore_errors=True)
    for number in generation_numbers(folder)[:-keep]:
        if number != info.number:
            shutil.rmtree(generation_folder(folder, number))


def serve(folder: Path, number: int) -> None:
    """Point `current` at a generation: one rename, so a reader sees the old one or the new one."""
    temporary = folder / ".current"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(Path("generations", f"{number:04d}"))
    os.replace(temporary, folder / "current")
    sync_folder(folder)


def roll_back(folder: Path, to: int | None) -> tuple[int, int]:
    """Serve an earlier generation (by default the one before): (number served before, number served now).

    Raises `Missing` when there is none, `BadInput` when it is damaged, `UsageError` for a number that is not kept.
    """
    with locked(folder):
        served, kept = served_number(folder), generation_numbers(folder)
        if served is None:
            raise Missing(f"{folder}: nothing is published", hint="lore-tier refresh makes the first generation")
        earlier = [number for number in kept if number < served]
        if to is None and not earlier:
            raise Missing(f"{folder}: there is no generation before {served}", hint=f"kept: {', '.join(map(str, kept))}")
        number = earlier[-1] if to is None else to
        if number not in kept:
            raise UsageError(f"generation {number} is not kept", hint=f"kept: {', '.join(map(str, kept))}")
        open_generation(generation_folder(folder, number))
        serve(folder, number)
        return served, number


def infos(folder: Path) -> Iterator[GenerationInfo]:
    """The descriptions of the generations kept, ascending."""
    for number in generation_numbers(folder):
        yield read_info(generation_folder(folder, number))


def _numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())
