"""Whether a refresh has anything to do, told from what the last complete one left in `DIR/last.json`: for crons that run often."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from lore_cli.files import write_json_atomic
from lore_cli.manifest import sha256_of
from lore_cli.tier.cache import served_number
from lore_cli.tier.refresh import Policy, Summary


class Last(msgspec.Struct, frozen=True):
    """inputs: a hash of everything a refresh was made from. generation: what it left served. due: when the first entry is due (seconds since 1970)."""

    inputs: str
    generation: int
    due: float


def inputs_hash(plan_hash: str, rulebook_hash: str, judge: str, options: Mapping[str, Any], files: Sequence[str]) -> str:
    """16 hex digits over plan, rulebook, the judge's URI, how it is asked, its model where that lies on this machine, and the files it all reads.

    A model behind http: is known by its URI alone.
    """
    model = judge.partition(":")[2]
    content = [plan_hash, rulebook_hash, judge, dict(options), sha256_of(model) if model else None, [sha256_of(file) for file in files]]
    return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def unchanged(folder: Path, inputs: str, now: float | None = None) -> bool:
    """Whether the last refresh was made from these inputs, is still the one served, and nothing of it is due."""
    try:
        last = msgspec.json.decode((folder / "last.json").read_bytes(), type=Last)
    except (OSError, msgspec.DecodeError):
        return False
    return last.inputs == inputs and last.generation == served_number(folder) and (time.time() if now is None else now) < last.due


def remember(folder: Path, inputs: str, summary: Summary, policy: Policy, now: float | None = None) -> None:
    """Keep what a refresh came to; nothing when it left something to do."""
    generation = served_number(folder)
    if summary.refused or summary.failed or summary.postponed or generation is None:
        (folder / "last.json").unlink(missing_ok=True)
        return
    at = time.time() if now is None else now
    oldest = at if summary.oldest is None else min(at, summary.oldest)
    write_json_atomic(folder / "last.json", msgspec.to_builtins(Last(inputs, generation, oldest + policy.ttl_s)))
