"""Graded pairs, verdicts and reports made by hand; used by the tests of RAIR."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from lore_cli import stream
from lore_cli.rair import report as reporting
from lore_cli.rair.failures import Failures
from lore_cli.rair.join import graded, joined
from lore_cli.rair.tally import Tally
from lore_cli.records import GRADES, Verdict
from lore_cli.rulebook import load_rulebook

BOOK = load_rulebook(None)
ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples" / "pairs.jsonl"


def pair(number: int, grade: str | None = "L4", query: str | None = None, **more: Any) -> dict[str, Any]:
    """Pair p0, p1, …: three of one query unless a query is given. `item` adds to the item, other fields to the row."""
    item = {"id": f"i{number}", "title": f"navy sofa {number}", **more.pop("item", {})}
    row = {"id": f"p{number}", "query": query or f"sofa {number // 3}", "item": item, "grade": grade, **more}
    return {name: value for name, value in row.items() if value is not None}


def verdict(pair_row: dict[str, Any], grade: str | None = None, **more: Any) -> dict[str, Any]:
    """A verdict on a pair; `error` in place of a grade."""
    row = {"id": pair_row["id"], "query": pair_row["query"], "item_id": pair_row["item"]["id"], "judge": "hand", "grade": grade, **more}
    return {name: value for name, value in row.items() if value is not None}


def shop(rows: int = 60, seed: int = 1, right: float = 0.6, **more: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Random pairs over the three subsets with verdicts, about `right` of them the gold grade or better."""
    draw = random.Random(seed)
    pairs = [pair(number, draw.choice(GRADES), subset=("general", "hard", "visual")[number // 3 % 3]) for number in range(rows)]
    return pairs, [verdict(one, one["grade"] if draw.random() < right else draw.choice(GRADES), **more) for one in pairs]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def scored(folder: Path, pairs: list[dict[str, Any]], verdicts: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    """The report of verdicts on pairs, by the library. A misfit verdict is raised."""
    gold, given = str(written(folder / "gold.jsonl", pairs)), str(written(folder / "given.jsonl", verdicts))

    def refuse(problem: Exception, _: Verdict) -> None:
        raise problem

    made = reporting.Settings(**{"draws": 100, "images": folder, "beside": folder, **settings})
    tally, failures = Tally(BOOK), Failures(made.failures)
    reporting.collect(joined(graded((gold,)), stream.read(Verdict, (given,)), refuse), tally, failures, made.partial)
    return reporting.report(tally, failures, [{"name": "gold.jsonl", "sha256": "0" * 64}], made)


def metrics_of(document: dict[str, Any], **fields: str) -> dict[str, float]:
    """{metric: value} of a slice; all rows without fields."""
    entry = reporting.find_slice(document, fields)
    assert entry is not None, fields
    return {name: measure["value"] for name, measure in entry["metrics"].items()}
