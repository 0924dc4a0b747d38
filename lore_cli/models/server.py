"""Asking one OpenAI-compatible server: connections, turns, retries. Nothing here knows what is asked.

A `Server` has one event loop in a thread of its own and one client in it, so that connections, and what was learnt of the server's load, last from one
batch to the next, and several threads may ask at once. Every attempt of a request waits for its turn at the `Gate`: the limiter says how many may be on
their way, the breaker whether any, and a `Retry-After` holds back all of them. A request that fails for a reason that may pass (429, 5xx, a broken
connection) is asked again, with growing waits; a time-out is not, because it would only add to the load. A key that is refused ends the asking.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import orjson
import stamina
import stamina.instrumentation

from lore_cli.models.completions import RequestFailed, first_line, message_of, retry_after_s
from lore_cli.models.limits import Breaker, Limiter

_BUSY = (408, 425, 429, 500, 502, 503, 504, 529)
_REFUSED = (401, 403)
_REFUSALS = 3  # in a row: a firewall may take offence at one prompt (403), a key that is refused is refused every time
_CONNECT_S = 10.0
_IDLE_S = 2.0  # that a connection is kept: less than servers keep it (uvicorn: 5), so that no request meets one that is just being closed
_LONGEST_WAIT_S = 8.0  # between attempts
_LONGEST_HOLD_S = 120.0  # a server that asks for more than this is given up for that prompt
_LARGEST_REPLY = 8 << 20  # bytes
_SHOWN = 240  # characters of a message

Job = TypeVar("Job")


@dataclass(frozen=True, slots=True)
class Turn:
    """A request that may go: since when, as one of how many, and whether it is the breaker's probe."""

    started: float
    in_flight: int
    probe: bool


