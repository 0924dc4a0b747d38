"""Which system answers, and how much it takes on at once: admission, deadlines, and changes of plan and cache while requests are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

from lore_cli.errors import LoreError
from lore_cli.judges.cached import Cache
from lore_cli.judges.tiered import Routed, TieredJudge
from lore_cli.progress import Log
from lore_cli.records import Pair, Verdict
from lore_cli.tier.serve.messages import Health
from lore_cli.tier.serve.metrics import Metrics

_LOOK_S = 0.5  # between two looks for a new plan or generation
_MOST_THREADS = 128  # requests in which student or model are waited for; they sleep nearly all the time


class Overloaded(Exception):
    """More is asked than can be answered; `retry_after_s`: when to ask again."""

    retry_after_s = 1


class Service:
    """Answers from the system of a plan, all requests of a server together.

    What memory holds is answered at once, in the event loop. The rest waits in threads for student and model, whose own threads (`Asking`) judge the pairs
    of all requests that wait. most_pairs: so many may wait; a request with which it would be more is refused, unless nothing waits.
    """

    def __init__(self, plan: str | Path, open_system: Callable[[], TieredJudge], metrics: Metrics, log: Log, most_pairs: int) -> None:
        """Opens the system. Raises what opening it does."""
        self._plan, self._open, self._metrics, self._log = Path(plan), open_system, metrics, log
        self._seen = self._state()
        self.system = open_system()
        self.most_pairs, self.waiting = most_pairs, 0
        self.ready = False
        self._plan_problem: str | None = None
        self._cache_problem: str | None = None
        self._pool = ThreadPoolExecutor(min(most_pairs, _MOST_THREADS), thread_name_prefix="request")
        self._told_to_reload = False
        metrics.watch("lore_pairs_waiting", "Pairs that wait for student or model", lambda: self.waiting)
        metrics.watch("lore_cache_generation", "Number of the cache generation served; 0 without a cache", lambda: self._generation() or 0)

    async def judge(self, pairs: Sequence[Pair], deadline_s: float | None) -> list[Verdict]:
        """One verdict for each pair, in order. Raises `Overloaded`."""
        system = self.system
        routed = system.begin(pairs)
        open_pairs = sum(one.answer is None for one in routed)
        if open_pairs:
            await self._finish(system, routed, open_pairs, deadline_s)
        self._metrics.verdicts(routed)
        return [system.verdict(one) for one in routed]

    async def _finish(self, system: TieredJudge, routed: Sequence[Routed], open_pairs: int, deadline_s: float | None) -> None:
        if self.waiting and self.waiting + open_pairs > self.most_pairs:
            self._metrics.shed()
            raise Overloaded
        until = None if deadline_s is None else monotonic() + deadline_s
        self.waiting += open_pairs
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, system.finish, routed, until)
        finally:
            self.waiting -= open_pairs

    async def watch(self) -> None:
        """Take up new plans and generations as they come, until cancelled."""
        self.ready = True
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Take up what is new now. What cannot be opened is told, and what was served before is served on."""
        state = self._state()
        if self._told_to_reload or state not in (None, self._seen):
            self._seen, self._told_to_reload = state, False
            await self._reload()
        elif self.system.cache is not None:
            self._follow(self.system.cache)

    def reload(self) -> None:
        """Open plan, student and model anew at the next look: for a model directory that was replaced."""
        self._told_to_reload = True

    def stop(self) -> None:
        """Say from now on that no new requests should come."""
        self.ready = False

    def health(self) -> Health:
        """What is served, and whether requests are taken."""
        status = "ready" if self.ready else "not ready"
        return Health(status, self.system.plan_hash, self._generation(), self._plan_problem, self._cache_problem)

    def close(self) -> None:
        """Let threads end. Requests that are being answered must be through."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.system.close()

    async def _reload(self) -> None:
        try:
            opened = await asyncio.to_thread(self._open)
        except LoreError as error:
            self._plan_problem = str(error).partition("\n")[0]
            self._tell("plan", "refused", f"the plan served before is served on: {self._plan_problem}")
            return
        before, self.system = self.system, opened
        self._plan_problem = self._cache_problem = None
        before.close()  # after the requests that still ask it
        self._tell("plan", "taken up", f"plan {opened.plan_hash} is served")

    def _follow(self, cache: Cache) -> None:
        before = self._generation()
        try:
            cache.follow()
            problem = cache.problem.partition("\n")[0]
        except (LoreError, OSError) as error:  # `current` is gone
            problem = str(error).partition("\n")[0]
        if problem and problem != self._cache_problem:
            self._tell("generation", "refused", f"generation {before} is served on: {problem}")
        self._cache_problem = problem or None
        if self._generation() != before:
            self._tell("generation", "taken up", f"generation {self._generation()} is served")

    def _tell(self, what: str, outcome: str, message: str) -> None:
        self._metrics.change(what, outcome)
        self._log.say(message)

    def _generation(self) -> int | None:
        cache = self.system.cache
        return None if cache is None else int(cache.info.number)

    def _state(self) -> tuple[int, int, int] | None:
        """What changes when the plan's file does; None while there is none."""
        try:
            status = self._plan.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
