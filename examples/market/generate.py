"""Make the simulated marketplace: catalogue, pictures, queries, log, glossary and human-like grades, all from one seed.

    python examples/market/generate.py -o runs/market --seed 7

Everything it writes is simulated: no shop, brand, shopper or rater of this market exists. See README.md in the output.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]  # a script beside its modules, in a checkout that need not be installed

import click  # noqa: E402
import orjson  # noqa: E402
from catalogue import Partition, build_partition  # noqa: E402
from grades import Grader  # noqa: E402
from log import ask_counts, times_shown  # noqa: E402
from pairs import Shelf, Shown  # noqa: E402
from queries import Query, make_queries  # noqa: E402
from render import picture  # noqa: E402
from shop import Shop, glossary_rows, load_shop  # noqa: E402

from lore_cli.errors import LoreError, UsageError  # noqa: E402
from lore_cli.stream import output_directory  # noqa: E402

TEST_QUERIES = 3 / 32  # 300 of 3,200
TEST_ITEMS = 0.25
TEST_PAIRS_MORE = 2  # test queries show a little more, so that a query's measures are steadier
Row = dict[str, object]


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "--output", required=True, metavar="DIR", help="directory to write; appears whole or not at all")
@click.option("--seed", default=7, show_default=True, help="same seed, same bytes, pictures included")
@click.option("--items", default=3000, show_default=True, type=click.IntRange(60), help="products in the catalogue")
@click.option("--queries", default=3200, show_default=True, type=click.IntRange(20), help="distinct queries")
@click.option("--pairs-per-query", default=14, show_default=True, type=click.IntRange(4), help="products shown per training query; test queries show 2 more")
@click.option("--small", is_flag=True, help="five classes, 80 products, 40 queries, 6 to 8 pairs each: for tests")
@click.option("--force", is_flag=True, help="replace an existing directory")
def main(output: str, seed: int, items: int, queries: int, pairs_per_query: int, small: bool, force: bool) -> None:
    try:
        if small:
            items, queries, pairs_per_query = 80, 40, 6
        Path(output).resolve().parent.mkdir(parents=True, exist_ok=True)
        with output_directory(output, force=force) as folder:
            shares = (0.3, 0.4) if small else (TEST_QUERIES, TEST_ITEMS)
            counts = generate(folder, load_shop(seed, small), seed, items, queries, pairs_per_query, *shares)
    except LoreError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(f"simulated market in {output}: " + ", ".join(f"{count} {name}" for name, count in counts.items()), err=True)


def generate(folder: Path, shop: Shop, seed: int, items: int, queries: int, pairs_per_query: int, test_queries: float, test_items: float) -> dict[str, int]:
    """Write every file of the market into `folder`; returns how many rows and pictures of each. Raises `UsageError` when too few products are asked for."""
    if items < 6 * len(shop.classes):
        raise UsageError(f"--items {items} is too few for {len(shop.classes)} classes", hint=f"ask for at least {6 * len(shop.classes)}")
    held = round(items * test_items)
    partitions = (build_partition(shop, "train", items - held, seed, 0), build_partition(shop, "test", held, seed, items - held))
    asked = {"train": queries - round(queries * test_queries), "test": round(queries * test_queries)}
    taken: set[str] = set()
    made = [(partition, list(make_queries(shop, partition, asked[partition.split], seed, taken))) for partition in partitions]
    counts = ask_counts([queries for _, queries in made], seed)
    grader = Grader(shop.rulebook)
    pairs: list[Row] = []
    candidates: list[Row] = []
    for partition, wanted in made:
        shelf = Shelf(shop, partition, grader, seed)
        for query in wanted:
            show = pairs_per_query + (TEST_PAIRS_MORE if partition.split == "test" else 0)
            for rank, shown in enumerate(shelf.show(query, show), 1):
                row = pair_row(f"p{len(pairs):06d}", shown, times_shown(counts[query.text], rank), partition.split)
                pairs.append(row)
                candidates.append(candidate_row(row, rank))
    files = {
        "pairs.jsonl": pairs,
        "candidates.jsonl": candidates,
        "log.jsonl": [{"query": text, "count": count} for text, count in counts.items()],
        "glossary.jsonl": glossary_rows(shop),
        "truth.jsonl": truth_rows(partitions),
        "query_truth.jsonl": query_truth_rows(made),
    }
    for name, rows in files.items():
        (folder / name).write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    (folder / "README.md").write_bytes((HERE / "README.md").read_bytes())
    (folder / "images").mkdir()
    for partition in partitions:
        for product in partition.products:
            (folder / product.row["image"]).write_bytes(picture(product, seed))
    return {**{name: len(rows) for name, rows in files.items()}, "images": items}


def pair_row(identity: str, shown: Shown, count: int, split: str) -> Row:
    """A Pair with what this market adds: split, language, difficulty (as built) and whether the query names a combination unseen in training."""
    query = shown.query
    row: Row = {"id": identity, "query": query.text, "item": shown.product.row, "grade": shown.label, "count": count, "split": split}
    row |= {"language": query.language, "difficulty": list(shown.difficulty)}
    return row | {"unseen": True} if query.unseen else row


def candidate_row(row: Row, rank: int) -> Row:
    """The pair as an engine shows it: in lexical order, without the grade and without what only the simulation knows."""
    return {name: row[name] for name in ("id", "query", "item", "count", "split")} | {"rank": rank}


def truth_rows(partitions: tuple[Partition, ...]) -> list[Row]:
    """What every product truly is. Never shown to a judge; for checking the simulation."""
    return [{"id": product.id, "attributes": {dim: list(values) for dim, values in product.truth.items()}} for part in partitions for product in part.products]


def query_truth_rows(made: list[tuple[Partition, list[Query]]]) -> list[Row]:
    """What every query truly means, and what it takes to read it."""
    return [
        {
            "query": query.text,
            "needs": [{"attribute": need.attribute, "value": need.value} | ({"negated": True} if need.negated else {}) for need in query.needs],
            "knowledge": sorted(query.knowledge),
        }
        for _, queries in made
        for query in queries
    ]


if __name__ == "__main__":
    main()
