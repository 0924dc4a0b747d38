"""What travels over HTTP, typed: requests are checked against the records, and /openapi.json is made from the same types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import orjson

from lore_cli import __version__
from lore_cli.errors import BadInput
from lore_cli.records import Item, Pair, Record, Verdict, parse
from lore_cli.stream import check

DEADLINE_HEADER = "x-deadline-ms"
_MOST_DEADLINE_MS = 600_000
QueryText = Annotated[str, msgspec.Meta(max_length=2_000, pattern=r"\S")]  # prompts show fewer characters


class JudgeRequest(Record, frozen=True):
    """A query and the items to be judged for it."""

    query: QueryText
    items: list[Item]


class TieredVerdict(Verdict, frozen=True):
    """A verdict and how it came about. `id` is the item's. `tier`: the query's, head, middle or tail; `answered_by`: cache, student or model; `route`: who
    was asked, and why; `age_s`: seconds since it was judged; `stale`: true when it is due to be judged again; `fallback`: why the model's answer is missing.
    """

    route: str | None = None
    answered_by: str | None = None
    age_s: float | None = None
    stale: bool | None = None
    fallback: str | None = None


class JudgeReply(Record, frozen=True):
    """One verdict for each item, in the order asked. An item that is malformed, or that nobody could judge, has a verdict with `error` in its place."""

    query: str
    verdicts: list[TieredVerdict]
    took_ms: float


class Problem(Record, frozen=True):
    """Why a request as a whole was refused, and what to do next."""

    error: str
    next: str = ""


class Health(Record, frozen=True):
    """Whether requests are taken, and what answers them. `generation`: of the cache; `plan_problem`, `cache_problem`: why a newer one is not served."""

    status: str
    plan: str
    generation: int | None = None
    plan_problem: str | None = None
    cache_problem: str | None = None


class Refused(Exception):
    """A request that is not answered: an HTTP status, what was found, what to do next."""

    def __init__(self, status: int, error: str, then: str = "", **headers: str) -> None:
        super().__init__(error)
        self.status, self.then = status, then
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read. `places` has, for each item, its pair or the verdict that says what is wrong with it."""

    query: str
    places: list[Pair | Verdict]

    @property
    def pairs(self) -> list[Pair]:
        return [place for place in self.places if isinstance(place, Pair)]


class _Envelope(msgspec.Struct):
    query: QueryText
    items: list[Any]


_decode = msgspec.json.Decoder(_Envelope).decode


def read_request(body: bytes, most_items: int, judge: str) -> Asked:
    """The pairs of a body; an item that is none becomes a verdict with `error`. Raises `Refused` for what is wrong with the whole."""
    then = "send {\"query\": TEXT, \"items\": [ITEM, ...]} as /openapi.json describes it"
    try:
        envelope = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the body is not a request: {error}", then) from error
    if len(envelope.items) > most_items:
        raise Refused(413, f"items: {len(envelope.items)}; at most {most_items} are allowed", "send them in several requests, or raise --max-items")
    return Asked(envelope.query, [_place(envelope.query, row, judge) for row in envelope.items])


def _place(query: str, row: Any, judge: str) -> Pair | Verdict:
    given = row.get("id") if isinstance(row, dict) else None
    item_id = given if isinstance(given, str) else ""
    try:
        return check(Pair, {"id": item_id or "?", "query": query, "item": row})
    except BadInput as error:
        told = f"malformed: {error.field}: {error.reason}"
        return parse(Verdict, {"id": item_id, "query": query, "item_id": item_id, "judge": judge, "error": told})


def read_deadline(text: str | None) -> float | None:
    """Seconds of the deadline header; None without it. Raises `Refused`."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and 1 <= int(text) <= _MOST_DEADLINE_MS):
        raise Refused(400, f"{DEADLINE_HEADER}: a whole number from 1 to {_MOST_DEADLINE_MS} is allowed", "give milliseconds")
    return int(text) / 1000


def openapi() -> bytes:
    """The OpenAPI 3.1 document of the server, as JSON."""
    kinds = (JudgeRequest, JudgeReply, Problem, Health)
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    refused = {"400": "a malformed request", "401": "no token, or a wrong one", "408": "the body came too slowly", "413": "too many bytes or items", "415": "the body is not JSON"}
    problems = {code: _described(why, "Problem") for code, why in refused.items()}
    shed = _described("overload: more is asked than can be answered; ask again after Retry-After seconds", "Problem")
    shed["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    deadline = {
        "name": DEADLINE_HEADER, "in": "header", "required": False, "schema": {"type": "integer", "minimum": 1, "maximum": _MOST_DEADLINE_MS},
        "description": "How long the model is waited for, in milliseconds; the student's answer stands in after that.",
    }  # fmt: skip
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JudgeRequest"}}}}
    judge = {
        "summary": "Judge the items of a query", "operationId": "judge", "parameters": [deadline], "requestBody": body, "security": [{}, {"bearer": []}],
        "responses": {"200": _described("a verdict for each item", "JudgeReply"), **problems, "503": shed},
    }  # fmt: skip
    health = {"200": _described("requests are taken", "Health"), "503": _described("not, or not any more", "Health")}
    text = {"200": {"description": "metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}, "401": problems["401"]}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "lore-tier serve", "version": __version__, "description": "Relevance of items for queries, by cache, student and model."},
        "paths": {
            "/v1/judge": {"post": judge},
            "/healthz": {"get": {"summary": "Whether requests are taken (ready)", "operationId": "ready", "responses": health}},
            "/healthz/live": {"get": {"summary": "Whether the process runs", "operationId": "live", "responses": {"200": health["200"]}}},
            "/metrics": {"get": {"summary": "Metrics for Prometheus", "operationId": "metrics", "security": [{}, {"bearer": []}], "responses": text}},
        },
        "components": {"schemas": schemas, "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    }
    return orjson.dumps(document)


def _described(why: str, schema: str) -> dict[str, Any]:
    return {"description": why, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}
