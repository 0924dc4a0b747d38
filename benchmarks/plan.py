"""Time and peak memory of adding up a query log, beside polars alone on the same files.

    python benchmarks/plan.py                          10^6 and 10^7 rows, Parquet and JSONL
    python benchmarks/plan.py --rows 100000000         10^8 (minutes, and 5 GB of disk for the JSONL; --format parquet leaves that out)
    python benchmarks/plan.py --write                  and put the table in docs/results.md

Rows are events, one a request, drawn by Zipf's law from five million spellings of queries, in files of five million rows as a shop's daily logs
are. The peer groups the raw spellings and does nothing else: no normalisation, no check of a row. Each runs in a process of its own, whose start is in the time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy
import polars
from shared import memory, sections

SPELLINGS, PER_FILE, CHUNK = 5_000_000, 5_000_000, 1_000_000
GOAL_MIB = 2_000
OURS = "from lore_cli.tier.log import count_files; print(count_files({files!r}, 'events').traffic)"
PEER = "import polars; print(polars.{scan}({files!r}).select('query').group_by('query').len().collect(engine='streaming')['len'].sum())"


def write_log(folder: Path, rows: int, kind: str) -> list[str]:
    """The log's files."""
    draw = numpy.random.default_rng(0)
    files = []
    for number, start in enumerate(range(0, rows, PER_FILE)):
        parts = []
        for size in (min(CHUNK, rows - at) for at in range(start, min(start + PER_FILE, rows), CHUNK)):
            ranks = polars.Series(numpy.exp(draw.random(size) * numpy.log(SPELLINGS)).astype(numpy.int64))  # p(rank) ~ 1 / rank
            parts.append(polars.DataFrame({"rank": ranks}).select(query=polars.format("Navy sofa {}", "rank"), at=polars.lit("2026-01-01T12:00:00Z")))
        file = folder / f"{number:03d}.{kind}"
        frame = polars.concat(parts)
        frame.write_parquet(file) if kind == "parquet" else frame.write_ndjson(file)
        files.append(str(file))
    return files


def measured(code: str) -> tuple[float, float]:
    """(seconds, peak MiB) of a process that runs it."""
    began = time.perf_counter()
    peak = memory.peak(code, [])
    return time.perf_counter() - began, peak


def rows_of(rows: int, kind: str) -> list[str]:
    """A table row."""
    with tempfile.TemporaryDirectory() as temporary:
        files = write_log(Path(temporary), rows, kind)
        seconds, peak = measured(OURS.format(files=files))
        peer_seconds, peer_peak = measured(PEER.format(scan="scan_parquet" if kind == "parquet" else "scan_ndjson", files=files))
    return [f"{rows:,} {kind}", f"{seconds:.1f}", f"{peak:,.0f}", f"{peer_seconds:.1f}", f"{peer_peak:,.0f}", f"{seconds / peer_seconds:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", help="rows of the log; repeatable (default: 1000000 and 10000000)")
    parser.add_argument("--format", choices=["parquet", "jsonl"], action="append", help="kind of file; repeatable (default: both)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where = sections.machine()
    table = [rows_of(rows, kind) for rows in given.rows or (1_000_000, 10_000_000) for kind in given.format or ("parquet", "jsonl")]
    body = sections.markdown(["log", "lore, s", "lore, peak MiB", "polars, s", "polars, peak MiB", "ratio of times"], table)
    name = "plan-" + "-".join(map(str, given.rows)) if given.rows else "plan"
    sections.publish(name, "Adding up a query log", sections.command(), f"{body}\n\nGoal: under {GOAL_MIB:,} MiB at 10^8 rows.", where, given.write)


if __name__ == "__main__":
    main()
