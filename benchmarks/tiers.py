"""What plans are worth on a finished lifecycle run: cost and Acc@2 against the model alone, GoodRate of the pages against the engine's.

    python benchmarks/tiers.py runs/market-default            the table
    python benchmarks/tiers.py runs/market-default --write    and put it in docs/results.md

Reads the run's held-out pages, model, student and pairs; works in a temporary folder. Acc@2 is the mean of the tiers', weighted by their traffic; the
model's is that of its own verdicts of the same pairs. Cost is `lore-tier replay`'s: seconds of this process per pair shown, against the model for all
of them. What the head costs once per time to live stands in a column of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
from shared import replays, sections
from shared.commands import lore

from lore_cli.judges.plan import TIERS, Router, load_plan
from lore_cli.records import RELEVANT, Pair, Verdict
from lore_cli.stream import read

PLANS = ((0.5, 0.05, "model"), (0.7, 0.05, "model"), (0.7, 0.05, "student"))  # head's traffic, tail's, who judges the head
GOALS = "Acc@2 at least 98 % of the model's, cost at most 15 %, Item GoodRate at least +27 % over the engine's pages"


def model_acc2(plan: Path, pairs: Path, verdicts: Path) -> dict[str, float]:
    """The model's Acc@2 in each tier; verdicts that failed are left out, as they are of the deployed system's."""
    router, gold = Router(plan, load_plan(plan)), {pair.id: pair for pair in read(Pair, [str(pairs)])}
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for verdict in read(Verdict, [str(verdicts)]):
        pair = gold[verdict.id]
        if verdict.grade and pair.grade:
            right[router.tier(pair.query)].append((verdict.grade in RELEVANT) == (pair.grade in RELEVANT))
    return {tier: sum(found) / len(found) for tier, found in right.items()}


def measure(run: Path, folder: Path, head: float, tail: float, judge: str) -> list[str]:
    """A row of the table."""
    judges = {"model": f"hf:{run / 'rl'}", "student": f"student:{run / 'student'}"}
    plan = folder / f"{head}-{tail}-{judge}.json"
    cache, log, pages = folder / f"cache-{judge}", run / "market" / "log.jsonl", run / "held-out.jsonl"
    shares = ("--head-traffic", head, "--tail-traffic", tail)
    lore("lore-tier", "plan", log, *shares, "--cache", cache, "--student", judges["student"], "--tail", judges["model"], "-o", plan)
    lore("lore-tier", "refresh", "--plan", plan, "--pairs", run / "pairs.jsonl", "--judge", judges[judge], "--cache", cache, "--max-shrink", 1)
    told = replays.replay(log, plan, pages)
    counts = orjson.loads(Path(f"{cache}.manifest.json").read_bytes())["counts"]
    figures = row(told, model_acc2(plan, pages, folder / "model.jsonl"), counts["kept"] + counts["judged"])
    return [f"head {head:.0%}, judged by the {judge}; tail {tail:.0%}", *figures]


def row(told: dict[str, Any], alone: dict[str, float], head_pairs: int) -> list[str]:
    """Cost, cost with the head's, Acc@2 of both, their ratio, gains in Item GoodRate; of a replay's report and the model's Acc@2 in each tier."""
    share = {tier["tier"]: tier["traffic_share"] for tier in told["tiers"]}
    tiered = {tier["tier"]: tier["against_gold"]["acc2"] for tier in told["tiers"]}
    ours, model = (sum(share[tier] * acc2[tier] for tier in TIERS) for acc2 in (tiered, alone))
    cost, replayed = told["cost"]["share_of_model_alone"], told["replayed"]
    ahead = head_pairs / (told["log"]["requests"] * replayed["pairs"] / replayed["queries"])
    relative = [replays.relative_gain(told["goodrate"], page, "item") for page in ("reranked", "filtered")]
    return [f"{cost:.1%}", f"{cost + ahead:.1%}", f"{ours:.3f}", f"{model:.3f}", f"{ours / model:.1%}", *relative]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished lifecycle: make lifecycle, runs/market-default")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where, run = sections.machine(), given.run.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lore("lore-rair", "run", run / "held-out.jsonl", "--judge", f"hf:{run / 'rl'}", "-o", folder / "model.jsonl")
        rows = [measure(run, folder, *plan) for plan in PLANS]
    head = ["plan", "cost, share of the model's", "with the head's, once per log", "Acc@2", "the model's", "kept", "Item GoodRate, re-ranked", "filtered"]
    told = "Simulated market, held-out queries; share of the model's cost by measured latencies; GoodRate relative to pages by lexical overlap, 95 % by queries."
    better = "On this market the student is better than the model it was taught by, because it also learnt from human grades: what the student answers, gains."
    sections.publish("tiers", "Plans on the simulated market", sections.command(), f"{sections.markdown(head, rows)}\n\n{told} {better} Goals: {GOALS}.", where, given.write)


if __name__ == "__main__":
    main()
