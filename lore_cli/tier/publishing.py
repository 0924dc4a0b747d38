"""A generation to a Redis that many hosts read (layout: judges/remote.py): written aside, counted, then served by setting one key."""

from __future__ import annotations

import itertools
from pathlib import Path

from lore_cli.errors import Missing
from lore_cli.judges.cached import open_generation
from lore_cli.judges.remote import Remote
from lore_cli.stream import chunks
from lore_cli.tier.cache import generation_folder, served_number

_AT_ONCE = 1_000


def publish_remote(folder: Path, url: str, keep: int) -> int | None:
    """Serve from Redis what `folder` serves: the number of the generation written, None when it was served there already.

    Killed on the way, Redis serves the generation before. Raises `Missing` when Redis is gone or takes no more; the folder is served on.
    """
    number = served_number(folder)
    if number is None:
        raise Missing(f"{folder}: nothing is published", hint="lore-tier refresh makes the first generation")
    place = generation_folder(folder, number)
    info, store = open_generation(place)
    description = (place / "generation.json").read_bytes()
    remote = Remote(url)
    redis, name = remote.client, remote.key("generation", number)
    try:
        there = redis.get(remote.key("info", number)) == description and redis.hlen(name) == info.entries
        if there and redis.get(remote.key("current")) == str(number).encode():
            return None
        if not there:
            redis.delete(remote.key("info", number))
            redis.unlink(name)
            for some in chunks(store.entries(), _AT_ONCE):
                redis.hset(name, mapping={key: entry.pack() for key, entry in some})
            if redis.hlen(name) != info.entries:
                raise Missing(f"{remote.url}: holds {redis.hlen(name)} of {info.entries} entries; the generation before is served on", hint="publish again")
            redis.set(remote.key("info", number), description)
        redis.sadd(remote.key("generations"), number)
        redis.set(remote.key("current"), number)
        _prune(remote, number, keep)
    except remote.failures as error:
        raise Missing(
            f"{remote.url}: {error}; {folder} serves generation {number}, Redis what it served before",
            hint="run the refresh again: it publishes what Redis lacks",
        ) from error
    return number


def _prune(remote: Remote, served: int, keep: int) -> None:
    """Remove the oldest generations but `keep`, never the one served."""
    numbers = sorted(int(number) for number in remote.client.smembers(remote.key("generations")))
    for number in itertools.filterfalse(lambda number: number == served, numbers[:-keep]):
        remote.client.unlink(remote.key("generation", number), remote.key("info", number))
        remote.client.srem(remote.key("generations"), number)
