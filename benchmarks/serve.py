"""`lore-tier serve` under an independent load generator (wrk): throughput and latency of head look-ups, and what comes of trouble.

    python benchmarks/serve.py            the tables
    python benchmarks/serve.py --write    and put them in docs/results.md

The peer is a bare starlette application on the same uvicorn that reads the body and sends a reply of the same size. Both run in processes of their own,
in turn; server and generator share the machine. Every reply is checked: item ids end in the grade that is right. Student and head judge are the
deterministic expert, the model a server that answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from http_judge import strict
from shared import sections
from shared.commands import lore

from lore_cli.errors import Missing
from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.records import Pair, parse
from lore_cli.rulebook import load_rulebook

COLOURS = ("navy", "white", "black", "green", "red", "grey", "beige", "pink")
GOODS = ("sofa", "desk", "lamp", "rug", "chair", "mug", "vase", "shelf", "backpack", "shirt")
ITEMS = 10  # of a request
GOAL_P99_MS = 5.0
CONNECTIONS, OVERLOADED = 16, 64


@dataclass(frozen=True, slots=True)
class Shop:
    """Files of a shop whose head is all its queries, and bodies of requests: for the head, and for pairs that nobody has seen."""

    folder: Path
    pairs: Path
    log: Path
    head: Path
    unseen: Path


def make_shop(folder: Path) -> Shop:
    """Queries of colour and product with `ITEMS` items each; the end of an item's id is the expert's grade."""
    judge = open_judge("rulebook:", JudgeSettings(load_rulebook()))
    rows, bodies = [], []
    for number, query in enumerate(f"{colour} {good}" for good in GOODS for colour in COLOURS):
        titles = [f"{COLOURS[(number + step) % 8]} {GOODS[(number + step // 3) % 10]}" for step in range(ITEMS)]
        asked = [{"id": f"{number}.{step}", "query": query, "item": {"id": f"{number}.{step}", "title": title}} for step, title in enumerate(titles)]
        for row, verdict in zip(asked, judge([parse(Pair, row) for row in asked]), strict=True):
            row["item"]["id"] += f".{verdict.grade}"
        rows += asked
        bodies.append({"query": query, "items": [row["item"] for row in asked]})
    unseen = [{"query": f"{colour} sofa", "items": [{"id": "#.L4", "title": f"{colour} sofa", "category": "sofa"}]} for colour in COLOURS]
    log = [{"query": body["query"], "count": 100} for body in bodies]
    shop = Shop(folder, *(folder / name for name in ("pairs.jsonl", "log.jsonl", "head.jsonl", "unseen.jsonl")))
    for path, content in ((shop.pairs, rows), (shop.log, log), (shop.head, bodies), (shop.unseen, unseen)):
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in content))
    return shop


def plan_of(shop: Shop, name: str, head_traffic: int, *options: object) -> Path:
    """A plan by which the whole log is head (1) or tail (0)."""
    plan = shop.folder / f"{name}.json"
    lore("lore-tier", "plan", shop.log, "--head-traffic", head_traffic, "--tail-traffic", 1 - head_traffic, "--student", "rulebook:", *options, "-o", plan)
    return plan


def refresh(shop: Shop, plan: Path, *options: object) -> None:
    """A new generation where something is due."""
    lore("lore-tier", "refresh", "--plan", plan, "--pairs", shop.pairs, "--judge", "rulebook:", "--cache", shop.folder / "cache", *options)


@contextlib.contextmanager
def running(*command: object) -> Iterator[str]:
    """A server that tells its port in a JSON line on standard error; its address."""
    process = subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        address = f"http://127.0.0.1:{orjson.loads(process.stderr.readline())['port']}"
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield address
    finally:
        process.kill()
        process.wait()


def served(plan: Path, *options: object) -> contextlib.AbstractContextManager[str]:
    """`lore-tier serve` of a plan."""
    return running(sections.ROOT / "bin" / "lore-tier", "serve", "--plan", plan, "--port", 0, "--log-json", *options)


def serve_bare(size: int) -> None:
    """The peer: reads a body, sends `size` bytes."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from lore_cli.tier.serve.server import listen

    async def answer(request: Request) -> Response:
        await request.body()
        return Response(b"x" * size, media_type="application/json")

    listening = listen("127.0.0.1", 0)
    print(orjson.dumps({"port": listening.getsockname()[1]}).decode(), file=sys.stderr, flush=True)
    uvicorn.Server(uvicorn.Config(Starlette(routes=[Route("/v1/judge", answer, methods=["POST"])]), http="httptools", log_config=None, access_log=False)).run(sockets=[listening])


class Generator:
    """wrk with the checking script. Raises `Missing` where it is not installed."""

    def __init__(self) -> None:
        found = shutil.which("wrk")
        if found is None:
            raise Missing("wrk is not installed", hint="apt-get install wrk")
        self._wrk, self._run = found, os.getpid() % 10_000

    def run(self, address: str, bodies: Path, seconds: float, connections: int = CONNECTIONS, rate: float = 0.0) -> dict[str, Any]:
        """What came of it. rate: requests/s by clients who do not wait for one another; 0: as fast as replies come."""
        self._run += 1
        mean_ms = 1000 * connections / rate if rate else 0.0
        options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-s", str(Path(__file__).with_suffix(".lua"))]
        done = subprocess.run([self._wrk, *options, f"{address}/v1/judge", "--", str(bodies), f"{mean_ms:.3f}", str(self._run)], check=True, capture_output=True)
        return orjson.loads(done.stdout.splitlines()[-1])


