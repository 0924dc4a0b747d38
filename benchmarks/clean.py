"""Speed and memory of lore-synth clean, against a bare orjson loop that looks at nothing.

    python benchmarks/clean.py            speed; memory at 10^5 and 10^6 rows
    python benchmarks/clean.py --write    and put the table in docs/results.md

Rows are made-up pairs, 14 to a query; every 50th repeats the one before under another id and with one more word. Both loops write to /dev/null.
Speed in CPU time, because the machine may be busy. Memory: the peak of a child process that reads rows from a pipe.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from shared import memory, sections
from stream import bare

import orjson

from lore_cli.commands import clean, ending

GOAL_MB = 300
COLOURS = ("red", "green", "blue", "grey", "white")
REPEATED = 50


def pairs(rows: int) -> Iterator[bytes]:
    """JSONL pairs of about 300 bytes."""
    for number in range(rows):
        of = number - 1 if number % REPEATED == REPEATED - 1 else number
        more = " indoor" if of != number else ""
        colour = COLOURS[of // 14 % 5]
        title = f"maker{of % 977} model{of} sleeper sofa in {colour} with storage below, three seats, for living room and bedroom{more}"
        yield orjson.dumps({
            "id": f"p{number:09d}", "query": f"{colour} sofa bed number{of // 14} without arms", "grade": f"L{1 + of % 4}", "count": 1 + of % 90,
            "item": {"id": f"i{number:09d}", "title": title, "category": "sofa bed", "brand": "a made-up brand", "attributes": {"material": "linen", "size": "3 seater"}},
        }, option=orjson.OPT_APPEND_NEWLINE)  # fmt: skip


def cleaned(source: str, target: str) -> None:
    """The command with every gate but a benchmark's."""
    code = ending.run(clean.cli, "lore-synth clean", [source, "--max-length", "10000", "-o", target, "--force", "--quiet"])
    if code:
        raise RuntimeError(f"lore-synth clean ended with {code}")


def timed(work: Callable[[str, str], None], source: str) -> float:
    start = time.process_time()
    work(source, "/dev/null")
    return time.process_time() - start


def speed(rows: int, rounds: int) -> list[str]:
    """A table row: rows/s of the bare loop and of ours, ratio with the lowest and highest of the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(folder, "rows.jsonl"))
        with open(source, "wb") as file:
            file.writelines(pairs(rows))
        seconds = [(timed(bare, source), timed(cleaned, source)) for _ in range(rounds + 1)][1:]  # the first round warms up
    ratios = sorted(one / other for one, other in seconds)
    fast, slow = (rows / statistics.median(column) for column in zip(*seconds, strict=True))
    return [f"{rows:,}", f"{fast:,.0f}", f"{slow:,.0f}", f"{statistics.median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]"]


def peak(rows: int) -> float:
    """Peak memory in MiB of a child that cleans so many rows."""
    return memory.peak('import clean; clean.cleaned("-", "/dev/null")', pairs(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the speed measurement (default: 5)")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the speed measurement (default: 20000)")
    given = parser.parse_args()
    where = sections.machine()
    rates = sections.markdown(["rows", "bare orjson, rows/s of CPU", "lore-synth clean, rows/s of CPU", "ratio, median [lowest, highest]"], [speed(given.rows, given.rounds)])
    peaks = sections.markdown(["rows", "peak MiB"], [[f"{count:,}", f"{peak(count):.0f}"] for count in (100_000, 1_000_000)])
    sections.publish("clean", "Quality gates", "python benchmarks/clean.py", f"{rates}\n\n{peaks}\n\nGoal: under {GOAL_MB} MB at 10^6 rows.", where, given.write)


if __name__ == "__main__":
    main()
