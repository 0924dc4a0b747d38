"""WANDS (Wayfair's relevance judgements) to pairs: its folder of tab-separated query.csv, product.csv and label.csv.

    python examples/importers/wands.py WANDS/dataset -o wands.parquet
    python examples/importers/wands.py WANDS/dataset --queries | lore-tier plan - -o plan.json

Grades [ours]: Exact is L4; Partial, the right kind of product that misses something asked for, is L2; Irrelevant is L1. --grades changes that.
Product features ("material : oak|colour : red") become attributes; one that is given twice keeps both values. Products are held in memory
(about 2 KB each), labels stream.

--queries writes the queries alone as rows of a log, one request each: the data set has no traffic.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from importing import Row, end, grade_map, grades_option, options, say, table, write

from lore_cli.errors import BadInput

GRADES = {"Exact": "L4", "Partial": "L2", "Irrelevant": "L1"}


def queries(folder: Path) -> dict[str, tuple[str, str]]:
    """query id → (query, query class)."""
    found = {}
    for line, row in table(folder / "query.csv", ("query_id", "query")):
        if not row["query"].strip():
            raise BadInput("is empty; a non-empty text is needed", where=str(folder / "query.csv"), line=line, field="query")
        found[row["query_id"]] = (row["query"], row.get("query_class", ""))
    return found


def products(folder: Path) -> dict[str, Row]:
    """product id → item."""
    found = {}
    for _, row in table(folder / "product.csv", ("product_id", "product_name")):
        item: Row = {"id": row["product_id"], "title": row["product_name"]}
        for name, column in (("category", "product_class"), ("description", "product_description"), ("category_path", "category hierarchy")):
            if row.get(column):
                item[name] = row[column]
        attributes = features(row.get("product_features", ""))
        found[row["product_id"]] = item | ({"attributes": attributes} if attributes else {})
    return found


def features(text: str) -> dict[str, str]:
    """`material : oak|color:red|color : blue` → {'material': 'oak', 'color': 'red, blue'}."""
    found: dict[str, str] = {}
    for part in text.split("|"):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        if name and value and value not in found.get(name, "").split(", "):
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def pairs(folder: Path, grades: dict[str, str]) -> Iterator[Row]:
    """One pair per label, in the order of label.csv."""
    by_query, by_product, file = queries(folder), products(folder), str(folder / "label.csv")
    for line, row in table(folder / "label.csv", ("id", "query_id", "product_id", "label")):
        for field, known, allowed in (("query_id", by_query, "ids of query.csv"), ("product_id", by_product, "ids of product.csv"), ("label", grades, ", ".join(grades))):
            if row[field] not in known:
                raise BadInput(f"'{row[field]}' is unknown (allowed: {allowed})", where=file, line=line, field=field)
        query, query_class = by_query[row["query_id"]]
        yield {"id": f"wands-{row['id']}", "query": query, "item": by_product[row["product_id"]], "grade": grades[row["label"]], "label": row["label"], "query_class": query_class}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("folder", type=Path, help="the folder that holds query.csv, product.csv and label.csv")
    parser.add_argument("--queries", action="store_true", help="write the queries alone, as rows of a log")
    grades_option(parser, GRADES)
    given: argparse.Namespace = parser.parse_args()
    grades = grade_map(given.grades, GRADES)
    if given.queries:
        rows: Iterator[Row] = ({"query": query, "count": 1, "query_class": name} for query, name in queries(given.folder).values())
        say(f"{write(rows, given)} queries")
    else:
        say(f"{write(pairs(given.folder, grades), given)} pairs")


if __name__ == "__main__":
    end(main)
