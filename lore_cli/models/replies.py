"""The reply cache: what models answered, by content, in one SQLite file that runs share. remembered.py looks there before a model is asked.

A key is a hash of everything that determines a reply: the model's identity, the prompt with the bytes of its picture, and how it is decoded. Texts,
replies that were cut off and label probabilities are kept; what may go better another time (a time-out, a refusal) never is. The file is in WAL mode:
several runs may use it at once. A kill -9 loses no text that had come; of label probabilities it loses those of the window that was being asked. No
pickle: values are text or JSON.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from lore_cli.errors import BadInput, LoreError, Missing
from lore_cli.models import Look

if TYPE_CHECKING:
    import sqlite3

APPLICATION = 0x4C4F5245  # "LORE", in the file's header: tells a reply cache from other databases
VERSION = 1
_PATIENCE_S = 60.0  # for another run's writing
_AT_ONCE = 500  # keys of one statement
_TABLES = """
CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, model TEXT NOT NULL, kind TEXT NOT NULL, value BLOB NOT NULL, written REAL NOT NULL, hits INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS written ON replies (written);
CREATE TABLE IF NOT EXISTS waiting (key TEXT PRIMARY KEY, model TEXT NOT NULL, chat INTEGER NOT NULL, max_new_tokens INTEGER NOT NULL) WITHOUT ROWID;
"""
_TOTALS = "count(*), sum(length(value)), sum(hits), min(written), max(written)"
_OLDEST = "SELECT key FROM (SELECT key, sum(length(value)) OVER (ORDER BY written DESC, key) AS total FROM replies) WHERE total > ?"


class Stored(NamedTuple):
    """One entry. kind: `text`, `cut` (a reply that was not whole) or `row` (label probabilities, JSON)."""

    kind: str
    value: bytes


class Expected(NamedTuple):
    """What a batch file asked for: of which model, at which endpoint, how long a reply."""

    model: str
    chat: bool
    max_new_tokens: int


def reply_key(identity: dict[str, str], prompt: str | Look, **settings: Any) -> str:
    """32 hex digits that stand for one reply. `settings`: how it is decoded; a greedy reply has no seed or draw. Raises `OSError` for a picture that cannot be read."""
    digest = hashlib.blake2b(orjson.dumps([identity, settings], option=orjson.OPT_SORT_KEYS), digest_size=16)
    text, picture = (prompt.text, prompt.image.read_bytes()) if isinstance(prompt, Look) else (prompt, None)
    digest.update(b"\0" + hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest())
    if picture is not None:
        digest.update(hashlib.blake2b(picture).digest())
    return digest.hexdigest()


def draw_keys(identity: dict[str, str], prompt: str | Look, samples: int, temperature: float, max_new_tokens: int, seed: int) -> list[str]:
    """The key of each reply that `TextModel.generate` would give: one for a greedy reply, whatever `samples` says. Empty for a picture that cannot be read."""
    with contextlib.suppress(OSError):  # the model says what is wrong with it
        if temperature == 0:
            return [reply_key(identity, prompt, max_new_tokens=max_new_tokens)]
        return [reply_key(identity, prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, draw=draw) for draw in range(samples)]
    return []


class ReplyStore:
    """The file. It is opened when it is first needed. Raises `Missing` where it cannot be opened or written, `BadInput` for one that is damaged or something else.

    must_exist: `Missing` for a file that is not there, instead of beginning one. found: replies that were found here so far.
    """

    def __init__(self, path: str, *, must_exist: bool = False) -> None:
        self.path, self.found, self._must_exist, self._counts_hits = path, 0, must_exist, True

    def read_only(self) -> ReplyStore | None:
        """The same file for a run that must not change it: hits are not counted there. None where there is no file yet."""
        if not Path(self.path).is_file():
            return None
        store = ReplyStore(self.path, must_exist=True)
        store._counts_hits = False
        return store

    def find(self, keys: Sequence[str]) -> dict[str, Stored]:
        """The entries there are, each counted as a hit."""
        found: dict[str, Stored] = {}
        with _told(self.path), self._database as database:
            for part in _parts(keys):
                marks = ",".join("?" * len(part))
                found |= {key: Stored(kind, value) for key, kind, value in database.execute(f"SELECT key, kind, value FROM replies WHERE key IN ({marks})", part)}
            for part in _parts(list(found)) if self._counts_hits else ():
                database.execute(f"UPDATE replies SET hits = hits + 1 WHERE key IN ({','.join('?' * len(part))})", part)
        self.found += len(found)
        return found

    def add(self, model: str, entries: Iterable[tuple[str, Stored]]) -> None:
        """Keep entries of a model; one that is there already stays."""
        now = time.time()
        rows = [(key, model, entry.kind, entry.value, now) for key, entry in entries]
        if rows:
            with _told(self.path), self._database as database:
                database.executemany("INSERT OR IGNORE INTO replies (key, model, kind, value, written) VALUES (?, ?, ?, ?, ?)", rows)
                database.executemany("DELETE FROM waiting WHERE key = ?", [row[:1] for row in rows])

    def expect(self, model: str, chat: bool, requests: Iterable[tuple[str, int]]) -> None:
        """Remember that (key, max_new_tokens) were written to a batch file, for its results to be known by their keys."""
        with _told(self.path), self._database as database:
            database.executemany("INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?)", [(key, model, chat, most) for key, most in requests])

    def expected(self, key: str) -> Expected | None:
        """What a batch file asked for under this key; None when none did, or its reply has come."""
        with _told(self.path):
            row = self._database.execute("SELECT model, chat, max_new_tokens FROM waiting WHERE key = ?", (key,)).fetchone()
        return None if row is None else Expected(row[0], bool(row[1]), row[2])

    def holds(self, key: str) -> bool:
        """Whether there is an entry; that is no hit."""
        with _told(self.path):
            return self._database.execute("SELECT 1 FROM replies WHERE key = ?", (key,)).fetchone() is not None

    def mean_bytes(self, model: str) -> float | None:
        """The mean length of a model's whole replies in bytes; None without any."""
        with _told(self.path):
            return self._database.execute("SELECT avg(length(value)) FROM replies WHERE model = ? AND kind = 'text'", (model,)).fetchone()[0]

    def stat(self) -> dict[str, Any]:
        """{entries, bytes (of values), file_bytes, hits, waiting, models: [{model, entries, bytes, hits, oldest_s, newest_s}]}; ages in seconds."""
        now = time.time()
        with _told(self.path):
            rows = self._database.execute(f"SELECT model, {_TOTALS} FROM replies GROUP BY model ORDER BY 3 DESC, 1").fetchall()
            waiting, pages, page_bytes = (self._database.execute(text).fetchone()[0] for text in ("SELECT count(*) FROM waiting", "PRAGMA page_count", "PRAGMA page_size"))
        names = ("model", "entries", "bytes", "hits")
        models = [dict(zip(names, row)) | {"oldest_s": round(now - row[4]), "newest_s": round(now - row[5])} for row in rows]
        sums = {name: sum(entry[name] for entry in models) for name in names[1:]}
        return {**sums, "file_bytes": pages * page_bytes, "waiting": waiting, "models": models}

    def clear(self, *, older_than_s: float | None = None, keep_models: Sequence[str] = (), max_bytes: int | None = None) -> int:
        """Remove entries that are older, of other models, and then the oldest until the values fit `max_bytes`; give the space back. How many went."""
        with _told(self.path), self._database as database:
            before = database.total_changes
            if older_than_s is not None:
                database.execute("DELETE FROM replies WHERE written < ?", (time.time() - older_than_s,))
            if keep_models:
                database.execute(f"DELETE FROM replies WHERE model NOT IN ({','.join('?' * len(keep_models))})", list(keep_models))
            if max_bytes is not None:
                database.execute(f"DELETE FROM replies WHERE key IN ({_OLDEST})", (max_bytes,))
            gone = database.total_changes - before
        with _told(self.path):
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every entry in the order of keys: key, model, kind, `text` or `probabilities`, written (seconds since 1970), hits."""
        with _told(self.path):
            for key, model, kind, value, written, hits in self._database.execute("SELECT key, model, kind, value, written, hits FROM replies ORDER BY key"):
                said = {"probabilities": orjson.loads(value)} if kind == "row" else {"text": value.decode("utf-8", "replace")}
                yield {"key": key, "model": model, "kind": kind, **said, "written": written, "hits": hits}

    def close(self) -> None:
        """Let go of the file; it is opened again when needed."""
        if database := self.__dict__.pop("_database", None):
            with _told(self.path):
                database.close()

    def remove(self) -> None:
        """Let go of the file and remove it."""
        self.close()
        for part in ("", "-wal", "-shm"):
            Path(f"{self.path}{part}").unlink(missing_ok=True)

    @functools.cached_property
    def _database(self) -> sqlite3.Connection:
        import sqlite3

        if self._must_exist and not Path(self.path).is_file():
            raise Missing(f"{self.path}: no such reply cache", hint="give the file that --reply-cache named")
        with _told(self.path):
            # not of one thread: http's replies come in a thread of its own, while the one that asked waits for them
            database = sqlite3.connect(self.path, timeout=_PATIENCE_S, check_same_thread=False)
            ours, tables = (database.execute(text).fetchone()[0] for text in ("PRAGMA application_id", "SELECT count(*) FROM sqlite_master"))
            if ours != APPLICATION and tables:
                raise BadInput("is a database, but no reply cache", where=self.path, hint="choose another file")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last replies, never the file
            if not tables:
                database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;")
            if (found := database.execute("PRAGMA user_version").fetchone()[0]) != VERSION:
                raise BadInput(f"is a reply cache of version {found}; this version of lore reads {VERSION}", where=self.path, hint="choose another file")
            return database


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """SQLite's errors in our words."""
    import sqlite3

    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _error(path, error) from error


def _error(path: str, error: sqlite3.DatabaseError) -> LoreError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return BadInput(f"is damaged, or no reply cache ({error})", where=path, hint="move it away: a new one is begun, and its replies are asked for again")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return Missing(f"{path}: cannot be written ({error})", hint="free some space; --resume continues where the command offers it")
    if name.startswith("SQLITE_BUSY"):
        return Missing(f"{path}: another process has kept it locked for {_PATIENCE_S:.0f} s", hint="end that process, or choose another --reply-cache")
    return Missing(f"{path}: {error}", hint="check the path and its permissions")
