"""Agreement of the deterministic expert with human grades, on pairs that took no part in choosing its thresholds.

    python benchmarks/expert.py --pairs PAIRS                     graded pairs with the raters' mean in `relevance` (1 to 3)
    python benchmarks/expert.py --pairs PAIRS --before VERDICTS   paired differences to an earlier version's `lore-rair run --judge rulebook:`
    python benchmarks/expert.py --pairs PAIRS --write             and put the table in docs/results.md

Queries are split by a hash of their key (case, plural and word order do not matter): the expert was worked on with the development half,
the figures are of the other half. Three grades: a mean below 1.5, below 2.5, the rest; the expert's L2 and L3 are the middle one.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from shared import sections

from lore_cli.judges import JudgeSettings
from lore_cli.judges import rulebook as expert
from lore_cli.path.disjoint import query_key
from lore_cli.rair.compare import comparison
from lore_cli.rair.metrics import every_metric
from lore_cli.rair.report import Settings, measured
from lore_cli.rair.tally import Tally
from lore_cli.records import Grade, Pair, Verdict, change, row_of
from lore_cli.rulebook import load_rulebook
from lore_cli.stream import read

SHOWN = {"acc2": "Acc@2", "acc4": "accuracy", "macro_f1": "Macro-F1", "qwk": "kappa²"}
THREE: dict[str, Grade] = {"L1": "L1", "L2": "L2", "L3": "L2", "L4": "L3"}


def is_development(query: str) -> bool:
    """Whether a query belongs to the half that thresholds were chosen on: the first byte of its key's SHA-256 is even."""
    return hashlib.sha256(query_key(query).encode()).digest()[0] % 2 == 0


def in_three(relevance: float) -> Grade:
    """The three-grade cut of a mean rating, in the first three grades."""
    return "L1" if relevance < 1.5 else "L2" if relevance < 2.5 else "L3"


def tallies(pairs: Sequence[Pair], verdicts: Iterable[Verdict]) -> dict[str, Tally]:
    """The verdicts counted against four grades and against three."""
    counted = {"four grades": Tally(load_rulebook()), "three grades": Tally(load_rulebook())}
    for pair, verdict in zip(pairs, verdicts, strict=True):
        verdict = Verdict(verdict.id, verdict.query, verdict.item_id, verdict.judge, verdict.grade, error=verdict.error)
        counted["four grades"].add(pair, verdict)
        coarse = change(verdict, grade=THREE[verdict.grade]) if verdict.grade else verdict
        counted["three grades"].add(change(pair, grade=in_three(row_of(pair)["relevance"])), coarse)
    return counted


def shown(metric: dict[str, Any], sign: str = "") -> str:
    """A value with its bounds."""
    value = metric["difference"] if sign else metric["value"]
    return f"{value:{sign}.3f} [{metric['lo']:{sign}.3f}, {metric['hi']:{sign}.3f}]"


def rows(now: dict[str, Tally], before: dict[str, Tally] | None, draws: int) -> list[list[str]]:
    """Table rows: which grades, which version, a column per metric. Acc@2 has no meaning for three grades."""
    table = []
    for name, tally in now.items():
        metrics = [metric for metric in SHOWN if metric != "acc2" or name == "four grades"]
        versions = {"before": before[name], "now": tally} if before else {"now": tally}
        for version, counted in versions.items():
            values = measured(counted.per_query(counted.matrix()), every_metric, Settings(draws=draws))
            table.append([name, version, *(shown(values[metric]) if metric in metrics else "–" for metric in SHOWN)])
        if before:
            gaps = comparison(before[name], tally, draws, 0)["slices"][0]["metrics"]
            table.append([name, "difference", *(shown(gaps[metric], "+") if metric in metrics else "–" for metric in SHOWN)])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", required=True, help="graded pairs (JSONL or Parquet) with `relevance`")
    parser.add_argument("--before", help="verdicts of an earlier version on the same pairs, for paired differences")
    parser.add_argument("--development", action="store_true", help="the development half instead of the held-out one")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws (default: 1000)")
    parser.add_argument("--limit", type=int, help="read at most N pairs")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where = sections.machine()
    pairs = [pair for pair in islice(read(Pair, [given.pairs]), given.limit) if is_development(pair.query) == given.development]
    now = tallies(pairs, expert.open("", JudgeSettings(load_rulebook()))(pairs))
    before = None
    if given.before:
        held = {verdict.id: verdict for verdict in read(Verdict, [given.before])}
        before = tallies(pairs, [held[pair.id] for pair in pairs])
    half = "development" if given.development else "held-out"
    counts = f"The {half} half: {len(pairs):,} pairs of {len(now['four grades'].queries):,} queries. 95 % intervals, clustered by query."
    table = sections.markdown(["grades", "version", *SHOWN.values()], rows(now, before, given.draws))
    command = f"python benchmarks/expert.py --pairs {given.pairs}" + " --before VERDICTS" * bool(given.before) + " --development" * given.development
    sections.publish("expert", "The deterministic expert and human grades", command, f"{counts}\n\n{table}", where, given.write)


if __name__ == "__main__":
    main()
