"""Scoring a million verdicts: time and memory of `lore-rair score`, and its bootstrap against scipy's over rows.

    python benchmarks/rair.py              10^6 verdicts, 2,000 draws (about two minutes)
    python benchmarks/rair.py --rows N     another number of verdicts
    python benchmarks/rair.py --write      and put the tables in docs/results.md

The command reads JSONL, joins, scores four slices and writes a report; time and peak memory are of its process, start included. The peer is
what one would write with scipy and scikit-learn: scipy.stats.bootstrap over queries, whose statistic gathers the rows of the queries drawn and calls
f1_score. It is measured on fewer rows and draws; its time at full size is that times rows and draws, to which it is proportional. Ours, in the
same round on the same rows, gives all metrics of the report with BCa bounds; the peer one metric with percentiles.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import orjson
from scipy import stats
from shared import memory, sections
from sklearn.metrics import f1_score

from lore_cli.rair.intervals import bounds
from lore_cli.rair.metrics import COLUMNS, METRICS, NOT_SHARES, every_metric
from lore_cli.records import GRADES

ROWS, DRAWS, PER_QUERY = 1_000_000, 2_000, 8
PEER_ROWS, PEER_DRAWS = 20_000, 50
SECONDS, MEBIBYTES = 30, 2048  # the goal


def rows(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Lines of made-up gold pairs and their verdicts, about 60 % of them right."""
    drawn = random.Random(0)
    for number in range(count):
        grade = drawn.choice(GRADES)
        given = grade if drawn.random() < 0.6 else drawn.choice(GRADES)
        query, subset = f"navy sofa bed {number // PER_QUERY}", ("general", "hard", "visual")[number // PER_QUERY % 3]
        pair = {"id": f"p{number:08}", "query": query, "item": {"id": f"i{number}", "title": "navy sofa bed in linen", "category": "sofa bed"}, "grade": grade, "subset": subset}
        verdict = {"id": pair["id"], "query": query, "item_id": f"i{number}", "judge": "made-up", "grade": given}
        yield orjson.dumps(pair, option=orjson.OPT_APPEND_NEWLINE), orjson.dumps(verdict, option=orjson.OPT_APPEND_NEWLINE)


def command(count: int) -> tuple[float, float]:
    """Seconds and peak MiB of `lore-rair score` over so many verdicts."""
    with tempfile.TemporaryDirectory() as folder:
        gold, given = Path(folder, "gold.jsonl"), Path(folder, "verdicts.jsonl")
        with open(gold, "wb") as pairs, open(given, "wb") as verdicts:
            for pair, verdict in rows(count):
                pairs.write(pair)
                verdicts.write(verdict)
        typed = ["score", str(given), "--gold", str(gold), "--draws", str(DRAWS), "--json", str(Path(folder, "report.json")), "--quiet"]
        work = f"from lore_cli.commands import ending, rair\nassert ending.run(rair.cli, 'lore-rair', {typed!r}) == 0"
        start = time.perf_counter()
        peak = memory.peak(work, ())
        return time.perf_counter() - start, peak


def peer(gold: Any, given: Any, draws: int) -> float:
    """Seconds of scipy's bootstrap of Macro-F1 over queries, rows gathered anew for each draw."""
    groups = numpy.arange(len(gold)).reshape(-1, PER_QUERY)

    def statistic(queries: Any) -> float:
        chosen = groups[queries.astype(int)].ravel()
        return float(f1_score(gold[chosen], given[chosen], average="macro"))

    start = time.perf_counter()
    stats.bootstrap((numpy.arange(len(groups)),), statistic, n_resamples=draws, vectorized=False, method="percentile", rng=numpy.random.default_rng(0))
    return time.perf_counter() - start


def ours(gold: Any, given: Any, draws: int) -> float:
    """Seconds of our bounds of every metric, from the same rows."""
    shares = numpy.array([name not in NOT_SHARES for name in METRICS])
    start = time.perf_counter()
    cell = numpy.arange(len(gold)) // PER_QUERY * len(COLUMNS) + gold * len(GRADES) + given
    per_query = numpy.bincount(cell, minlength=len(gold) // PER_QUERY * len(COLUMNS)).reshape(-1, len(COLUMNS)).astype(float)
    bounds(per_query, every_metric, shares, draws, 0)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"verdicts (default: {ROWS})")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement (default: 3)")
    parser.add_argument("--write", action="store_true", help="put the tables in docs/results.md")
    asked = parser.parse_args()
    where = sections.machine()
    generator = numpy.random.default_rng(0)
    gold = generator.integers(0, 4, PEER_ROWS)
    given = numpy.where(generator.random(PEER_ROWS) < 0.6, gold, generator.integers(0, 4, PEER_ROWS))
    bootstraps = [(peer(gold, given, PEER_DRAWS), ours(gold, given, PEER_DRAWS)) for _ in range(asked.rounds + 1)][1:]
    runs = [command(asked.rows) for _ in range(asked.rounds)]
    seconds, peaks = (statistics.median(column) for column in zip(*runs, strict=True))
    slow, fast = (statistics.median(column) for column in zip(*bootstraps, strict=True))
    whole = slow * asked.rows / PEER_ROWS * DRAWS / PEER_DRAWS
    table = sections.markdown(
        ["what", "rows", "draws", "seconds", "peak MiB"],
        [
            ["`lore-rair score`, all metrics, four slices", f"{asked.rows:,}", f"{DRAWS:,}", f"{seconds:.1f}", f"{peaks:,.0f}"],
            ["scipy over rows, Macro-F1 alone, one slice", f"{PEER_ROWS:,}", f"{PEER_DRAWS:,}", f"{slow:.2f}", ""],
            ["our bounds, all metrics, one slice", f"{PEER_ROWS:,}", f"{PEER_DRAWS:,}", f"{fast:.3f}", ""],
            ["scipy over rows, extrapolated", f"{asked.rows:,}", f"{DRAWS:,}", f"{whole:,.0f}", ""],
        ],
    )
    told = f"Goal: {SECONDS} s and {MEBIBYTES:,} MiB. Medians of {asked.rounds} rounds. On the same rows and draws the ratio is {slow / fast:.0f}; at full size, reading included, {whole / seconds:.0f} (extrapolated)."
    sections.publish("rair", "Scoring a million verdicts", sections.command(), f"{table}\n\n{told}", where, asked.write)


if __name__ == "__main__":
    main()
