"""A shop of a few pairs, and a judge whose work can be counted; used by the tests of tiers and of the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from lore_cli.judges import cached
from lore_cli.judges import plan as plans
from lore_cli.records import GRADES, Pair, Verdict, parse
from lore_cli.tier import log
from lore_cli.tier import plan as planning
from lore_cli.tier import refresh as refreshing

ROOT = Path(__file__).resolve().parent.parent
RULEBOOK = "0123456789abcdef"
WORDS = ("navy", "sofa", "lamp", "chair", "oak", "rug", "desk", "shelf", "mug", "vase")


def pair(query: str, number: int, **item: object) -> Pair:
    """A candidate: the item's title holds as many of the shop's words as its number says."""
    row = {"id": f"{query}/{number}", "query": query, "item": {"id": f"i{number}", "title": " ".join(WORDS[: 1 + number % 10]), **item}}
    return parse(Pair, row)


class WordJudge:
    """Grades by how many query words the title holds. `asked` lists the ids it judged; `pause_s` makes it slow; ids in `fails` get an error."""

    def __init__(self, version: str = "1", pause_s: float = 0.0, fails: frozenset[str] = frozenset(), scores: dict[str, float] | None = None) -> None:
        self.name, self.version, self.pause_s, self.fails, self.scores, self.asked = "word", version, pause_s, fails, scores, []

    def __call__(self, pairs):
        for one in pairs:
            self.asked.append(one.id)
            time.sleep(self.pause_s)
            words = one.query.split()
            share = sum(word in one.item.title.split() for word in words) / len(words)
            answer = {"error": "no answer"} if one.id in self.fails else {"grade": GRADES[round(share * 3)]}
            if self.scores and "grade" in answer:
                answer["scores"] = self.scores
            yield parse(Verdict, {"id": one.id, "query": one.query, "item_id": one.item.id, "judge": self.name, **answer})

    def identity(self) -> dict[str, str]:
        return {"judge": "word", "version": self.version}


def make_plan(folder: Path, counts: dict[str, int], head: float = 0.8, tail: float = 0.05, **deployment: object) -> str:
    """A plan file over a log given as counts."""
    rows = [parse(log.LogRow, {"query": query, "count": count}) for query, count in counts.items()]
    settings = {"cache": str(folder / "cache"), "student": None, "tail": None, "threshold": 0.5, "ttl_s": 86400.0, "expire_s": 172800.0, **deployment}
    path = str(folder / "plan.json")
    targets = {"head_traffic": head, "tail_traffic": tail, "min_count": 1.0}
    planning.write_plan(path, log.count_queries(rows), targets, planning.Deployment(**settings))
    return path


def refresh(
    folder: Path, plan: str, pairs: list[Pair], judge: object, now: float = 1e9, rulebook: str = RULEBOOK, rulebook_file: Path | None = None, **policy: object
) -> refreshing.Summary:
    """One refresh at a given time."""
    made = plans.load_plan(plan)
    settings = refreshing.Policy(**{"ttl_s": made.ttl_s, **policy})
    return refreshing.refresh(folder / "cache", refreshing.Wanted(plan, made, judge, rulebook, rulebook_file), pairs, settings, clock=lambda: now)


def served(folder: Path) -> dict[tuple[str, str], cached.Entry]:
    """What the published generation answers, by (query, item id)."""
    _, store = cached.open_generation(folder / "cache" / "current")
    return {(entry.query, entry.item_id): entry for _, entry in store.entries()}


def run(*arguments: str, command: str = "lore-tier", stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """A command as a user runs it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, str(ROOT / "bin" / command), *map(str, arguments)], input=stdin, capture_output=True, env=environment, cwd=cwd)


def write_rows(path: Path, rows: list[dict]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path
