"""Do 95 % intervals hold the truth 95 times in 100? Simulated benchmarks whose pairs are correlated within queries, with a truth that is known.

    python benchmarks/coverage.py               2,000 benchmarks of each size (about three minutes)
    python benchmarks/coverage.py --runs 100    fewer
    python benchmarks/coverage.py --write       and put the tables in docs/results.md

A query has 1 to 8 pairs, its own mix of grades (Dirichlet) and its own difficulty (Beta): its pairs are alike in both. The truth is the metric of the
expected confusion matrix. Beside our intervals: the same bootstrap as if every row stood for itself. For prediction-powered estimates a few queries have human
grades and many have a generous judge's verdicts; beside them stand the intervals of the human grades alone, and how often the judge's own rate is
within those.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy
from shared import sections

from lore_cli.rair.asymptotic import macro_f1_interval
from lore_cli.rair.intervals import bounds
from lore_cli.rair.metrics import COLUMNS, METRICS, Sums
from lore_cli.rair.ppi import powered_mean

RUNS, DRAWS = 2_000, 1_000
SIZES = (50, 200)  # queries
WATCHED = ("acc2", "acc4", "macro_f1", "qwk")
LOWEST, HIGHEST = 0.93, 0.97  # the goal
MIX, SKILL = numpy.array([0.8, 0.6, 0.6, 1.0]), (4.0, 2.0)  # of the Dirichlet of grades and the Beta of difficulty
WRONG = numpy.array([[0, 0.6, 0.3, 0.1], [0.4, 0, 0.4, 0.2], [0.1, 0.4, 0, 0.5], [0.05, 0.25, 0.7, 0]])  # the grade given where the right one is not
PAIRS = 8  # of a query, at most


def benchmark(generator: Any, queries: int) -> tuple[Any, Any]:
    """(sums per query [queries, columns], rows [rows, columns]) of a simulated benchmark."""
    counts = generator.integers(1, PAIRS + 1, queries)
    query = numpy.repeat(numpy.arange(queries), counts)
    mix, skill = generator.dirichlet(MIX, queries)[query], generator.beta(*SKILL, queries)[query]
    gold = _drawn(generator, mix)
    given = numpy.where(generator.random(len(query)) < skill, gold, _drawn(generator, WRONG[gold]))
    rows = numpy.zeros((len(query), len(COLUMNS)))
    rows[numpy.arange(len(query)), gold * 4 + given] = 1
    return numpy.add.reduceat(rows, numpy.cumsum(counts) - counts, axis=0), rows


def truth() -> Any:
    """Sums proportional to the expected confusion matrix, [columns]."""
    skill = SKILL[0] / sum(SKILL)
    expected = (MIX / MIX.sum())[:, None] * (skill * numpy.eye(4) + (1 - skill) * WRONG)
    return numpy.concatenate([expected.ravel(), numpy.zeros(len(COLUMNS) - 16)])


def watched(values: Any) -> Any:
    """The metrics of `WATCHED` from sums [..., columns]."""
    sums = Sums(values)
    return numpy.stack([METRICS[name](sums) for name in WATCHED], axis=-1)


def coverage(runs: int, queries: int, draws: int) -> dict[str, Any]:
    """Share of runs in which the interval holds the truth: {method: [metrics]}; of the analytic one for Macro-F1 alone."""
    generator, right, shares = numpy.random.default_rng(queries), watched(truth()), numpy.array([name != "qwk" for name in WATCHED])
    held = {"clustered by query": numpy.zeros(len(WATCHED)), "rows taken as independent": numpy.zeros(len(WATCHED)), "analytic": 0.0}
    for run in range(runs):
        per_query, rows = benchmark(generator, queries)
        for name, sums in (("clustered by query", per_query), ("rows taken as independent", rows)):
            _, low, high = bounds(sums, watched, shares, draws, run)
            held[name] += (low <= right) & (right <= high)
        _, low, high = macro_f1_interval(per_query)
        held["analytic"] += low <= right[WATCHED.index("macro_f1")] <= high
    return {name: count / runs for name, count in held.items()}


def powered(runs: int, labelled: int, others: int, overlap: bool) -> dict[str, float]:
    """Prediction-powered share of relevant pairs: how often intervals hold the truth, and how wide they are. overlap: graded pairs are among those judged."""
    generator = numpy.random.default_rng(labelled)
    right = float((MIX / MIX.sum())[2:].sum())
    held = {"powered": 0, "labels": 0, "verdicts within": 0}
    widths = numpy.zeros(2)
    for _ in range(runs):
        columns = _judged(generator, labelled, others, overlap)
        own, alone = (powered_mean(*columns, degrees=labelled - 1, weight=weight) for weight in (None, 0.0))
        held["powered"] += own[1] <= right <= own[2]
        held["labels"] += alone[1] <= right <= alone[2]
        held["verdicts within"] += alone[1] <= columns[3].sum() / columns[4].sum() <= alone[2]
        widths += own[2] - own[1], alone[2] - alone[1]
    return {name: count / runs for name, count in held.items()} | {"width": float(widths[0] / widths[1])}


def _judged(generator: Any, labelled: int, others: int, overlap: bool) -> tuple[Any, ...]:
    """Sums per query as `powered_mean` takes them: a judge who is right on 85 % of relevant pairs and generous with 25 % of the others."""
    queries = labelled + others
    counts = generator.integers(1, PAIRS + 1, queries)
    query = numpy.repeat(numpy.arange(queries), counts)
    human = _drawn(generator, generator.dirichlet(MIX, queries)[query]) >= 2
    judge = generator.random(len(query)) < numpy.where(human, 0.85, 0.25)
    sums = [numpy.bincount(query, weights=values, minlength=queries) for values in (human, judge, numpy.ones(len(query)))]
    graded = numpy.arange(queries) < labelled
    judged = numpy.ones(queries, dtype=bool) if overlap else ~graded
    return (*(column * graded for column in sums), sums[1] * judged, sums[2] * judged)


def _drawn(generator: Any, shares: Any) -> Any:
    """One grade of each row of shares."""
    return (generator.random((len(shares), 1)) > shares.cumsum(1)[:, :-1]).sum(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"simulated benchmarks of each size (default: {RUNS})")
    parser.add_argument("--draws", type=int, default=DRAWS, help=f"bootstrap draws (default: {DRAWS})")
    parser.add_argument("--write", action="store_true", help="put the tables in docs/results.md")
    asked = parser.parse_args()
    where = sections.machine()
    rows = []
    for queries in SIZES:
        found = coverage(asked.runs, queries, asked.draws)
        analytic = [f"{found['analytic']:.3f}" if name == "macro_f1" else "" for name in WATCHED]
        rows += [[f"{queries}", name, *(f"{share:.3f}" for share in found[name])] for name in ("clustered by query", "rows taken as independent")]
        rows.append([f"{queries}", "analytic, clustered", *analytic])
    table = sections.markdown(["queries", "interval", *WATCHED], rows)
    estimates = []
    for labelled, others, overlap in ((30, 600, False), (100, 2_000, False), (100, 2_000, True)):
        found = powered(asked.runs, labelled, others, overlap)
        estimates.append([f"{labelled}", f"{others:,}{' and these' if overlap else ''}", f"{found['powered']:.3f}", f"{found['labels']:.3f}", f"{found['width']:.2f}", f"{found['verdicts within']:.3f}"])
    head = ["queries with human grades", "queries with verdicts", "powered: holds the truth", "labels alone: holds the truth", "powered width / labels' width", "judge's own rate within the labels' interval"]
    body = f"{table}\n\nGoal: clustered between {LOWEST} and {HIGHEST}. Simulated.\n\n{sections.markdown(head, estimates)}"
    sections.publish("coverage", "Coverage of the intervals", sections.command(), body, where, asked.write)


if __name__ == "__main__":
    main()
