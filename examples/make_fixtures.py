"""Pick the small fixtures of examples/ from the simulated market: `python examples/make_fixtures.py MARKET [MODEL]`; without MARKET only the traces anew.

24 graded pairs of six queries (plain, shop knowledge, only in the photo, rules, negation, Chinese), their photos, the log and the
glossary terms of these queries; traces.jsonl is what lore-synth makes of them; rollouts.jsonl what MODEL (the `cot-sft` of `make lifecycle`) answers to some of them, four draws each, scored
by lore-rl reward. Everything in them is simulated.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import orjson

HERE = Path(__file__).resolve().parent
PAIRS_PER_QUERY = 4
GROUPS = 6
ROLLOUT_FIELDS = ("id", "group", "query", "item", "grade", "layout", "prompt", "completion", "reward", "rewards")


def rows(path: Path) -> list[dict]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def write(name: str, found: list[dict]) -> None:
    (HERE / name).write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in found))


KINDS = {
    "plain": lambda query, pairs, terms: not any(pair["difficulty"] for pair in pairs) and pairs[0]["language"] == "en",
    "knowledge": lambda query, pairs, terms: any(term in query for term in terms) and pairs[0]["language"] == "en",
    "visual": lambda query, pairs, terms: sum("visual" in pair["difficulty"] for pair in pairs) > 3 and pairs[0]["language"] == "en",
    "rules": lambda query, pairs, terms: sum("rules" in pair["difficulty"] for pair in pairs) > 3 and pairs[0]["language"] == "en",
    "negation": lambda query, pairs, terms: " not " in query or "without" in query,
    "chinese": lambda query, pairs, terms: pairs[0]["language"] == "zh",
}


def chosen(pairs: list[dict]) -> list[dict]:
    """Four pairs of a query with as many different grades as it has."""
    by_grade = {grade: [pair for pair in pairs if pair["grade"] == grade] for grade in ("L4", "L3", "L2", "L1")}
    picked = [some[0] for some in by_grade.values() if some]
    return (picked + [pair for pair in pairs if pair not in picked])[:PAIRS_PER_QUERY]


def make_traces(target: Path) -> None:
    """The traces of examples/pairs.jsonl, as the lore-synth of this checkout makes them; through a pipe, so that image paths stay."""
    command = [sys.executable, HERE.parent / "bin" / "lore-synth", HERE / "pairs.jsonl", "--knowledge", HERE / "glossary.jsonl", "--quiet"]
    target.write_bytes(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def make_rollouts(target: Path, model: str) -> None:
    """Draws of the model whose rewards differ, with the fields that matter."""
    lore = HERE.parent / "bin" / "lore-rl"
    drawing = [lore, "rollout", HERE / "traces.jsonl", "--judge", f"hf:{model}", "--samples", "4", "--seed", "7", "--quiet"]
    drawn = subprocess.run([sys.executable, *drawing], check=True, stdout=subprocess.PIPE).stdout
    scored = subprocess.run([sys.executable, lore, "reward", "-", "--knowledge", HERE / "glossary.jsonl", "--quiet"], check=True, input=drawn, stdout=subprocess.PIPE).stdout
    groups: dict[str, list[dict]] = {}
    for row in map(orjson.loads, scored.splitlines()):
        groups.setdefault(row["group"], []).append({name: row[name] for name in ROLLOUT_FIELDS})
    spread = [group for group in groups.values() if len({row["reward"] for row in group}) > 1]
    target.write_bytes(b"".join(orjson.dumps(row) + b"\n" for group in spread[:GROUPS] for row in group))


def pick(market: Path) -> None:
    by_query: dict[str, list[dict]] = {}
    for pair in rows(market / "pairs.jsonl"):
        if pair["split"] == "test":
            by_query.setdefault(pair["query"], []).append(pair)
    picked: dict[str, list[dict]] = {}
    terms = [row["term"] for row in rows(market / "glossary.jsonl")]
    for fits in KINDS.values():
        query = next(q for q, pairs in by_query.items() if q not in picked and fits(q, pairs, terms) and len({p["grade"] for p in pairs}) >= 3)
        picked[query] = chosen(by_query[query])
    images = HERE / "images"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir()
    for pair in (pair for pairs in picked.values() for pair in pairs):
        shutil.copy(market / pair["item"]["image"], images / Path(pair["item"]["image"]).name)
    write("pairs.jsonl", [pair for pairs in picked.values() for pair in pairs])
    write("log.jsonl", [row for row in rows(market / "log.jsonl") if row["query"] in picked])
    write("glossary.jsonl", [row for row in rows(market / "glossary.jsonl") if any(row["term"] in query for query in picked)])


if __name__ == "__main__":
    for given in sys.argv[1:2]:
        pick(Path(given))
    make_traces(HERE / "traces.jsonl")
    for given in sys.argv[2:3]:
        make_rollouts(HERE / "rollouts.jsonl", given)
