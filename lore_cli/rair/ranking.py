"""Rankings held against the graded pairs: nDCG@k, P@k and Judged@k through ir-measures, with intervals over queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lore_cli.errors import BadInput, require
from lore_cli.rair.intervals import bounds
from lore_cli.rair.report import named
from lore_cli.records import GRADES, RELEVANT, Pair, Record
from lore_cli.values import fold

Qrels = dict[str, dict[str, int]]  # query → item → gain


class Ranked(Record, frozen=True):
    """One line of a ranking. `rank`: 1 is the top; or `score`: the highest is the top."""

    query: str
    item_id: str
    rank: float | None = None
    score: float | None = None


def gains(pairs: Iterable[Pair]) -> Qrels:
    """The graded pairs as gains: L1 0, L2 1, L3 2, L4 3. Of an item graded twice for a query, the higher. Memory: all pairs."""
    found: Qrels = {}
    for pair in pairs:
        items = found.setdefault(fold(pair.query), {})
        items[pair.item.id] = max(GRADES.index(pair.grade), items.get(pair.item.id, 0))  # type: ignore[arg-type]
    return found


def ranked(rows: Iterable[Ranked]) -> dict[str, dict[str, float]]:
    """{query: {item: score}}. Raises `BadInput` for a row without exactly one of rank and score, NaN, a repeated item, and for no rows at all."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        place = f"query '{row.query}', item '{row.item_id}'"
        score = row.score if row.rank is None else -row.rank
        if (row.rank is None) == (row.score is None) or score != score:
            raise BadInput(f"{place}: one number is needed, either rank or score", where="--ranking", field="rank, score")
        items = found.setdefault(fold(row.query), {})
        if row.item_id in items:
            raise BadInput(f"{place} is ranked twice", where="--ranking", field="item_id", hint="give one ranking of each query")
        items[row.item_id] = score  # type: ignore[assignment]
    if not found:
        raise BadInput("no rows", where="--ranking")
    return found


def ranking_document(qrels: Qrels, run: dict[str, dict[str, float]], k: int, draws: int, seed: int) -> dict[str, Any]:
    """For the report: means over the queries that are both ranked and graded, {value, lo, hi}, and how many queries are not.

    Raises `BadInput` when no ranked query has graded pairs.
    """
    import numpy

    ir = require("ir_measures", "report")
    common = sorted(qrels.keys() & run.keys())
    if not common:
        raise BadInput("no query of the ranking has graded pairs", where="--ranking", field="query", hint="rank the queries of --gold")
    measures = {f"ndcg@{k}": ir.nDCG @ k, f"p@{k}": ir.P(rel=min(GRADES.index(grade) for grade in RELEVANT)) @ k, f"judged@{k}": ir.Judged @ k}  # type: ignore[arg-type]
    place = {query: number for number, query in enumerate(common)}
    column = {measure: number for number, measure in enumerate(measures.values())}
    values = numpy.ones((len(common), len(column) + 1))
    for measured in ir.iter_calc(list(column), {query: qrels[query] for query in common}, {query: run[query] for query in common}):
        values[place[measured.query_id], column[measured.measure]] = measured.value
    found = bounds(values, lambda sums: sums[..., :-1] / sums[..., -1:], numpy.ones(len(column), dtype=bool), draws, seed)
    return {
        "k": k,
        "queries": len(common),
        "not_ranked": len(qrels.keys() - run.keys()),
        "not_graded": len(run.keys() - qrels.keys()),
        "metrics": named(measures, *found),
    }

