"""`lore-rair run` through an http judge, against a bare httpx loop, over a server with so many places and a fixed time for each request.

    python benchmarks/http_judge.py            the table
    python benchmarks/http_judge.py --write    and put it in docs/results.md

Server and command run in processes of their own. The server counts what comes beyond its places (and refuses it), and takes the time from the
first request to the last reply, so that the start of a process does not count. Rounds of both in turn; the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
from shared import sections
from stream import pairs

CASES = ((8, 100), (32, 250))  # places, milliseconds
GOAL = 0.95
ANSWER = "category = sofa bed ; found sleeper sofa [title] ; exact\nrules: none\ngrade: L4"


class Strict:
    """An OpenAI-compatible server in as few lines as will do: keep-alive HTTP/1.1, one reply for everything."""

    def __init__(self, places: int, seconds: float) -> None:
        self.places, self.seconds = places, seconds
        self.reset()

    def reset(self) -> None:
        self.in_flight = self.beyond = self.answered = 0
        self.first = self.last = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = next((int(line.partition(":")[2]) for line in head.split("\r\n") if line.startswith("content-length")), 0)
                await reader.readexactly(length)
                status, document = await self.answer(head.split(" ")[1])
                content = orjson.dumps(document)
                writer.write(b"HTTP/1.1 %d -\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(content), content))
                await writer.drain()
        writer.close()

    async def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        if path.endswith("/models"):
            return 200, {"data": [{"id": "m"}]}
        if path.endswith("/counts"):
            counts = {"answered": self.answered, "beyond": self.beyond, "seconds": self.last - self.first}
            self.reset()
            return 200, counts
        self.in_flight += 1
        self.first = self.first or time.perf_counter()
        try:
            if self.in_flight > self.places:
                self.beyond += 1
                return 429, {}
            await asyncio.sleep(self.seconds)
        finally:
            self.in_flight -= 1
        self.answered, self.last = self.answered + 1, time.perf_counter()
        return 200, {"choices": [{"index": 0, "finish_reason": "stop", "text": ANSWER, "message": {"content": ANSWER}}], "usage": {"prompt_tokens": 60, "completion_tokens": 20}}


async def serve_forever(places: int, milliseconds: int) -> None:
    server = await asyncio.start_server(Strict(places, milliseconds / 1000).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def strict(places: int, milliseconds: int) -> Iterator[str]:
    """The server in a process of its own; its address."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(places), str(milliseconds)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


def bare(address: str, places: int, rows: list[bytes]) -> None:
    """What is compared with: as many loops as the server has places, each asking for one row after the other."""

    async def ask() -> None:
        waiting = iter(rows)
        async with httpx.AsyncClient(timeout=30) as client:

            async def loop() -> None:
                for row in waiting:
                    prompt = orjson.loads(row)["query"]
                    reply = await client.post(f"{address}/completions", json={"model": "m", "prompt": prompt, "max_tokens": 256, "temperature": 0.0})
                    reply.raise_for_status()

            await asyncio.gather(*(loop() for _ in range(places)))

    asyncio.run(ask())


def lore(address: str, places: int, source: Path) -> None:
    """The same rows through the command: read, ask, parse, ledger, write."""
    options = ["--judge", address, "--prompt", "short", "--structured", "off", "--concurrency", str(places), "-o", str(source.with_suffix(".out")), "--force", "--quiet"]
    subprocess.run([sys.executable, str(sections.ROOT / "bin" / "lore-rair"), "run", str(source), *options], check=True)


def measure(places: int, milliseconds: int, rounds: int, count: int) -> list[str]:
    """A table row: the server's own most, rows/s of both, their ratio, requests beyond the places."""
    rows, rates, beyond = list(pairs(count, False)), [], 0
    with tempfile.TemporaryDirectory() as folder, strict(places, milliseconds) as address:
        source = Path(folder, "pairs.jsonl")
        source.write_bytes(b"".join(rows))
        for _ in range(rounds):
            both = []
            for work, given in ((bare, rows), (lore, source)):
                work(address, places, given)
                told = httpx.get(f"{address}/counts").json()
                if told["answered"] != count:
                    raise RuntimeError(f"{told['answered']} of {count} rows were answered")
                both.append(count / told["seconds"])
                beyond += told["beyond"]
            rates.append(both)
    loop, command = (statistics.median(column) for column in zip(*rates, strict=True))
    ratios = sorted(command / loop for loop, command in rates)
    ratio = f"{statistics.median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]"
    return [f"{places} places, {milliseconds} ms", f"{places * 1000 / milliseconds:.0f}", f"{loop:.1f}", f"{command:.1f}", ratio, str(beyond)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each case (default: 3)")
    parser.add_argument("--rows", type=int, default=3000, help="rows of each run (default: 3000)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    parser.add_argument("--serve", nargs=2, type=int, metavar=("PLACES", "MS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        return asyncio.run(serve_forever(*given.serve))
    where = sections.machine()
    rows = [measure(places, milliseconds, given.rounds, given.rows) for places, milliseconds in CASES]
    head = ["server", "its most, rows/s", "bare httpx, rows/s", "`lore-rair run`, rows/s", "ratio, median [lowest, highest]", "requests beyond the places"]
    body = f"{sections.markdown(head, rows)}\n\nGoal: {GOAL} of the bare loop, and no request beyond the places."
    sections.publish("http", "An http judge against its server's own most", sections.command(), body, where, given.write)


if __name__ == "__main__":
    main()
