"""plan.json, which `lore-tier plan` makes: which queries are head and middle, who answers each tier, and when an answer is too old."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import orjson

from lore_cli.errors import BadInput, Missing
from lore_cli.judges.cached import NORMALISATION, normalise
from lore_cli.stream import read_json

Tier = Literal["head", "middle", "tail"]
TIERS: tuple[Tier, ...] = ("head", "middle", "tail")
PLAN_VERSION = 1


class TierShare(msgspec.Struct, frozen=True):
    """One tier: how many queries, their traffic, its share of all traffic, and the least and greatest count among them."""

    queries: int
    traffic: int
    share: float
    least_count: int | None
    most_count: int | None


class QueryList(msgspec.Struct, frozen=True):
    """A JSONL file of queries beside the plan (`query`, `count`), most frequent first."""

    path: str
    sha256: str


class Plan(msgspec.Struct, frozen=True):
    """plan.json: which queries are head and middle (all others are tail), and who answers each tier.

    Paths in judge URIs are relative to the plan's folder. threshold: student's least top probability. ttl_s: age at which
    `refresh` judges an entry again; expire_s: age at which it is no longer served. hash: over everything else.
    """

    version: int
    normalisation: str
    log: dict[str, int]
    targets: dict[str, float]
    queries: int
    traffic: int
    tiers: dict[str, TierShare]
    head: QueryList
    middle: QueryList
    cache: str | None
    student: str | None
    tail: str | None
    threshold: float
    ttl_s: float
    expire_s: float
    hash: str = ""

    def content_hash(self) -> str:
        """16 hex digits over all fields but `hash`."""
        content = msgspec.to_builtins(msgspec.structs.replace(self, hash=""))
        return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def load_plan(path: str | Path) -> Plan:
    """Read and check a plan. Raises `Missing` for no such file, `BadInput` for one that was edited, is of another version or is malformed."""
    document = read_json(path, "a tier plan")
    again = "make it with lore-tier plan"
    if isinstance(document, dict) and document.get("version") not in (None, PLAN_VERSION):
        raise BadInput(f"version {document['version']}; this version of lore reads {PLAN_VERSION}", where=str(path), hint=again)
    try:
        plan = msgspec.convert(document, Plan)
    except msgspec.ValidationError as error:
        raise BadInput(f"not a tier plan: {error}", where=str(path), hint=again) from error
    if plan.hash != plan.content_hash():
        raise BadInput("was edited after it was made: its hash does not match its content", where=str(path), field="hash", hint="change a plan by lore-tier plan --force")
    if plan.normalisation != NORMALISATION:
        raise BadInput(f"'{plan.normalisation}'; this version of lore normalises by '{NORMALISATION}'", where=str(path), field="normalisation", hint=again)
    return plan


def listed_queries(plan_path: str | Path, listed: QueryList) -> Iterator[tuple[str, int]]:
    """The (normalised query, count) rows of a plan's list. Raises `Missing`, and `BadInput` when the file is not the one the plan was made with."""
    file = Path(plan_path).resolve().parent / listed.path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Missing(f"{file}: {error.strerror}", hint="it belongs to the plan: keep them together, or make the plan again") from error
    if hashlib.sha256(content).hexdigest() != listed.sha256:
        raise BadInput("is not the list the plan was made with", where=str(file), hint="make the plan again")
    for line in content.splitlines():
        row = orjson.loads(line)
        yield row["query"], row["count"]


def beside(plan_path: str | Path, uri: str) -> str:
    """A judge URI of a plan with its path made absolute; a hub id (`hf:ORG/NAME`) that is no folder beside the plan stays."""
    scheme, _, target = uri.partition(":")
    if scheme in ("http", "https", "rulebook") or not target or "://" in target or Path(target).is_absolute():
        return uri
    resolved = Path(os.path.normpath(Path(plan_path).resolve().parent / target))
    if scheme in ("hf", "vllm") and not resolved.exists():
        return uri
    return f"{scheme}:{resolved}"


class Router:
    """Which tier a query belongs to. Memory: about 100 bytes for each head and middle query."""

    def __init__(self, plan_path: str | Path, plan: Plan) -> None:
        self._tiers: dict[str, Tier] = {query: "head" for query, _ in listed_queries(plan_path, plan.head)}
        self._tiers.update((query, "middle") for query, _ in listed_queries(plan_path, plan.middle))

    def tier(self, query: str) -> Tier:
        """`tail` for every query the plan does not list, never seen ones included."""
        return self._tiers.get(normalise(query), "tail")
