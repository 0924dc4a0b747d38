"""How long `--help` of each command takes, against `python -c 'import click'`.

    python benchmarks/startup.py            the table
    python benchmarks/startup.py --write    and put it in docs/results.md

Rounds over all commands in turn, each in a process of its own; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from shared import sections

COMMANDS = ("lore-synth", "lore-sft", "lore-rl", "lore-rair", "lore-distill", "lore-tier")
GOAL_MS = 100


def elapsed_ms(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    return (time.perf_counter() - start) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="runs of each command (default: 20)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where = sections.machine()
    asked = {"python -c 'import click'": [sys.executable, "-c", "import click"]}
    asked |= {f"{name} --help": [sys.executable, str(sections.ROOT / "bin" / name), "--help"] for name in COMMANDS}
    times: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(given.rounds + 1):
        for name, command in asked.items():
            spent = elapsed_ms(command)
            if number:  # the first round only warms the disk cache
                times[name].append(spent)
    least = statistics.median(times["python -c 'import click'"])
    rows = [[f"`{name}`", f"{statistics.median(spent):.0f}", f"{min(spent):.0f}", f"{statistics.median(spent) / least:.2f}"] for name, spent in times.items()]
    table = sections.markdown(["process", "median ms", "fastest ms", "ratio"], rows)
    sections.publish("startup", "Start of the commands", "python benchmarks/startup.py" + f" --rounds {given.rounds}" * (given.rounds != 20), f"{table}\n\nGoal: about {GOAL_MS} ms.", where, given.write)


if __name__ == "__main__":
    main()
