"""User behaviour in OpenSearch's UBI format to a query log: queries and events as NDJSON, as exported or in bulk form.

    python examples/importers/ubi.py ubi_queries_events.ndjson -o log.jsonl
    cat ubi_*.ndjson | python examples/importers/ubi.py - | lore-tier plan - -o plan.json

A row of the log is a query with its `count`, the number of requests (distinct query ids), and `clicks`, the events on its results whose
action is one of --click. The most frequent query comes first.

A request's text is that of its query document, else that of the first event that carries it (`user_query`). What was typed but never
became a request (keystrokes in `message`) is not counted [ours]; events without a request or of one without text are counted and told. Memory: about 200
bytes per request.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext

import orjson
from importing import Row, end, options, say, write

from lore_cli.errors import BadInput, Missing

CLICKS = ("click", "item_click", "product_click")
_BULK = ("index", "create", "update", "delete")


def documents(path: str) -> Iterator[Row]:
    """Queries and events, without the lines that steer a bulk request. Raises `Missing` for no such file, `BadInput` with file and line."""
    try:
        source = nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb")
    except OSError as error:
        raise Missing(f"{path}: {error.strerror}", hint="check the path, or use - for standard input") from error
    name = "<stdin>" if path == "-" else path
    with source as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise BadInput(f"not valid JSON: {error}", where=name, line=number) from None
            if not isinstance(row, dict):
                raise BadInput("is no object; a query, an event or a bulk action is needed", where=name, line=number)
            if len(row) == 1 and next(iter(row)) in _BULK:
                continue
            needed = "user_query" in row and "action_name" not in row  # a query document; an event need not belong to a query
            for field in ("query_id", "user_query"):
                if not isinstance(row.get(field), str) and (needed or row.get(field) is not None):
                    raise BadInput(f"found {row.get(field)!r}; a text is needed", where=name, line=number, field=field)
            if not needed and not isinstance(row.get("action_name"), str):
                raise BadInput("is neither a query (query_id, user_query) nor an event (action_name)", where=name, line=number)
            yield row


def log(paths: list[str], clicked: tuple[str, ...]) -> tuple[list[Row], int]:
    """(rows of the log, events without a request or of one without text)."""
    texts: dict[str, str] = {}
    clicks: Counter[str] = Counter()
    events: Counter[str] = Counter()
    for path in paths:
        for row in documents(path):
            request, text, is_event = row.get("query_id") or "", " ".join((row.get("user_query") or "").split()), "action_name" in row
            if text and request and (request not in texts or not is_event):
                texts[request] = text
            events[request] += is_event
            clicks[request] += is_event and row["action_name"] in clicked
    counted: Counter[str] = Counter(texts.values())
    clicks_of: Counter[str] = Counter()
    for request, text in texts.items():
        clicks_of[text] += clicks[request]
    rows = [{"query": query, "count": count, "clicks": clicks_of[query]} for query, count in sorted(counted.items(), key=lambda part: (-part[1], part[0]))]
    return rows, sum(count for request, count in events.items() if request not in texts)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("files", nargs="*", default=["-"], metavar="FILE", help="NDJSON of queries and events, in any order; standard input without it")
    parser.add_argument("--click", action="append", metavar="ACTION", help=f"an action that counts as a click; repeatable (default: {', '.join(CLICKS)})")
    given = parser.parse_args()
    rows, silent = log(given.files, tuple(given.click or CLICKS))
    count = write(rows, given)
    requests, clicks = sum(row["count"] for row in rows), sum(row["clicks"] for row in rows)
    say(f"{count} queries, {requests} requests, {clicks} clicks; {silent} events belong to no request with a text and are left out")


if __name__ == "__main__":
    end(main)
