"""The benchmark directory: subset files, the rulebook, and a card that says what was taken, from where, and how."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from lore_cli import __version__, stream
from lore_cli.errors import UsageError
from lore_cli.images import Relocation
from lore_cli.manifest import sha256_of
from lore_cli.path.disjoint import KnownPairs, query_key
from lore_cli.path.knowledge import Glossary
from lore_cli.rair.build import SUBSETS, Chosen, Policy, grades_of
from lore_cli.rair.criteria import PAIR_CRITERIA, QUERY_CRITERIA
from lore_cli.records import Pair, QueryCount, parse, row_of
from lore_cli.rulebook import DEFAULT, Rulebook

KIND = "rair-benchmark"


@dataclass
class Aside:
    """The pairs that are not held out, on disk: they may be millions. `rows` gives them back."""

    file: IO[bytes] = field(default_factory=lambda: tempfile.TemporaryFile())
    count: int = 0

    def put(self, pair: Pair) -> None:
        self.file.write(orjson.dumps(row_of(pair)) + b"\n")
        self.count += 1

    def pairs(self, at_most: int | None = None) -> Iterator[Pair]:
        """The pairs again, evenly thinned to `at_most`."""
        step = 1 if at_most is None else -(-self.count // at_most) or 1
        self.file.seek(0)
        for number, line in enumerate(self.file):
            if number % step == 0:
                yield parse(Pair, orjson.loads(line))


@dataclass
class Rest:
    """What was written for training: rows, and how many were left out because the benchmark has their query. near_items: its items that are nearly one of the benchmark."""

    rows: int = 0
    queries: set[str] = field(default_factory=set)
    left_out: int = 0
    items: set[str] = field(default_factory=set)
    near_items: int = 0


def uncontaminated(held: Iterable[Pair], trained: KnownPairs | None) -> tuple[list[Pair], dict[str, int]]:
    """The held-out pairs that training elsewhere does not know, and how many it does, by what it shares with them: the `query` or the `item`."""
    kept, shared = [], {"query": 0, "item": 0}
    for pair in held:
        found = trained.holds(pair) if trained is not None else None
        if found is None:
            kept.append(pair)
        else:
            shared[found[0]] += 1
    return kept, shared


def write_rest(aside: Aside, held: Iterable[Pair], chosen: Chosen, writer: stream.Writer | None, moved: Relocation) -> Rest:
    """Write the training rows whose query is not held out. Query-disjointness is by `query_key`, and checked on what was written; items are compared with the chosen ones."""
    closed = {query_key(pair.query) for pair in held}
    benchmark = KnownPairs(row.pair for rows in chosen.subsets.values() for row in rows)
    rest = Rest()
    for pair in aside.pairs():
        key = query_key(pair.query)
        if key in closed:
            rest.left_out += 1
            continue
        rest.rows += 1
        rest.queries.add(key)
        if pair.item.id not in rest.items:
            rest.items.add(pair.item.id)
            rest.near_items += benchmark.holds(pair) is not None  # of its item: its query is not there
        if writer is not None:
            writer.write(moved.row(row_of(pair)))
    if rest.queries & closed:
        raise RuntimeError("training and benchmark share a query")
    return rest


def asked_counts(paths: Sequence[str]) -> dict[str, int]:
    """Requests per normalised query in query logs."""
    counts: dict[str, int] = {}
    for entry in stream.read(QueryCount, paths) if paths else ():
        key = query_key(entry.query)
        counts[key] = counts.get(key, 0) + entry.count
    return counts


def write_bench(folder: Path, chosen: Chosen, rulebook_path: str | None, moved: Relocation) -> dict[str, str]:
    """Write the subset files, all.jsonl and the rulebook into `folder`; returns sha256 by file name."""
    files = {name: folder / f"{name}.jsonl" for name in (*SUBSETS, "all")}
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(open(path, "wb")) for name, path in files.items()}
        for subset in SUBSETS:
            for held in chosen.subsets[subset]:
                row = moved.row(row_of(held.pair)) | {"subset": subset, "criteria": sorted(held.criteria)}
                line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
                writers[subset].write(line)
                writers["all"].write(line)
    shutil.copyfile(rulebook_path or DEFAULT, folder / "rulebook.toml")
    return {path.name: sha256_of(path) or "" for path in (*files.values(), folder / "rulebook.toml")}


def card(
    chosen: Chosen, policy: Policy, rest: Rest, held: int, elsewhere: dict[str, Any] | None, sources: Sequence[str], rulebook: Rulebook, glossary: Glossary, files: dict[str, str],
    licence: str | None,
) -> dict[str, Any]:  # fmt: skip
    """card.json: enough to build the same benchmark again and to tell whether a file was edited. No paths, no time. elsewhere: what other training files took from it."""
    items = {row.pair.item.id for rows in chosen.subsets.values() for row in rows}
    subsets = {}
    for name in SUBSETS:
        rows = chosen.subsets[name]
        subsets[name] = {"asked": policy.sizes[name], "pairs": len(rows), "queries": len({row.key for row in rows}), "grades": grades_of(rows)}
        if name in chosen.notes:
            subsets[name]["note"] = chosen.notes[name]
    subsets["general"]["categories"] = len(chosen.categories)
    texts = QUERY_CRITERIA | PAIR_CRITERIA
    criteria = {name: {"text": texts[name], **covered} for name, covered in chosen.criteria.items()}
    if "baseline" in chosen.notes:
        criteria["baseline"]["note"] = chosen.notes["baseline"]
    return {
        "kind": KIND,
        "version": 1,
        "lore": __version__,
        "licence": licence or "not stated",
        "seed": policy.seed,
        "held_out": {"by": {"where": [f"{name}={value}" for name, value in policy.where]} if policy.where else {"share_of_queries": policy.share}, "graded_pairs": held},
        "per_query": policy.per_query,
        "subsets": subsets,
        "criteria": criteria,
        "training": {"pairs": rest.rows, "queries": len(rest.queries), "left_out_for_a_shared_query": rest.left_out, "shared_queries": 0, "shared_items": len(rest.items & items), "near_items": rest.near_items},
        "trained_elsewhere": elsewhere,
        "rulebook": {"name": rulebook.name, "version": rulebook.version, "hash": rulebook.hash},
        "knowledge": glossary.hash,
        "sources": named(sources),
        "files": files,
    }


def named(sources: Sequence[str]) -> list[dict[str, str | None]]:
    """Name and sha256 of each source; no path, so that the card is the same wherever it is built."""
    return [{"name": Path(source).name if source != "-" else "<stdin>", "sha256": sha256_of(source) if source != "-" else None} for source in sources]


def read_where(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`FIELD=VALUE` options as pairs. Raises `UsageError` for another form."""
    pairs = []
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"--where '{text}' is not of the form FIELD=VALUE")
        pairs.append((name.strip(), value.strip()))
    return tuple(pairs)
