"""What intervals change in a decision, on real human grades: benchmarks of few queries are drawn from a large one, whose answer is known.

    python benchmarks/decisions.py DEV.parquet            (about three minutes)
    python benchmarks/decisions.py DEV.parquet --write    and put the table in docs/results.md

DEV.parquet: graded pairs. Judged are those of the test queries of benchmarks/homedepot.py, by the lexical baseline fitted to 300 and to all other pairs, and by the
rulebook. From these, benchmarks of `--queries` queries are drawn again and again, and two judges compared on each: how often does the interval of their
difference hold the difference over all test queries, and how often does it claim one? Clustered by query, and as if rows were independent.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
from shared import distilled, sections

from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.rair.intervals import bca, draw_sums, leave_one_out
from lore_cli.rair.metrics import COLUMNS, METRICS, Sums
from lore_cli.records import GRADES, Pair, row_of
from lore_cli.rulebook import load_rulebook
from lore_cli.stream import open_output
from lore_cli.values import fold

QUERIES, RUNS, DRAWS, FEW = 120, 400, 400, 300
WATCHED = ("acc2", "acc4", "macro_f1")


def judged(pairs: Sequence[Pair], uri: str) -> Any:
    """The cell of the confusion matrix of each pair."""
    verdicts = open_judge(uri, JudgeSettings(rulebook=load_rulebook()))(iter(pairs))
    return numpy.array([GRADES.index(pair.grade) * len(GRADES) + GRADES.index(verdict.grade) for pair, verdict in zip(pairs, verdicts, strict=True)])  # type: ignore[arg-type]


def one_hot(first: Any, second: Any) -> Any:
    """Both runs' columns for every row, [rows, 2 · columns]."""
    rows = numpy.zeros((len(first), 2 * len(COLUMNS)))
    rows[numpy.arange(len(first)), first] = 1
    rows[numpy.arange(len(first)), len(COLUMNS) + second] = 1
    return rows


def differences(values: Any) -> Any:
    """The metrics of `WATCHED` of the second run less the first's, from sums [..., 2 · columns]."""
    first, second = Sums(values[..., : len(COLUMNS)]), Sums(values[..., len(COLUMNS) :])
    return numpy.stack([METRICS[name](second) - METRICS[name](first) for name in WATCHED], axis=-1)


def resampled(rows: Any, query: Any, runs: int, queries: int, draws: int) -> tuple[Any, dict[str, tuple[Any, Any]]]:
    """(difference over all rows, {method: (share of runs whose interval holds it, share that claims a difference)}), [metrics] each."""
    generator, truth = numpy.random.default_rng(0), differences(rows.sum(0))
    per_query = numpy.zeros((query.max() + 1, rows.shape[1]))
    numpy.add.at(per_query, query, rows)
    chosen: dict[str, Callable[[Any], Any]] = {"clustered by query": lambda few: per_query[few], "rows taken as independent": lambda few: rows[numpy.isin(query, few)]}
    found = {name: (numpy.zeros(len(WATCHED)), numpy.zeros(len(WATCHED))) for name in chosen}
    for run in range(runs):
        few = generator.choice(len(per_query), queries, replace=False)
        for name, choose in chosen.items():
            sums = choose(few)
            low, high = bca(differences(sums.sum(0)), differences(draw_sums(sums, draws, run)), differences(leave_one_out(sums)))
            found[name][0][:] += (low <= truth) & (truth <= high)
            found[name][1][:] += (low > 0) | (high < 0)
    return truth, {name: (held / runs, claimed / runs) for name, (held, claimed) in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", help="graded pairs (Parquet or JSONL)")
    parser.add_argument("--queries", type=int, default=QUERIES, help=f"queries of a benchmark that is drawn (default: {QUERIES})")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"benchmarks drawn (default: {RUNS})")
    parser.add_argument("--rows", type=int, help="use at most so many training and test pairs")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    asked = parser.parse_args()
    where = sections.machine()
    train, test = distilled.split(asked.pairs, asked.rows, 0)
    numbers: dict[str, int] = {}
    query = numpy.array([numbers.setdefault(fold(pair.query), len(numbers)) for pair in test])
    with tempfile.TemporaryDirectory() as folder:
        cells = {"rulebook": judged(test, "rulebook:")}
        for name, rows in ((f"lexical, {FEW} pairs", train[:FEW]), ("lexical, all pairs", train)):
            path = str(Path(folder, f"{len(rows)}.jsonl"))
            with open_output(path) as out:
                for pair in rows:
                    out.write(row_of(pair))
            cells[name] = judged(test, f"lexical:{path}")
    table = []
    for first, second in ((f"lexical, {FEW} pairs", "lexical, all pairs"), ("lexical, all pairs", "rulebook")):
        truth, found = resampled(one_hot(cells[first], cells[second]), query, asked.runs, min(asked.queries, len(numbers)), DRAWS)
        for i, name in enumerate(WATCHED):
            shares = [f"{share[i]:.3f}" for method in ("clustered by query", "rows taken as independent") for share in found[method]]
            table.append([f"{second} - {first}", name, f"{truth[i]:+.3f}", *shares])
    head = ["difference", "metric", f"over all {len(test):,} pairs", "clustered: holds it", "claims one", "rows: holds it", "claims one"]
    told = f"{asked.runs} benchmarks of {min(asked.queries, len(numbers))} of {len(numbers):,} queries; 95 % intervals of {DRAWS} draws. Real human grades."
    sections.publish("decisions", "What intervals change in a decision", sections.command(), f"{sections.markdown(head, table)}\n\n{told}", where, asked.write)


if __name__ == "__main__":
    main()
