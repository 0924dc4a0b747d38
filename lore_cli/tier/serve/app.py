"""Requests and replies: what is checked before anything is judged, and how every outcome is told. Made of the service; knows no judge."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from lore_cli.errors import require
from lore_cli.records import Pair, row_of
from lore_cli.tier.serve.messages import DEADLINE_HEADER, Problem, Refused, openapi, read_deadline, read_request
from lore_cli.tier.serve.metrics import Metrics
from lore_cli.tier.serve.service import Overloaded, Service

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_OPEN_PATHS = ("/healthz", "/healthz/live")  # asked by those who keep the process running, who have no token
_SHOWN_PATH = 200  # characters of a path in the access log


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may take. body_bytes, items: of a body; body_s: seconds in which it must have come; in_flight: requests at a time."""

    body_bytes: int = 1 << 20
    items: int = 100
    body_s: float = 10.0
    in_flight: int = 512


def make_app(service: Service, metrics: Metrics, limits: Limits, token: str | None = None, access_log: bool = False) -> Starlette:
    """The ASGI application. token: what `Authorization: Bearer` must hold, but for health checks; access_log: one JSON line per request on standard error."""
    require("starlette", "serve")
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.responses import Response
    from starlette.routing import Route

    document = openapi()

    async def judge(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "the content type is not application/json", "send JSON, and say so")
        started, deadline_s = perf_counter(), read_deadline(request.headers.get(DEADLINE_HEADER))
        asked = read_request(await _body(request, limits), limits.items, service.system.name)
        request.state.pairs = len(asked.places)
        verdicts = iter(await service.judge(asked.pairs, deadline_s))
        rows = [row_of(next(verdicts) if isinstance(place, Pair) else place) for place in asked.places]
        took_ms = (perf_counter() - started) * 1000
        return _json({"query": asked.query, "verdicts": rows, "took_ms": round(took_ms, 3)})

    async def ready(_: Request) -> Response:
        return _json(msgspec.to_builtins(service.health()), 200 if service.ready else 503)

    async def live(_: Request) -> Response:
        return _json(msgspec.to_builtins(service.health()))

    async def schema(_: Request) -> Response:
        return Response(document, media_type="application/json")

    async def counters(_: Request) -> Response:
        return Response(metrics.text(), headers={"content-type": metrics.content_type})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(service.watch())
        try:
            yield
        finally:
            watching.cancel()
            service.close()

    routes = [
        Route("/v1/judge", judge, methods=["POST"]), Route("/openapi.json", schema), Route("/metrics", counters),
        Route("/healthz", ready), Route("/healthz/ready", ready), Route("/healthz/live", live),
    ]  # fmt: skip
    told: dict[Any, Any] = {Refused: _refused, Overloaded: _overloaded, HTTPException: _not_served, Exception: _broken}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=told, middleware=[Middleware(Gate, metrics, limits, token, access_log)])
    app.router.redirect_slashes = False
    return app


async def _body(request: Request, limits: Limits) -> bytes:
    """A body within limits. Raises `Refused`."""
    much = Refused(413, f"the body is larger than {limits.body_bytes} bytes", "send fewer items at a time, or raise --max-bytes", connection="close")
    if int(request.headers.get("content-length") or 0) > limits.body_bytes:  # the protocol has refused what is no number
        raise much
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            async for part in request.stream():
                body += part
                if len(body) > limits.body_bytes:
                    raise much
    except TimeoutError:
        raise Refused(408, f"the body did not come within {limits.body_s:g} seconds", "send it in one go", connection="close") from None
    return bytes(body)


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    from starlette.responses import Response

    return Response(orjson.dumps(document), status, headers, "application/json")


def _problem(status: int, error: str, then: str = "", headers: dict[str, str] | None = None) -> Response:
    return _json(msgspec.to_builtins(Problem(error, then)), status, headers)


async def _refused(_: Request, error: Refused) -> Response:
    return _problem(error.status, str(error), error.then, error.headers)


async def _overloaded(_: Request, error: Overloaded) -> Response:
    return _shed(error.retry_after_s)


def _shed(retry_after_s: int = Overloaded.retry_after_s) -> Response:
    return _problem(503, "overload: more is asked than can be answered", f"ask again in {retry_after_s} s", {"retry-after": str(retry_after_s)})


async def _not_served(_: Request, error: Any) -> Response:
    return _problem(error.status_code, error.detail, "POST /v1/judge; the rest is in /openapi.json", error.headers)


async def _broken(_: Request, _error: Exception) -> Response:
    return _problem(500, "an internal error; its traceback is on the server's standard error", "please report it")


class Gate:
    """What every request passes: the token, the limit on requests in flight, the count and the access log. An ASGI middleware."""

    def __init__(self, app: Any, metrics: Metrics, limits: Limits, token: str | None, access_log: bool) -> None:
        self._app, self._metrics, self._limits, self._access_log = app, metrics, limits, access_log
        self._token = None if token is None else f"Bearer {token}".encode()
        self._in_flight = 0

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), 500

        async def sending(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self._in_flight += 1
        try:
            await (self._stopped(scope) or self._app)(scope, receive, sending)
        finally:
            self._in_flight -= 1
            spent_s = perf_counter() - started
            self._metrics.request(status, spent_s)
            if self._access_log:
                _log(scope, status, spent_s)

    def _stopped(self, scope: Any) -> Response | None:
        """The reply to a request that does not pass."""
        if scope["path"] in _OPEN_PATHS:
            return None
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if self._token is not None and not hmac.compare_digest(given, self._token):
            return _problem(401, "no token, or not the right one", "send Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"})
        if self._in_flight > self._limits.in_flight:
            self._metrics.shed()
            return _shed()
        return None


def _log(scope: Any, status: int, spent_s: float) -> None:
    """One line on standard error: neither queries nor what follows a `?`."""
    pairs = scope.get("state", {}).get("pairs")
    line = {"at": round(time(), 3), "method": scope["method"], "path": scope["path"][:_SHOWN_PATH], "status": status, "ms": round(spent_s * 1000, 3)}
    sys.stderr.buffer.write(orjson.dumps(line | ({"pairs": pairs} if pairs is not None else {}), option=orjson.OPT_APPEND_NEWLINE))
    sys.stderr.buffer.flush()
