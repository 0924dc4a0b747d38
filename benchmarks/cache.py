"""The head cache beside SQLite and a loopback Redis; how long it takes to build; what a refresh judges after a change of 1 %.

    python benchmarks/cache.py                     10^6 entries (about three minutes)
    python benchmarks/cache.py --entries 100000
    python benchmarks/cache.py --write             and put the table in docs/results.md

All three hold the same keys and values, and decode what they find into the same entry. Look-ups ask for keys in random order, nine of ten of them there.
Rates: the median of the rounds; latencies: look-ups timed one by one. `pair` is the whole look-up of a pair: normalised query, key, entry, is it fresh;
`page` is the same for the items of one query together, which is what `lore-tier route` and `serve` ask for: its latencies are those of a page.
"""

from __future__ import annotations

import argparse
import random
import shutil
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from shared import sections

from lore_cli.judges.cached import FORMAT, Cache, Entry, GenerationInfo, entry_of, item_hash, key_of, open_store
from lore_cli.judges.plan import Plan, load_plan
from lore_cli.judges.remote import Remote, RemoteStore
from lore_cli.records import Item, Pair, Verdict
from lore_cli.tier import cache, publishing
from lore_cli.tier import plan as planning
from lore_cli.tier.log import LogRow, count_queries
from lore_cli.tier.refresh import Policy, Wanted, refresh

ITEMS = 20  # of each query
RULEBOOK = "0123456789abcdef"
LOOKUPS = 200_000
SCORES = {"L1": 0.01, "L2": 0.04, "L3": 0.15, "L4": 0.8}


def pair(number: int, changed: bool = False) -> Pair:
    """A made-up candidate: item `number` of all, `ITEMS` to a query."""
    item = Item(
        f"i{number:08d}",
        f"sleeper sofa number {number}, three seats{', new' * changed}",
        "sofa bed",
        "a made-up brand",
        {"color": "navy", "material": "linen"},
        price=250.0 + number % 500,
    )
    return Pair(f"p{number:08d}", f"navy sofa bed {number // ITEMS}", item)


class Steady:
    """A judge that costs next to nothing, and counts what it is asked."""

    name, asked = "steady", 0

    def __call__(self, pairs: Any) -> Iterator[Verdict]:
        for one in pairs:
            self.asked += 1
            yield Verdict(one.id, one.query, one.item.id, self.name, "L4", SCORES)

    def identity(self) -> dict[str, str]:
        return {"judge": self.name}


def entry(number: int) -> tuple[bytes, Entry]:
    """What the cache holds of a candidate."""
    one = pair(number)
    verdict = Verdict(one.id, one.query, one.item.id, "steady", "L4", SCORES)
    return key_of(one.query, one.item.id), entry_of(verdict, one.query, item_hash(one.item), "steady", RULEBOOK, time.time())


def build(folder: Path, made: list[tuple[bytes, Entry]]) -> float:
    """Seconds to write, check and publish a generation."""
    began = time.perf_counter()
    builder = cache.Builder(cache.next_build_folder(folder))
    for key, value in made:
        builder.put(key, value)
    builder.commit()
    builder.close()
    cache.publish(folder, builder.folder, GenerationInfo(FORMAT, 1, len(made), "plan", RULEBOOK, {}, None, 0, len(made), 0), keep=1)
    return time.perf_counter() - began


def sqlite(file: Path, made: list[tuple[bytes, Entry]]) -> tuple[Callable[[bytes], Any], float]:
    """(look-up, seconds to build): a table with the key as its primary key, read through a memory map."""
    began = time.perf_counter()
    with sqlite3.connect(file) as database:
        database.execute("create table entries (key blob primary key, value blob) without rowid")
        database.executemany("insert into entries values (?, ?)", sorted((key, value.pack()) for key, value in made))
    seconds = time.perf_counter() - began
    reader = sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)
    reader.execute(f"pragma mmap_size={2 << 30}")
    decode = msgspec.json.Decoder(Entry).decode

    def get(key: bytes) -> Any:
        row = reader.execute("select value from entries where key = ?", (key,)).fetchone()
        return None if row is None else decode(row[0])

    return get, seconds


def redis_server(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A Redis of its own on a free port; raises FileNotFoundError where none is installed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)], stdout=subprocess.DEVNULL)
    time.sleep(1.0)
    return process, f"redis://127.0.0.1:{port}/0#benchmark"


