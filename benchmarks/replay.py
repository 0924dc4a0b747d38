"""How fast a log is replayed under a policy that answers from the cache.

    python benchmarks/replay.py            5,000 queries of 10 items, 10^8 requests
    python benchmarks/replay.py --write    and put the table in docs/results.md

A replay judges every distinct query once and weighs it by its traffic, so requests a minute grow with the log for nothing. Pairs a second tell what the
machine does; the peer is the cache's own look-up of the same pairs, in this process, without routing and verdicts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from shared import sections

from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.judges.cached import Cache
from lore_cli.judges.plan import Router, load_plan
from lore_cli.records import Item, Pair
from lore_cli.rulebook import load_rulebook
from lore_cli.tier import plan as planning
from lore_cli.tier.log import LogRow, count_queries
from lore_cli.tier.refresh import Policy, Wanted, refresh
from lore_cli.tier.replay import Page, gold_grades, report, requests_of

GOAL = 1_000_000  # requests a minute
COLOURS = ("navy", "red", "olive", "ivory", "grey")


def pairs(queries: int, items: int) -> list[Pair]:
    """Candidates of made-up queries."""
    made = []
    for number in range(queries):
        for item in range(items):
            colour = COLOURS[(number + item) % len(COLOURS)]
            made.append(
                Pair(
                    f"p{number}-{item}",
                    f"{COLOURS[number % len(COLOURS)]} sofa {number}",
                    Item(f"i{number}-{item}", f"{colour} sofa, model {item}", "sofa"),
                    grade="L4",
                )
            )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=5_000, help="distinct queries (default: 5000)")
    parser.add_argument("--items", type=int, default=10, help="candidates of each (default: 10)")
    parser.add_argument("--requests", type=int, default=100_000_000, help="requests of the log (default: 10^8)")
    parser.add_argument("--rounds", type=int, default=3, help="replays (default: 3)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where, rulebook = sections.machine(), load_rulebook()
    candidates = pairs(given.queries, given.items)
    harmonic = sum(1 / rank for rank in range(1, given.queries + 1))
    log = [
        LogRow(f"{COLOURS[number % len(COLOURS)]} sofa {number}", max(1, round(given.requests / harmonic / (number + 1)))) for number in range(given.queries)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        path, folder = str(Path(temporary, "plan.json")), Path(temporary, "cache")
        planning.write_plan(
            path,
            count_queries(log),
            {"head_traffic": 1.0, "tail_traffic": 0.0, "min_count": 1.0},
            planning.Deployment(str(folder), None, "rulebook:", 0.5, 1e6, 2e6),
        )
        made, expert = load_plan(path), open_judge("rulebook:", JudgeSettings(rulebook))
        refresh(folder, Wanted(path, made, expert, rulebook.hash), candidates, Policy(1e6))
        system, cache, gold = open_judge(f"tier:{path}", JudgeSettings(rulebook)), Cache(folder, rulebook.hash), gold_grades(candidates)
        rounds, looked = [], []
        for number in range(given.rounds):
            began = time.perf_counter()
            counted = count_queries(log)
            requests = requests_of(counted, Router(path, made), candidates, 0, number)
            verdicts = {verdict.id: verdict for verdict in system(pair for request in requests for pair in request.pairs)}
            report(requests, verdicts, gold, made, counted, Page(), number, {})
            rounds.append(time.perf_counter() - began)
            began = time.perf_counter()
            for first in range(0, len(candidates), given.items):
                cache.look_up(candidates[first : first + given.items], began)
            looked.append(time.perf_counter() - began)
    seconds, peer, requests_made = statistics.median(rounds), statistics.median(looked), sum(row.count or 0 for row in log)
    table = [
        [
            "replay and report",
            f"{seconds:.2f}",
            f"{requests_made / seconds * 60:,.0f}",
            f"{len(candidates) / seconds:,.0f}",
            f"{given.queries / seconds * 60:,.0f}",
        ],
        ["look-ups alone", f"{peer:.2f}", f"{requests_made / peer * 60:,.0f}", f"{len(candidates) / peer:,.0f}", f"{given.queries / peer * 60:,.0f}"],
    ]
    body = sections.markdown(["what", "seconds", "requests of the log a minute", "pairs/s", "distinct queries a minute"], table)
    sections.publish(
        "replay",
        "Replaying a log from the cache",
        sections.command(),
        f"{requests_made:,} requests, {given.queries:,} distinct queries. Goal: {GOAL:,} requests a minute.\n\n{body}",
        where,
        given.write,
    )


if __name__ == "__main__":
    main()