def metric(address: str, start: str) -> float:
    """The sum of a server's metrics whose line begins so."""
    with urllib.request.urlopen(f"{address}/metrics") as reply:
        return sum(float(line.rpartition(b" ")[2]) for line in reply.read().splitlines() if line.startswith(start.encode()))


def throughput(generator: Generator, shop: Shop, plan: Path, rounds: int, seconds: float) -> tuple[list[list[str]], float]:
    """Rows of both servers as fast as they can, and at half of that; the most of `lore-tier serve`, in requests/s."""
    with served(plan) as ours:
        body = shop.head.read_bytes().splitlines()[0]
        asked = urllib.request.Request(f"{ours}/v1/judge", body, {"content-type": "application/json"})
        size = len(urllib.request.urlopen(asked).read())
        with running(__file__, "--bare", size) as bare:
            for address in (ours, bare):
                generator.run(address, shop.head, 1)
            rates = [[told["ok"] / told["seconds"] for told in (generator.run(address, shop.head, seconds) for address in (bare, ours))] for _ in range(rounds)]
            rows = []
            ratios = sorted(one / other for other, one in rates)
            for number, (name, address) in enumerate((("bare starlette", bare), ("`lore-tier serve`", ours))):
                most = statistics.median(pair[number] for pair in rates)
                half = [generator.run(address, shop.head, seconds, rate=most / 2) for _ in range(rounds)]
                ratio = f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]" if number else "1"
                p50, p99 = (statistics.median(told[name] for told in half) for name in ("p50", "p99"))
                rows.append([name, f"{most:,.0f}", f"{most * ITEMS * number:,.0f}" if number else "–", ratio, f"{statistics.median(told['ok'] / told['seconds'] for told in half):,.0f}", f"{p50:.2f}", f"{p99:.2f}"])
    return rows, most


def told_row(name: str, told: dict[str, Any], note: str) -> list[str]:
    return [name, f"{told['ok'] / told['seconds']:,.0f}", f"{told['ok']:,}", f"{told['shed']:,}", f"{told['other'] + told['broken']:,}", f"{told['wrong']:,}", f"{told['p99']:.1f}", note]


def during(generator: Generator, seconds: float, trouble: Any, address: str, bodies: Path, **how: Any) -> dict[str, Any]:
    """A run during which `trouble` happens."""
    thread = threading.Thread(target=trouble, daemon=True)
    thread.start()
    told = generator.run(address, bodies, seconds, **how)
    thread.join()
    return told


def troubles(generator: Generator, shop: Shop, plan: Path, most: float, seconds: float) -> list[list[str]]:
    """Rows of what came of swaps of generations, a killed model and overload."""
    rows = []
    end = time.monotonic() + seconds

    def swaps() -> None:
        while time.monotonic() < end:
            time.sleep(0.5)
            refresh(shop, plan, "--ttl", "0.1s")

    with served(plan) as address:
        told = during(generator, seconds, swaps, address, shop.head, rate=most / 4)
        taken = metric(address, 'lore_changes_total{outcome="taken up",what="generation"}')
        rows.append(told_row("new generations", told, f"{taken:.0f} generations taken up"))
    with contextlib.ExitStack() as model:
        uri = f"{model.enter_context(strict(64, 20))}#m"
        with served(plan_of(shop, "tail", 0, "--tail", uri), "--deadline", 0.5) as address:
            killing = threading.Timer(seconds / 2, model.close)
            told = during(generator, seconds, lambda: (killing.start(), killing.join()), address, shop.unseen, rate=100)
            by = {who: metric(address, f'lore_verdicts_total{{answered_by="{who}"') for who in ("model", "student")}
            rows.append(told_row("model killed half-way", told, f"{by['model']:.0f} by the model, {by['student']:.0f} by the student, marked"))
    with served(plan, "--queue", 16) as address:
        alone = generator.run(address, shop.unseen, seconds)
        rows.append(told_row("student alone, as fast as replies come", alone, ""))
        twice = generator.run(address, shop.unseen, seconds, OVERLOADED, 2 * alone["ok"] / alone["seconds"])
        offered = sum(twice[name] for name in ("ok", "shed", "other")) / twice["seconds"]
        rows.append(told_row("twice as much", twice, f"{offered:,.0f} requests/s came"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of throughput and latency (default: 3)")
    parser.add_argument("--seconds", type=float, default=8, help="of each run (default: 8)")
    parser.add_argument("--write", action="store_true", help="put the tables in docs/results.md")
    parser.add_argument("--bare", type=int, metavar="BYTES", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        return serve_bare(given.bare)
    where, generator = sections.machine(), Generator()
    with tempfile.TemporaryDirectory() as folder:
        shop = make_shop(Path(folder))
        plan = plan_of(shop, "head", 1, "--cache", shop.folder / "cache")
        refresh(shop, plan)
        rows, most = throughput(generator, shop, plan, given.rounds, given.seconds)
        trouble = troubles(generator, shop, plan, most, given.seconds)
    head = ["server", "most, requests/s", "look-ups/s", "ratio, median [lowest, highest]", "at half: requests/s", "p50, ms", "p99, ms"]
    body = f"{sections.markdown(head, rows)}\n\n{ITEMS} items a request, {CONNECTIONS} connections, server and generator on one machine. Goal: p99 at half of the most ≤ {GOAL_P99_MS:g} ms."
    head = ["trouble", "answered/s", "200", "503 with Retry-After", "anything else", "wrong answers", "p99, ms", ""]
    body += f"\n\n{sections.markdown(head, trouble)}\n\nGoal: nothing else, nothing wrong. Student: the deterministic expert; model: a server that takes 20 ms."
    sections.publish("serve", "lore-tier serve under load", sections.command(), body, where, given.write)


if __name__ == "__main__":
    main()
