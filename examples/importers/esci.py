"""Amazon ESCI to pairs: the published Parquet tables, or a judgement list of OpenSearch, with the products' text.

    python examples/importers/esci.py shopping_queries_dataset_examples.parquet --products shopping_queries_dataset_products.parquet \\
        --where product_locale=us --where small_version=1 -o esci.parquet
    python examples/importers/esci.py esci_us_judgments.json --products products.jsonl -o judged.jsonl

Examples: Parquet or JSONL with query, query_id, product_id and esci_label (words or letters), and product_title and more where the tables
are joined already. Judgement lists: JSON with judgmentRatings; ratings 100, 10, 1 and 0 are E, S, C and I. Products: Parquet or JSONL with
product_title, product_description, product_bullet_point, product_brand and product_color; the short names (title, …) and documents wrapped in
`fields` are read too. A pair whose product is not there is left out and counted (exit 5); --ids-as-titles keeps it, known by its id alone.

Grades [ours]: Exact is L4; Substitute, which misses something asked for, is L2; Complement and Irrelevant are L1. --grades changes that.
Products are held in memory (about 2 KB each, of the locales that --where leaves), examples stream.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from importing import Row, end, grade_map, grades_option, options, say, write

from lore_cli.errors import EXIT_DONE, EXIT_PARTIAL, BadInput, UsageError
from lore_cli.records import Record, row_of
from lore_cli.stream import read, read_json

GRADES = {"E": "L4", "S": "L2", "C": "L1", "I": "L1"}
RATINGS = {100.0: "E", 10.0: "S", 1.0: "C", 0.0: "I"}
WORDS = {"exact": "E", "substitute": "S", "complement": "C", "irrelevant": "I"}
_CARRIED = ("query_id", "product_locale", "split", "small_version", "large_version")


class AnyRow(Record, frozen=True):
    """A row of any table; its fields are looked up in the row itself."""


def rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(row number, row) of a Parquet or JSONL table."""
    for number, record in enumerate(read(AnyRow, [str(path)]), 1):
        yield number, row_of(record)


def field(row: Row, path: Path, line: int, *names: str, needed: bool = True) -> Any:
    """The first of several names that the row has. Raises `BadInput` when one is needed and none is there."""
    for name in names:
        if row.get(name) not in (None, ""):
            return row[name]
    if needed:
        raise BadInput("required field is missing", where=str(path), line=line, field=names[0])
    return None


def item(row: Row, product_id: str) -> Row | None:
    """The item that a row describes, or None without a title."""
    get = lambda *names: next((str(row[name]) for name in names if row.get(name) not in (None, "")), None)  # noqa: E731
    title = get("product_title", "title")
    if title is None:
        return None
    text = " ".join(part for part in (get("product_description", "description"), get("product_bullet_point", "bullets")) if part)
    found: Row = {"id": product_id, "title": title, "brand": get("product_brand", "brand"), "description": text or None}
    colour = get("product_color", "color")
    return {name: value for name, value in found.items() if value is not None} | ({"attributes": {"color": colour}} if colour else {})


def products(path: Path | None, where: dict[str, str]) -> dict[tuple[str, str], Row]:
    """(product id, locale) → item, also under the locale '' for tables that know one locale only."""
    found: dict[tuple[str, str], Row] = {}
    wanted = where.get("product_locale")
    for line, row in rows(path) if path else ():
        inner = row.get("fields") if isinstance(row.get("fields"), dict) else row
        locale = str(inner.get("product_locale") or inner.get("locale") or "")
        if wanted and locale and locale != wanted:
            continue
        product_id = str(field(inner, path, line, "product_id", "id"))
        made = item(inner, product_id)
        if made is not None:
            found[product_id, locale] = made
            found.setdefault((product_id, ""), made)
    return found


class Rating(msgspec.Struct):
    """One judged document of a judgement list."""

    docId: str
    rating: str | float


class Judged(msgspec.Struct):
    """One query of a judgement list."""

    query: str
    ratings: list[Rating]


class JudgementList(msgspec.Struct):
    """The document that OpenSearch exports."""

    judgmentRatings: list[Judged]


def judged(path: Path) -> Iterator[tuple[int, Row]]:
    """(number, example) of a judgement list; the number counts ratings."""
    try:
        listed = msgspec.convert(read_json(path, "a judgement list"), JudgementList)
    except msgspec.ValidationError as error:
        raise BadInput(f"is no judgement list: {error}", where=str(path)) from error
    for number, (query, rating) in enumerate(((entry.query, rating) for entry in listed.judgmentRatings for rating in entry.ratings), 1):
        try:
            label = RATINGS.get(float(rating.rating))
        except ValueError:
            label = None
        if label is None:
            raise BadInput(f"found {rating.rating!r} (allowed: {', '.join(f'{value:g}' for value in RATINGS)})", where=str(path), line=number, field="rating")
        yield number, {"query": query, "product_id": rating.docId, "esci_label": label}


def label_of(text: Any, path: Path, line: int) -> str:
    """E, S, C or I."""
    label = WORDS.get(str(text).casefold(), str(text))
    if label not in GRADES:
        raise BadInput(f"found '{text}' (allowed: {', '.join((*GRADES, *WORDS))})", where=str(path), line=line, field="esci_label")
    return label


def pairs(given: argparse.Namespace, left_out: list[str]) -> Iterator[Row]:
    """One pair per example, in order; ids of products without text go to `left_out`."""
    grades, where, path = grade_map(given.grades, GRADES), _conditions(given.where), given.examples
    known = products(given.products, where)
    for line, row in judged(path) if path.suffix == ".json" else rows(path):
        if any(str(row.get(name)) != value for name, value in where.items()):
            continue
        product_id, locale = str(field(row, path, line, "product_id")), str(row.get("product_locale") or "")
        label = label_of(field(row, path, line, "esci_label"), path, line)
        found = item(row, product_id) or known.get((product_id, locale)) or known.get((product_id, ""))
        if found is None and not given.ids_as_titles:
            left_out.append(product_id)
            continue
        carried = {name: row[name] for name in _CARRIED if row.get(name) is not None}
        yield {
            "id": f"esci-{field(row, path, line, 'example_id', needed=False) or line}", "query": str(field(row, path, line, "query")),
            "item": found or {"id": product_id, "title": product_id}, "grade": grades[label], "label": label, **carried,
        }  # fmt: skip


def _conditions(texts: list[str]) -> dict[str, str]:
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise UsageError(f"--where {wrong[0]}: is no condition", hint="write --where COLUMN=VALUE, such as product_locale=us")
    return dict(text.split("=", 1) for text in texts)


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("examples", type=Path, help="judged examples (Parquet, JSONL) or a judgement list (.json)")
    parser.add_argument("--products", type=Path, metavar="FILE", help="the products' text (Parquet, JSONL)")
    parser.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE", help="only such examples; repeatable")
    parser.add_argument("--ids-as-titles", action="store_true", help="keep pairs whose product has no text, with the id as title")
    grades_option(parser, GRADES)
    given = parser.parse_args()
    left_out: list[str] = []
    count = write(pairs(given, left_out), given)
    say(f"{count} pairs" + (f"; {len(left_out)} left out, whose product has no text (such as {left_out[0]}): give --products" if left_out else ""))
    return EXIT_PARTIAL if left_out else EXIT_DONE


if __name__ == "__main__":
    end(main)