class Gate:
    """Whose turn it is, first come, first served. To be used in one event loop."""

    def __init__(self, limiter: Limiter, breaker: Breaker) -> None:
        self._limiter, self._breaker = limiter, breaker
        self._waiting: deque[asyncio.Future[Turn]] = deque()
        self._in_flight = 0
        self._held_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._trouble = ""
        self._closed: RequestFailed | None = None

    @property
    def given_up(self) -> bool:
        """Whether the server is taken to be down: only a probe passes."""
        return self._breaker.given_up

    async def enter(self) -> Turn:
        """Wait for a turn. Raises `RequestFailed` at once when the server is given up, or the gate closed."""
        turn: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.abandon(turn.result())
            raise

    def leave(self, turn: Turn, error: RequestFailed | None = None) -> None:
        """Give the turn back, and take in how the request ended. A refusal that is about the prompt shows that the server is there, and no more."""
        now = asyncio.get_running_loop().time()
        if error is not None and error.overload:
            self._limiter.overloaded(turn.started, now)
            self._breaker.failed(now, turn.probe)
            self._trouble = str(error)
            self._held_until = max(self._held_until, now + error.hold_s)
        else:
            self._breaker.answered()
            if error is None:
                self._limiter.answered(turn.started, now, turn.in_flight, self._in_flight)
        self._free()

    def abandon(self, turn: Turn) -> None:
        """Give back the turn of a request that was cancelled."""
        if turn.probe:
            self._breaker.failed(asyncio.get_running_loop().time(), probe=True)
        self._free()

    def close(self, error: RequestFailed) -> None:
        """Let nobody pass from now on: `error` says why."""
        self._closed = error
        self._admit()

    def _free(self) -> None:
        self._in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting:
            first = self._waiting[0]
            wait_s = max(self._breaker.wait_s(now), self._held_until - now)
            if first.done():  # its task was cancelled
                self._waiting.popleft()
            elif self._closed is not None:
                self._waiting.popleft().set_exception(RequestFailed(str(self._closed), status=self._closed.status))
            elif wait_s > 0 and self.given_up:
                self._waiting.popleft().set_exception(RequestFailed(f"not asked: the server is down (last: {self._trouble})"))
            elif wait_s > 0 or self._in_flight >= self._limiter.limit:
                if 0 < wait_s < float("inf"):
                    self._wake_at(loop, now + wait_s)
                return
            else:
                self._in_flight += 1
                self._waiting.popleft().set_result(Turn(now, self._in_flight, self._breaker.passing()))

    def _wake_at(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(when, self._admit)


class Server:
    """An OpenAI-compatible server at `base`. concurrency: the most requests in flight; attempts: of one request; first_wait_s: before the second, then doubling."""

    def __init__(
        self,
        base: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        concurrency: int = 32,
        attempts: int = 5,
        first_wait_s: float = 0.5,
        breaker: Breaker | None = None,
    ) -> None:
        # stamina would tell of every retry, by structlog on standard output where that is installed
        stamina.instrumentation.set_on_retry_hooks([])
        self.base, self._api_key, self.timeout_s, self.attempts = base, api_key, timeout_s, attempts
        self._first_wait_s = first_wait_s
        self._gate = Gate(Limiter(concurrency), breaker or Breaker())
        self._refusals = 0
        self._places = asyncio.Semaphore(2 * concurrency)  # jobs begun: room for those that wait to be asked again, and no more prompts made ready than that
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=_IDLE_S)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, limits=limits, timeout=httpx.Timeout(None, connect=_CONNECT_S))
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_run_until_stopped, args=(self._loop,), daemon=True, name=f"asking {base}").start()
        self.close = weakref.finalize(self, _stop, self._loop, self._client)

    def run(self, job: Callable[[Job], Awaitable[Any]], asked: Sequence[Job]) -> list[Any]:
        """What `job` gives for each, in order, as many at a time as the server takes. What a job raises ends the others, and is raised."""

        async def one(each: Job) -> Any:
            async with self._places:
                return await job(each)

        async def every() -> list[Any]:
            tasks = [asyncio.ensure_future(one(each)) for each in asked]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

        found = asyncio.run_coroutine_threadsafe(every(), self._loop)
        try:
            return found.result()
        except BaseException:
            found.cancel()
            raise

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None, *, attempts: int | None = None) -> Any:
        """The JSON of a successful reply. Raises `RequestFailed` when the attempts are used up or asking again cannot help."""
        wait = {"wait_initial": self._first_wait_s, "wait_jitter": self._first_wait_s, "wait_max": _LONGEST_WAIT_S}
        async for attempt in stamina.retry_context(on=self._again, attempts=attempts or self.attempts, timeout=None, **wait):
            with attempt:
                return await self._attempt(method, path, body)
        raise AssertionError("an attempt returns or raises")

    def _again(self, error: Exception) -> bool:
        return isinstance(error, RequestFailed) and error.again and not self._gate.given_up

    async def _attempt(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        turn = await self._gate.enter()
        try:
            document = self._read(*await self._send(method, path, body))
        except RequestFailed as error:
            error.args = (self._shown(str(error)),)
            self._gate.leave(turn, error)
            self._refusals = self._refusals + 1 if error.status in _REFUSED else 0
            if error.status == 401 or self._refusals >= _REFUSALS:
                self._gate.close(error)
            raise
        except BaseException:
            self._gate.abandon(turn)
            raise
        self._refusals = 0
        self._gate.leave(turn)
        return document

    def _shown(self, message: str) -> str:
        """A message that may repeat what the server said: without the key, and not at any length."""
        return (message.replace(self._api_key, "[key]") if self._api_key else message)[:_SHOWN]

    async def _send(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[httpx.Response, bytes]:
        """The reply and its content. A reply that comes by drops is bounded by the same time as any other, and one without end by its size."""
        content = bytearray()
        try:
            async with asyncio.timeout(self.timeout_s), self._client.stream(method, f"{self.base}/{path}", json=body) as reply:
                async for part in reply.aiter_bytes():
                    content += part
                    if len(content) > _LARGEST_REPLY:
                        raise RequestFailed(f"the reply is larger than {_LARGEST_REPLY >> 20} MiB", status=reply.status_code)
        except TimeoutError:
            raise RequestFailed(f"no reply within {self.timeout_s:g} s (--timeout)", overload=True) from None
        except httpx.ConnectTimeout:
            raise RequestFailed(f"no connection within {_CONNECT_S:g} s", again=True, overload=True) from None
        except httpx.ConnectError as error:
            raise RequestFailed(f"no connection: {first_line(error)}", again=True, overload=True) from None
        except httpx.TransportError as error:
            raise RequestFailed(f"the connection broke: {first_line(error)}", again=True, overload=True) from None
        except httpx.HTTPError as error:
            raise RequestFailed(f"the reply cannot be read: {first_line(error)}") from None
        return reply, bytes(content)

    def _read(self, reply: httpx.Response, content: bytes) -> Any:
        kind = reply.headers.get("content-type", "no content type").partition(";")[0]
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError:
            document = None
        if reply.is_success and document is not None:
            return document
        if reply.is_success:
            raise RequestFailed(f"not JSON but {kind}" if "json" not in kind else "the JSON is not whole", status=reply.status_code)
        reason = f"redirects to {reply.headers.get('location')}" if reply.is_redirect else message_of(document) or reply.reason_phrase or kind
        raise self._refusal(reply, f"HTTP {reply.status_code}: {reason}")

    def _refusal(self, reply: httpx.Response, message: str) -> RequestFailed:
        """What a status that is no success means: whether asking again may help, and when."""
        status = reply.status_code
        if status not in _BUSY:
            return RequestFailed(message, status=status)
        hold_s = retry_after_s(reply.headers.get("retry-after", ""), time.time()) or 0.0
        if hold_s > _LONGEST_HOLD_S:
            return RequestFailed(f"HTTP {status}: asks to come back in {hold_s:.0f} s", overload=True, status=status)
        return RequestFailed(message, again=True, overload=True, status=status, hold_s=hold_s)


def _run_until_stopped(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, client: httpx.AsyncClient) -> None:
    async def end() -> None:
        await client.aclose()
        loop.stop()

    if loop.is_running():
        asyncio.run_coroutine_threadsafe(end(), loop)
