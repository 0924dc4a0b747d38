"""`cache:DIR`: verdicts judged ahead of time, looked up by query and item (`cache:redis://…`: remote.py).

    DIR/current -> generations/0007          the generation served; swapped by an atomic rename
    DIR/generations/0007/verdicts.lmdb       128-bit hash of the normalised query, item id -> Entry: what a page asks for lies side by side
    DIR/generations/0007/generation.json     what made it, how many entries

A generation never changes once published, so a reader needs no lock and a writer never disturbs one. The layout, the keys and
the rule of when an entry is stale are ours; LORE says only that head pairs are judged offline and cached.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
import unicodedata
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import orjson

from lore_cli.errors import BadInput, Missing, require
from lore_cli.judges import JudgeSettings
from lore_cli.records import Item, Pair, Verdict, parse
from lore_cli.stream import chunks, read_json

NORMALISATION = "nfkc-casefold-space"
FORMAT = 2
_LONGEST_ID = 64  # bytes of an item's id in a key; LMDB allows 511 for a key
_QUERIES = 4096  # whose part of the key is kept in memory: a page asks for one query's items, and shoppers for the same queries
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"), " ")
_item_content = msgspec.json.Encoder(order="deterministic").encode
_FREED_BY_PAIR = ("id", "query", "item_id", "judge", "latency_ms", "tier")

Reason = Literal["hit", "absent", "expired", "item changed", "rulebook changed", "damaged", "unreachable"]


def normalise(query: str) -> str:
    """A query as the log, the cache and the router compare it: NFKC, case folded, every run of white space one space.

    Works in every script: full-width Latin becomes ASCII, `STRASSE` meets `straße`, U+2028 is a space. Idempotent.

    >>> normalise("  Ｎavy  STRASSE\\u2028Chair ") == normalise("navy straße chair")
    True
    """
    if query.isascii():  # most queries: the same, ten times faster
        return " ".join(query.lower().split())
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", unicodedata.normalize("NFD", query).casefold()).casefold())
    return " ".join(text.translate(_INVISIBLE).split())


def key_of(query: str, item_id: str) -> bytes:
    """The key of a pair, whichever way its query is spelt: 16 bytes for the query, then the item's id, or 32 bytes that stand for a long one."""
    item = item_id.encode("utf-8", "surrogatepass")
    return _query_key(query) + (item if len(item) <= _LONGEST_ID else hashlib.blake2b(item, digest_size=32).digest())


