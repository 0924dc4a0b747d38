"""Speed and memory of reading, validating and writing JSONL, against a bare orjson loop.

    python benchmarks/stream.py            speed; memory at 10^5 and 10^6 rows
    python benchmarks/stream.py --full     memory at 10^7 rows too (about ten minutes)
    python benchmarks/stream.py --write    and put the table in docs/results.md

Speed: rounds of both loops in turn over one file of pairs; the ratio is the median of the rounds' ratios. Both write to the same
kind of place; to a file, ours also syncs and renames. Memory: the peak of a child process that reads rows from a pipe.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
from shared import memory, sections

from lore_cli.records import Pair
from lore_cli.stream import open_output, read

ROWS = 100_000
MEMORY = (100_000, 1_000_000, 10_000_000)
COLOURS = ("navy", "red", "dark blue", "olive", "ivory")
GOAL = 0.5  # of the bare loop's rows a second


def pairs(rows: int, shuffled: bool) -> Iterator[bytes]:
    """Lines of made-up pairs of about 330 bytes. shuffled: ids in no order, else ascending."""
    step = 7_368_787 if shuffled else 1  # a prime, so every id comes once
    for number in range(rows):
        colour = COLOURS[number % 5]
        yield orjson.dumps({
            "id": f"p{number * step % rows if shuffled else number:09d}", "query": f"{colour} sofa bed without arms under {number % 900}",
            "item": {"id": f"i{number % 9000:06d}", "title": f"sleeper sofa in {colour}, three seats", "category": "sofa bed", "brand": "a made-up brand",
                     "attributes": {"color": colour, "material": "linen", "size": "3 seater"}, "description": "folds out, with storage below", "price": 250 + number % 500},
            "grade": f"L{1 + number % 4}", "count": 1 + number % 90, "split": "train",
        }, option=orjson.OPT_APPEND_NEWLINE)  # fmt: skip


def bare(source: str, target: str) -> None:
    """What is compared with: parse and write, nothing else."""
    with open(source, "rb") as rows, open(target, "wb") as out:
        write, loads, dumps = out.write, orjson.loads, orjson.dumps
        for line in rows:
            write(dumps(loads(line), option=orjson.OPT_APPEND_NEWLINE))


def lore(source: str, target: str) -> None:
    """Read, validate, refuse doubled ids, write whole or not at all."""
    with open_output(target, force=True) as out:
        for pair in read(Pair, [source]):
            out.write(pair)


def timed(work: Callable[[str, str], None], source: str, target: str) -> float:
    start = time.perf_counter()
    work(source, target)
    return time.perf_counter() - start


def speed(rounds: int, rows: int) -> list[list[str]]:
    """Table rows: what, rows/s of the bare loop and of ours, ratio with the lowest and highest of the rounds."""
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for order in ("ascending", "shuffled"):
            source = str(Path(folder, f"{order}.jsonl"))
            with open(source, "wb") as file:
                file.writelines(pairs(rows, order == "shuffled"))
            for name, target in (("to /dev/null", "/dev/null"), ("to a file", str(Path(folder, "out.jsonl")))):
                seconds = [(timed(bare, source, f"{target}-bare" if target != "/dev/null" else target), timed(lore, source, target)) for _ in range(rounds + 1)][1:]
                ratios = sorted(one / other for one, other in seconds)
                slow, fast = (rows / statistics.median(column) for column in list(zip(*seconds, strict=True))[::-1])
                table.append([f"{order} ids, {name}", f"{fast:,.0f}", f"{slow:,.0f}", f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"])
    return table


def peak(rows: int, shuffled: bool) -> float:
    """Peak memory in MiB of a child that streams so many rows."""
    return memory.peak('import stream; stream.lore("-", "/dev/null")', pairs(rows, shuffled))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="memory at 10^7 rows too")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each speed measurement (default: 9)")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of the speed measurement (default: {ROWS})")
    given = parser.parse_args()
    random.seed(0)
    where = sections.machine()
    rates = sections.markdown(["JSONL pairs", "bare orjson, rows/s", "lore, rows/s", "ratio, median [lowest, highest]"], speed(given.rounds, given.rows))
    sizes = MEMORY if given.full else MEMORY[:2]
    peaks = [[f"{rows:,}", *(f"{peak(rows, shuffled):.0f}" for shuffled in (False, True))] for rows in sizes]
    memory = sections.markdown(["rows", "peak MiB, ascending ids", "peak MiB, shuffled ids"], peaks)
    command = "python benchmarks/stream.py" + " --full" * given.full
    sections.publish("stream", "Reading, validating and writing rows", command, f"{rates}\n\nGoal: {GOAL} of the bare loop.\n\n{memory}", where, given.write)


if __name__ == "__main__":
    main()