def measured(get: Callable[[Any], Any], keys: list[Any], rounds: int, each: int = 1) -> list[str]:
    """Table cells: look-ups/s, `each` in a call, and a call's p50 and p99 in µs."""
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        for key in keys:
            get(key)
        rates.append(each * len(keys) / (time.perf_counter() - began))
    spent = []
    for key in keys:
        began = time.perf_counter_ns()
        get(key)
        spent.append(time.perf_counter_ns() - began)
    cuts = statistics.quantiles(spent, n=100)
    return [f"{statistics.median(rates):,.0f}", f"{cuts[49] / 1000:.1f}", f"{cuts[98] / 1000:.1f}"]


def lookups(folder: Path, entries: int, rounds: int) -> list[list[str]]:
    """A row for each store."""
    made = [entry(number) for number in range(entries)]
    seconds = build(folder, made)
    draw = random.Random(0)
    asked = [draw.randrange(round(entries / 0.9)) for _ in range(min(LOOKUPS, 2 * entries))]
    keys = [made[number][0] if number < entries else key_of("not there", str(number)) for number in asked]
    served, now = Cache(folder, RULEBOOK), time.time()
    pairs = [[pair(number)] for number in asked]
    pages = [[pair(number - number % ITEMS + step) for step in range(ITEMS)] for number in asked[:: ITEMS]]
    table = [
        ["LMDB (lore), by key", f"{seconds:.1f}", *measured(open_store(folder / "current" / "verdicts.lmdb").get, keys, rounds)],
        ["LMDB (lore), pair", "", *measured(lambda one: served.look_up(one, now), pairs, rounds)],
        [f"LMDB (lore), page of {ITEMS}", "", *measured(lambda page: served.look_up(page, now), pages, rounds, ITEMS)],
    ]
    get, seconds = sqlite(folder / "peer.sqlite", made)
    table.append(["SQLite, by key", f"{seconds:.1f}", *measured(get, keys, rounds)])
    if shutil.which("redis-server") is None:
        return [*table, ["Redis: no redis-server on this machine", "", "", "", ""]]
    process, url = redis_server(folder)
    try:
        began = time.perf_counter()
        publishing.publish_remote(folder, url, 1)
        table.append(
            ["loopback Redis, by key", f"{time.perf_counter() - began:.1f}", *measured(RemoteStore(Remote(url), 1).get, keys[: len(keys) // 10], rounds)]
        )
    finally:
        process.kill()
        process.wait()
    return table


def planned(folder: Path, entries: int) -> tuple[str, Plan]:
    """A plan whose head is every query."""
    path = str(folder / "plan.json")
    rows = (LogRow(f"navy sofa bed {number}", 10) for number in range(-(-entries // ITEMS)))
    planning.write_plan(
        path,
        count_queries(rows),
        {"head_traffic": 1.0, "tail_traffic": 0.0, "min_count": 1.0},
        planning.Deployment(str(folder / "cache"), None, None, 0.5, 1e6, 2e6),
    )
    return path, load_plan(path)


def refreshed(folder: Path, entries: int) -> list[list[str]]:
    """A row for the first refresh, for one after every hundredth item changed, and for one after nothing did."""
    path, made = planned(folder, entries)
    table = []
    for name, step in (("first", 0), ("1 % of the items changed", 100), ("nothing changed", 100)):
        judge = Steady()
        began = time.perf_counter()
        refresh(
            folder / "cache", Wanted(path, made, judge, RULEBOOK), (pair(number, bool(step) and number % step == 0) for number in range(entries)), Policy(1e6)
        )
        table.append([name, f"{time.perf_counter() - began:.1f}", f"{judge.asked:,}", f"{judge.asked / entries:.2%}"])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="entries of the cache (default: 1000000)")
    parser.add_argument("--refresh", type=int, default=200_000, help="pairs of the refreshes (default: 200000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each rate (default: 5)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where = sections.machine()
    with tempfile.TemporaryDirectory() as temporary:
        stores = sections.markdown(["store", "build, s", "look-ups/s", "p50, µs", "p99, µs"], lookups(Path(temporary), given.entries, given.rounds))
    with tempfile.TemporaryDirectory() as temporary:
        runs = sections.markdown(["refresh", "seconds", "pairs judged", "share"], refreshed(Path(temporary), given.refresh))
    body = f"{given.entries:,} entries; {given.refresh:,} pairs to refresh. Goals: 300,000 look-ups/s and p99 20 µs by key, 30 s to build 10^6, 1.05 % judged after a change of 1 %.\n\n{stores}\n\n{runs}"
    sections.publish("cache", "The head cache", sections.command(), body, where, given.write)


if __name__ == "__main__":
    main()
