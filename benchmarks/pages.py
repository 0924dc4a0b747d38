"""GoodRate of Home Depot pages, against their human grades, before and after a judge re-ranks and filters them: `lore-tier replay` on real grades.

    python benchmarks/pages.py DEV.parquet --student DIR              the tables
    python benchmarks/pages.py DEV.parquet --student DIR --rows 500   on fewer pairs
    python benchmarks/pages.py DEV.parquet --student DIR --write      and put them in docs/results.md

DEV.parquet: graded pairs, as for benchmarks/homedepot.py. DIR: a student that learnt from that benchmark's training side alone (its FOLDER/student), with the
same --seed. Measured on the other side's queries. A page is made of the items that human raters graded for its query, so few that a page of 10 mostly
holds them all and re-ranking it moves no GoodRate: hence the pages of 3 beside it. The engine's order is lexical overlap. Each judge answers everything,
from a cache made ahead of time. `lexical:` is the engine's own signal with cut-points fitted on the training side: what a filter gains without a model.
Most graded items are good, so that even the ideal page gains less than the simulated market's goal of +27 %.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared import distilled, replays, sections
from shared.commands import lore

from lore_cli.judges.cached import normalise
from lore_cli.progress import Log
from lore_cli.records import Pair

SIZES = (3, 10)  # items on a page; 10 is the default of lore-tier replay
HEAD = ["page", "items", "Item GoodRate", "relative gain", "of the ideal's gain", "Query GoodRate", "relative gain"]
JUDGED = {"reranked": "re-ranked", "filtered": "re-ranked and filtered"}


def reports(judge: str, log: Path, pages: Path, folder: Path) -> list[dict[str, Any]]:
    """Replays of a plan in which one judge answers everything, one for each page size; what is never cached, a query that looks personal, it answers live."""
    folder.mkdir()
    plan, cache = folder / "plan.json", folder / "cache"
    lore("lore-tier", "plan", log, "--head-traffic", 1, "--tail-traffic", 0, "--cache", cache, "--student", judge, "-o", plan)
    lore("lore-tier", "refresh", "--plan", plan, "--pairs", pages, "--judge", judge, "--soft", "--cache", cache)
    return [replays.replay(log, plan, pages, "--soft", "--page", size) for size in SIZES]


def rate(cell: Mapping[str, float]) -> str:
    """A GoodRate with its interval."""
    return "{value:.3f} [{lo:.3f}, {hi:.3f}]".format(**cell)


def row(name: str, goodrate: Mapping[str, Any], page: str) -> list[str]:
    """What a page shows, and what it gains over the engine's, in itself and as a share of the ideal page's gain."""
    cells, most = goodrate[page], goodrate["ideal"]["gain"]["item"]["value"]
    reached = f"{cells['gain']['item']['value'] / most:.0%}" if most else ""
    item, query = (replays.relative_gain(goodrate, page, unit) for unit in ("item", "query"))
    return [name, f"{cells['shown']:.1f}", rate(cells["item"]), item, reached, rate(cells["query"]), query]


def table(told: Mapping[str, Mapping[str, Any]]) -> str:
    """Pages of one size. told: judge → report of its replay; the engine's page and the ideal one are the same in all of them."""
    rates = {judge: report["goodrate"] for judge, report in told.items()}
    first = next(iter(rates.values()))
    engine = first["engine"]
    rows = [["the engine's order", f"{engine['shown']:.1f}", rate(engine["item"]), "", "", rate(engine["query"]), ""]]
    rows += [row(f"{judge}: {name}", goodrate, page) for judge, goodrate in rates.items() for page, name in JUDGED.items()]
    rows.append(row("ideal: relevant items alone", first, "ideal"))
    return sections.markdown(HEAD, rows)


def caption(size: int, pairs: Sequence[Pair]) -> str:
    """A page's size, and how many queries have no further candidates, so that their order does not matter."""
    candidates = Counter(normalise(pair.query) for pair in pairs)
    whole = sum(count <= size for count in candidates.values())
    return f"Pages of {size}; {whole:,} of {len(candidates):,} queries have no more candidates than that:"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", metavar="DEV.parquet")
    parser.add_argument("--student", type=Path, metavar="DIR", required=True, help="a student of the training side")
    parser.add_argument("--rows", type=int, help="replay so many pairs, and fit lexical: on so many")
    parser.add_argument("--seed", type=int, default=0, help="of the split: the one that the student's training pairs came from (default: 0)")
    parser.add_argument("--write", action="store_true", help="put the tables in docs/results.md")
    asked = parser.parse_args()
    where, progress = sections.machine(), Log("pages")
    train, test = distilled.split(asked.pairs, asked.rows, asked.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages, learnt = distilled.written(test, folder / "pages.jsonl"), distilled.written(train, folder / "train.jsonl")
        queries = sorted({normalise(pair.query) for pair in test})
        log = distilled.written([{"query": query, "count": 1} for query in queries], folder / "log.jsonl")
        told = {}
        for judge, uri in {"student": f"student:{asked.student.resolve()}", "expert": "rulebook:", "lexical": f"lexical:{learnt}"}.items():
            progress.say(f"{judge} …")
            told[judge] = reports(uri, log, pages, folder / judge)
    data = f"{len(test):,} pairs of {len(queries):,} queries that the student has not seen, {len(test) / len(queries):.1f} candidates each"
    parts = [f"{data}. No traffic is known: each query counts once."]
    for index, size in enumerate(SIZES):
        parts += [caption(size, test), table({judge: by_size[index] for judge, by_size in told.items()})]
    note = "Items: shown on the mean page; an empty page counts as bad. The ideal page's gain is the most that any judge could have."
    parts.append(f"{note} Intervals, 95 %, over queries; a gain's is that of the difference, relative to the engine's rate.")
    sections.publish("pages", "Pages of real human grades: Home Depot", sections.command(), "\n\n".join(parts), where, asked.write)


if __name__ == "__main__":
    main()
