"""How many real queries have a product that the expert recognises, with and without a taxonomy; and what loading it costs.

    python benchmarks/taxonomy.py DATA             the table; DATA holds taxonomy/ (Shopify's) and wands/query.csv (WANDS)
    python benchmarks/taxonomy.py DATA --write     and put it in docs/results.md

Recognised: the product that the expert reads in the query is a listed category. Of the class: one of the names of the query's class in WANDS is that
category, a kind of it or what it is a kind of, or ends in the same noun ("Massage Chairs", "chairs"); a class that neither table lists has only its noun.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shared import sections

sys.path.insert(0, str(sections.ROOT / "examples" / "importers"))

from importing import table  # noqa: E402

from lore_cli.path.knowledge import EMPTY, Glossary, Vocabulary, load_glossary, vocabulary  # noqa: E402
from lore_cli.path.needs import construct  # noqa: E402
from lore_cli.path.taxonomy import names_in, stems_of  # noqa: E402
from lore_cli.rulebook import load_rulebook  # noqa: E402


def of_class(category: str, name: str, known: Vocabulary) -> bool:
    """Whether a listed category is of the class that WANDS names."""
    for one in names_in(name)[0]:
        if stems_of(one)[-1:] == stems_of(category)[-1:] or known.rulebook.compare("category", category, one) != "conflict":
            return True
    return False


def shares(queries: list[tuple[str, str]], glossary: Glossary) -> list[str]:
    """Shares of the queries, as cells: recognised, recognised and of the class."""
    rulebook = load_rulebook()
    known = vocabulary(rulebook, glossary)
    listed = set(known.rulebook.table("category").canonical.values())
    products = [next((need.value for need in construct(query, rulebook, glossary) if need.attribute == "category"), "") for query, _ in queries]
    recognised = [product in listed for product in products]
    right = [product in listed and of_class(product, name, known) for product, (_, name) in zip(products, queries, strict=True)]
    return [f"{sum(hits) / len(queries):.3f} ({sum(hits)})" for hits in (recognised, right)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds taxonomy/ and wands/query.csv")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where = sections.machine()
    queries = [(row["query"], row["query_class"]) for _, row in table(given.data / "wands" / "query.csv", ("query", "query_class"))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "knowledge.jsonl"
        subprocess.run([sys.executable, str(sections.ROOT / "examples" / "importers" / "shopify_taxonomy.py"), str(given.data / "taxonomy"), "-o", str(file)], check=True)
        rulebook = load_rulebook()
        start = time.process_time()
        glossary = load_glossary([file])
        known = vocabulary(rulebook, glossary)
        spent = time.process_time() - start
    rows = [["the rulebook alone", *shares(queries, EMPTY)], ["with Shopify's taxonomy", *shares(queries, glossary)]]
    head = ["", "product recognised", "recognised, and of the query's class"]
    added = len(known.rulebook.table("category").canonical) - len(rulebook.table("category").canonical)
    body = f"{sections.markdown(head, rows)}\n\nn = {len(queries)} queries of WANDS, all real. {len(glossary.categories):,} categories add {added:,} names; reading and compiling them takes {spent:.1f} s of processor time, once a run."
    sections.publish("taxonomy", "Queries understood with a taxonomy", "python benchmarks/taxonomy.py DATA", body, where, given.write)


if __name__ == "__main__":
    main()
