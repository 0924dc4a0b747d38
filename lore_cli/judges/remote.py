"""`cache:redis://HOST:PORT/DB#NAME`: a cache generation that many hosts read from one Redis.

    lore:NAME:current          number of the generation served; setting it is the swap
    lore:NAME:info:7           generation.json
    lore:NAME:generation:7     hash: key -> Entry, both as in the LMDB file
    lore:NAME:generations      set of the numbers that are there

`lore-tier refresh --publish` writes them. The password is in LORE_REDIS_PASSWORD. When Redis does not answer, look-ups find nothing (`unreachable`) for
some seconds before it is asked again: the student and the model answer meanwhile. The layout is ours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from lore_cli.errors import BadInput, Missing, UsageError, require
from lore_cli.judges.cached import Cache, Entry, Found, GenerationInfo, info_from, unpack
from lore_cli.records import Pair

TIMEOUT_S, ASK_AGAIN_S = 1.0, 5.0
_UNREACHABLE = Found(None, "unreachable")


class Remote:
    """A named cache in a Redis. `failures`: what its client raises when Redis is gone."""

    def __init__(self, url: str) -> None:
        """url: `redis://HOST:PORT/DB#NAME`. Raises `UsageError` when a password is in it, `Missing` for no client package."""
        redis = require("redis", "serve")
        self.url, _, name = url.partition("#")
        if "@" in self.url:
            raise UsageError("the URL of the Redis holds a user or password", hint="give the password by LORE_REDIS_PASSWORD")
        self.prefix, self.failures = f"lore:{name or 'cache'}", (redis.RedisError, OSError)
        try:
            self.client: Any = redis.Redis.from_url(
                self.url, password=os.environ.get("LORE_REDIS_PASSWORD"), socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
            )
        except ValueError as error:
            raise UsageError(f"{self.url}: {error}", hint="write redis://HOST:PORT/DB#NAME") from error

    def key(self, kind: str, number: int | str = "") -> str:
        return f"{self.prefix}:{kind}:{number}" if number != "" else f"{self.prefix}:{kind}"

    def missing(self, error: Exception) -> Missing:
        """What to raise when Redis fails."""
        return Missing(f"{self.url}: {error}", hint="check that Redis runs there and answers")


class RemoteStore:
    """The entries of one generation; the same look-ups as of an LMDB file."""

    def __init__(self, remote: Remote, number: int) -> None:
        self._remote, self._name = remote, remote.key("generation", number)

    def __len__(self) -> int:
        return int(self._remote.client.hlen(self._name))

    def get(self, key: bytes) -> Entry | None:
        """The entry under a key. Raises `BadInput` when its bytes are damaged."""
        value = self._remote.client.hget(self._name, key)
        return None if value is None else self._entry(value)

    def read(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The packed entries under keys, in order; None where there is none. One question to Redis."""
        asked = list(keys)
        return self._remote.client.hmget(self._name, asked) if asked else []

    def entries(self) -> Iterator[tuple[bytes, Entry]]:
        """Every (key, entry), in no order."""
        for key, value in self._remote.client.hscan_iter(self._name, count=1000):
            yield key, self._entry(value)

    def _entry(self, value: bytes) -> Entry:
        try:
            return unpack(value)
        except msgspec.DecodeError as error:
            raise BadInput(f"a damaged entry: {error}", where=self._name, hint="lore-tier rollback --publish serves the generation before it") from error


class RemoteCache(Cache):
    """The published generation in a Redis."""

    def __init__(self, url: str, rulebook_hash: str, expire_s: float | None = None) -> None:
        """Raises `Missing` when Redis does not answer or holds no generation."""
        self._remote = Remote(url)
        self._ask_again = 0.0
        super().__init__(Path(url), rulebook_hash, expire_s)

    def _check_published(self) -> None:
        try:
            if self._remote.client.get(self._remote.key("current")) is None:
                raise Missing(f"{self._remote.url}: no published cache generation", hint="lore-tier refresh … --publish writes one")
        except self._remote.failures as error:
            raise self._remote.missing(error) from error

    def _current(self) -> str:
        return self._remote.client.get(self._remote.key("current")).decode()

    def _open(self, served: str) -> tuple[GenerationInfo, Any]:
        content = self._remote.client.get(self._remote.key("info", served))
        if content is None:
            raise Missing(f"{self._remote.url}: generation {served} is not there", hint="publish again")
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise BadInput(f"not JSON: {error}", where=self._remote.key("info", served), hint="publish again") from error
        return info_from(document, self._remote.key("info", served)), RemoteStore(self._remote, int(served))

    def follow(self) -> None:
        """Serve the generation that is published now; while Redis does not answer, the one known."""
        if time.monotonic() < self._ask_again:
            return
        try:
            super().follow()
        except self._remote.failures as error:
            if not self._served:
                raise self._remote.missing(error) from error
            self._failed()

    def look_up(self, pairs: Sequence[Pair], now: float) -> list[Found]:
        """As of a folder; `unreachable` while Redis does not answer."""
        if time.monotonic() >= self._ask_again:
            try:
                return super().look_up(pairs, now)
            except self._remote.failures:
                self._failed()
        return [_UNREACHABLE] * len(pairs)

    def _failed(self) -> None:
        self._ask_again = time.monotonic() + ASK_AGAIN_S