@functools.lru_cache(_QUERIES)
def _query_key(query: str) -> bytes:
    return hashlib.blake2b(normalise(query).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def item_hash(item: Item) -> str:
    """16 hex digits over what a judge can read of an item, price and caption included; a shop's own extra fields are not.

    A picture counts by its path: replace a photo under a new name, or its cached verdicts stay.
    """
    return hashlib.blake2b(_item_content(item), digest_size=8).hexdigest()


def own_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a judge's answers apart from the rulebook, which an entry keeps by itself.

    >>> own_identity({"model": "m", "rulebook": "1", "student.rulebook": "1"})
    {'model': 'm'}
    """
    return {name: value for name, value in identity.items() if name.rpartition(".")[2] != "rulebook"}


def judge_hash(identity: Mapping[str, Any]) -> str:
    """16 hex digits over `own_identity`."""
    return hashlib.blake2b(orjson.dumps(own_identity(identity), option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A cached verdict and what it rests on; on disk a JSON array. `judged_at`: seconds since 1970. `item`, `judge`, `rulebook`: content hashes at that time."""

    query: str
    item_id: str
    verdict: dict[str, Any]
    item: str
    judge: str
    rulebook: str
    judged_at: int

    def pack(self) -> bytes:
        return msgspec.json.encode(self)

    def age_s(self, now: float) -> float:
        """Seconds since it was judged; 0 when the clock was set back since."""
        return now - self.judged_at if now > self.judged_at else 0.0

    def stale(self, item: str, rulebook: str, now: float, expire_s: float | None) -> Reason:
        """Why this entry must not be used, or `hit`."""
        if self.item != item:
            return "item changed"
        if self.rulebook != rulebook:
            return "rulebook changed"
        if expire_s is not None and self.age_s(now) > expire_s:
            return "expired"
        return "hit"


def entry_of(verdict: Verdict, query: str, item: str, identity: str, rulebook: str, now: float) -> Entry:
    """The entry that remembers a verdict; what belongs to the one request (its id, its latency) is dropped."""
    row = {**msgspec.to_builtins(verdict), "judge": verdict.judge}
    cached = {name: value for name, value in row.items() if name not in _FREED_BY_PAIR} | {"cached_from": verdict.judge}
    return Entry(query, verdict.item_id, cached, item, identity, rulebook, int(now))


class GenerationInfo(msgspec.Struct, frozen=True):
    """generation.json: what a generation holds and what made it. postponed: pairs that were due, and for which the refresh had no budget left."""

    format: int
    number: int
    entries: int
    plan: str
    rulebook: str
    judge: dict[str, Any]
    expire_s: float | None
    created: int
    judged: int
    kept: int
    failed: int = 0
    postponed: int = 0


unpack = msgspec.json.Decoder(Entry).decode  # raises msgspec.DecodeError for what is no packed Entry


class Store:
    """Read access to one LMDB file of entries. Close it, or let it go: LMDB allows one opening of a file in a process, so `open_store` shares them."""

    def __init__(self, file: Path) -> None:
        lmdb = require("lmdb", "serve")
        try:
            self._environment = lmdb.open(str(file), subdir=False, readonly=True, lock=False, create=False, readahead=False)
            self._transaction = self._environment.begin()
            self._get = self._transaction.get
        except lmdb.Error as error:
            raise BadInput(f"not a readable cache file: {error}", where=str(file), hint="lore-tier rollback serves the generation before it") from error
        self.file = file

    def __len__(self) -> int:
        return int(self._environment.stat()["entries"])

    def read(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The packed entries under keys, in order; None where there is none."""
        return list(map(self._get, keys))

    def get(self, key: bytes) -> Entry | None:
        """The entry under a key. Raises `BadInput` when its bytes are damaged."""
        value = self._get(key)
        return None if value is None else self._entry(value)

    def entries(self) -> Iterator[tuple[bytes, Entry]]:
        """Every (key, entry), in key order."""
        for key, value in self._transaction.cursor():
            yield key, self._entry(value)

    def _entry(self, value: bytes) -> Entry:
        try:
            return unpack(value)
        except msgspec.DecodeError as error:
            raise BadInput(f"a damaged entry: {error}", where=str(self.file), hint="lore-tier rollback serves the generation before it") from error


_shared: weakref.WeakValueDictionary[tuple[int, int], Store] = weakref.WeakValueDictionary()


def open_store(file: Path) -> Store:
    """The store of a file, shared with whoever holds it open in this process. Raises `Missing` and `BadInput`."""
    try:
        status = file.stat()
    except OSError as error:
        raise Missing(f"{file}: {error.strerror}", hint="lore-tier status shows the generations") from error
    identity = (status.st_dev, status.st_ino)
    store = _shared.get(identity)
    if store is None:
        store = _shared[identity] = Store(file)
    return store


def read_info(folder: Path) -> GenerationInfo:
    """What a generation's folder says of itself. Raises `Missing` and `BadInput`."""
    return info_from(read_json(folder / "generation.json", "the description of a cache generation"), str(folder))


def info_from(document: Any, where: str) -> GenerationInfo:
    """A generation's description, checked. Raises `BadInput` when it is malformed, or of another format than this version reads."""
    if isinstance(document, dict) and document.get("format") not in (None, FORMAT):
        raise BadInput(f"format {document['format']}; this version reads format {FORMAT}", where=where, hint="refresh the cache with this version")
    try:
        return msgspec.convert(document, GenerationInfo)
    except msgspec.ValidationError as error:
        raise BadInput(str(error), where=f"{where}/generation.json", hint="lore-tier rollback serves the generation before it") from error


def open_generation(folder: Path) -> tuple[GenerationInfo, Store]:
    """A generation checked against its own description. Raises `Missing` and `BadInput`."""
    info, store = read_info(folder), open_store(folder / "verdicts.lmdb")
    if len(store) != info.entries:
        raise BadInput(f"holds {len(store)} entries, its description says {info.entries}", where=str(folder), hint="lore-tier rollback serves the generation before it")
    return info, store


class Found(msgspec.Struct, frozen=True, gc=False):
    """What a look-up found: `entry` only when it may be used; `reason` says why not; `age_s` of what was there."""

    entry: Entry | None
    reason: Reason
    age_s: float | None = None


_ABSENT = Found(None, "absent")


class Cache:
    """The published generation of a cache folder; `follow()` moves to a newer one without dropping a request."""

    def __init__(self, folder: str | Path, rulebook_hash: str, expire_s: float | None = None) -> None:
        """expire_s: oldest age served; by default what the generation says. Raises `Missing` when nothing is published, `BadInput` when it is damaged."""
        self.folder = Path(folder)
        self._rulebook, self._asked_expire_s = rulebook_hash, expire_s
        self._served = self._refused = self.problem = ""
        self._check_published()
        self.follow()

    def follow(self) -> None:
        """Serve the generation that is published now. One that is damaged is not: the one before is served on, and `problem` says so."""
        served = self._current()
        if served == self._served:
            self._refused = self.problem = ""
        if served in (self._served, self._refused):
            return
        try:
            self.info, self.store = self._open(served)
        except (BadInput, Missing) as error:
            if not self._served:
                raise
            self._refused, self.problem = served, str(error)
            return
        self._served, self.problem = served, ""
        self.expire_s = self._asked_expire_s if self._asked_expire_s is not None else self.info.expire_s

    def _check_published(self) -> None:
        if not (self.folder / "current").is_symlink():
            raise Missing(f"{self.folder}: no published cache generation", hint=f"lore-tier refresh --plan PLAN --pairs FILE --judge URI --cache {self.folder}")

    def _current(self) -> str:
        return os.readlink(self.folder / "current")

    def _open(self, served: str) -> tuple[GenerationInfo, Any]:
        return open_generation(self.folder / served)

    def look_up(self, pairs: Sequence[Pair], now: float) -> list[Found]:
        """For each pair, in order, the entry that is there and still holds, or why there is none. Quickest for pairs of one query together."""
        values = self.store.read([key_of(pair.query, pair.item.id) for pair in pairs])
        return [_ABSENT if value is None else self._held(value, pair, now) for value, pair in zip(values, pairs, strict=True)]

    def _held(self, value: bytes, pair: Pair, now: float) -> Found:
        try:
            entry = unpack(value)
        except msgspec.DecodeError:
            return Found(None, "damaged")
        reason = entry.stale(item_hash(pair.item), self._rulebook, now, self.expire_s)
        return Found(entry if reason == "hit" else None, reason, entry.age_s(now))


def open_cache(target: str, rulebook_hash: str, expire_s: float | None = None) -> Cache:
    """The cache of a folder, or of a Redis (`redis://HOST:PORT/DB#NAME`). Raises as they do."""
    if "://" not in target:
        return Cache(target, rulebook_hash, expire_s)
    from lore_cli.judges.remote import RemoteCache  # it builds on this module

    return RemoteCache(target, rulebook_hash, expire_s)


def answer_of(entry: Entry, pair: Pair, judge: str, samples: int) -> dict[str, Any]:
    """The row of the verdict that answers `pair` from an entry; every one of the `samples` asked for has its grade."""
    row = {"id": pair.id, "query": pair.query, "item_id": pair.item.id, "judge": judge, **entry.verdict}
    if samples:
        row["samples"] = [row.get("grade")] * samples
    return row


@dataclass
class CachedJudge:
    """Answers from the cache alone: what is not there, or no longer holds, is a verdict with `error`."""

    cache: Cache
    samples: int
    window: int
    name: str

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        for window in chunks(pairs, self.window):
            started = time.perf_counter()
            found = self.cache.look_up(window, time.time())
            latency_ms = (time.perf_counter() - started) * 1000 / len(window)
            for one, pair in zip(found, window, strict=True):
                yield parse(Verdict, self._row(one, pair) | {"latency_ms": latency_ms})

    def _row(self, found: Found, pair: Pair) -> dict[str, Any]:
        if found.entry is not None:
            return answer_of(found.entry, pair, self.name, self.samples)
        error = "not in cache" if found.reason == "absent" else f"not in cache: {found.reason}"
        return {"id": pair.id, "query": pair.query, "item_id": pair.item.id, "judge": self.name, "error": error}

    def identity(self) -> dict[str, str]:
        info = self.cache.info
        return {"judge": "cache", "generation": f"{info.number}", "plan": info.plan, "rulebook": info.rulebook, "model": judge_hash(info.judge)}


def open(target: str, settings: JudgeSettings) -> CachedJudge:
    """The judge over a cache folder or a Redis."""
    return CachedJudge(open_cache(target, settings.rulebook.hash), settings.samples, settings.batch_size, f"cache:{target}")
