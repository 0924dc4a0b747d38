"""A query log added up by normalised query, in memory for its distinct queries, however long it is.

Files of plain counts or events go through polars and msgspec in blocks; everything else (pipes, pairs, a log with a bad row, --limit) row by row, so that
a bad row is named by file, line and field. Both come to the same counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from lore_cli.errors import BadInput
from lore_cli.judges.cached import normalise
from lore_cli.records import Record, row_of
from lore_cli.stream import chunks

Form = Literal["auto", "events", "ubi"]
FORMS: tuple[Form, ...] = ("auto", "events", "ubi")
_CHUNK = 200_000
_BLOCK = 16 << 20  # bytes of JSONL decoded at once
_MOST = 10**15  # 9,000 such rows still add up within 64 bits
_QUERY_COUNT, _PAIR, _COUNTED_PAIR, _EVENT = "query counts", "pairs", "pairs with counts", "events"


class LogRow(Record, frozen=True):
    """A row of a query log: a query with its count, a pair that was shown (its count may be missing: once), or with form `events` one request."""

    query: str
    count: int | None = None


class UbiQuery(Record, frozen=True):
    """A query document of OpenSearch's User Behavior Insights: one request."""

    user_query: str


@dataclass(frozen=True, slots=True)
class Counted:
    """A log added up: `frame` has columns query (normalised), count; most frequent first. `rows`: log rows read."""

    frame: Any
    rows: int

    @property
    def traffic(self) -> int:
        return int(self.frame["count"].sum() or 0)


def kind_of(form: Form) -> type[LogRow] | type[UbiQuery]:
    """The record that rows of a form are."""
    return UbiQuery if form == "ubi" else LogRow


def count_queries(rows: Iterable[LogRow | UbiQuery], form: Form = "auto") -> Counted:
    """Add a log up, row by row. Memory: one row per distinct query.

    Query counts are summed, events counted. Pairs with counts tell one request once for each item shown, so a query has the largest count among its
    pairs; pairs without counts are counted, one each [ours]. Raises `BadInput` for a missing count or one under 1, for a log that mixes these
    forms, and for one without rows.
    """
    sums, read, found = _Sums(), 0, ""
    for chunk in chunks(_checked(rows, form), _CHUNK):
        forms = {one for _, _, one in chunk} | ({found} if found else set())
        if len(forms) > 1:
            raise BadInput(f"rows of different forms in one log: {', '.join(sorted(forms))}", where="log", hint="plan from one of them")
        found = forms.pop()
        sums.largest = found == _COUNTED_PAIR
        sums.add(_frame([query for query, _, _ in chunk], [count for _, count, _ in chunk]))
        read += len(chunk)
    return _counted(sums, read)


def count_files(files: Sequence[str], form: Form = "auto") -> Counted | None:
    """The same for files of plain counts or events, many times faster; None where a row is of another form or is bad: then read it row by row."""
    if not files or not all(Path(file).is_file() for file in files):
        return None
    as_typed, sums, read = _Sums(), _Sums(), 0
    for file in files:
        with open(file, "rb") as opened:
            parquet = opened.read(4) == b"PAR1"
        for frame, rows in _parquet(file, form) if parquet else _jsonl(file, form):
            if frame is None:
                return None
            as_typed.add(frame)
            read += rows
    for some in as_typed.frame().iter_slices(_CHUNK) if read else ():
        queries = [normalise(query) for query in some["query"]]
        if not all(queries):
            return None
        sums.add(_frame(queries, some["count"]))
    return _counted(sums, read) if read else None


class _Sums:
    """Counts by query. What is new waits until it is as much as what is there: adding n rows costs n log n. largest: the greatest count, not the sum."""

    def __init__(self) -> None:
        self._parts: list[Any] = []
        self._merged = self._waiting = 0
        self.largest = False

    def add(self, frame: Any) -> None:
        self._parts.append(frame)
        self._waiting += len(frame)
        if self._waiting > max(self._merged, _CHUNK):
            self.frame()

    def frame(self) -> Any:
        """One row per query."""
        import polars

        count = polars.col("count").max() if self.largest else polars.col("count").sum()
        self._parts = [polars.concat(self._parts).group_by("query").agg(count)] if self._parts else []
        self._merged, self._waiting = sum(map(len, self._parts)), 0
        return self._parts[0] if self._parts else None


def _frame(queries: Sequence[str], counts: Any) -> Any:
    import polars

    return polars.DataFrame({"query": queries, "count": counts}, schema={"query": polars.String, "count": polars.Int64})


def _counted(sums: _Sums, read: int) -> Counted:
    if not read:
        raise BadInput("the log has no rows", hint="give rows of query and count, pairs, or with --log events one row a request")
    return Counted(sums.frame().sort(["count", "query"], descending=[True, False]), read)


def _checked(rows: Iterable[Any], form: Form) -> Iterator[tuple[str, int, str]]:
    for number, row in enumerate(rows, 1):
        text = row.user_query if form == "ubi" else row.query
        query = normalise(text)
        if not query:
            raise BadInput("nothing is left of the query after normalisation", where="log row", line=number, field="query")
        if form != "auto":
            yield query, 1, _EVENT
            continue
        pair = "item" in row_of(row)
        if row.count is None and not pair:
            raise BadInput(
                "required field is missing",
                where="log row",
                line=number,
                field="count",
                hint="a log has rows of query and count; of one row a request with --log events",
            )
        if row.count is not None and not 1 <= row.count <= _MOST:
            raise BadInput(f"{row.count} for query '{text}'; 1 to {_MOST} is allowed", where="log row", line=number, field="count")
        yield query, row.count or 1, (_PAIR if row.count is None else _COUNTED_PAIR) if pair else _QUERY_COUNT


class _Plain(msgspec.Struct):
    query: str
    count: int
    item: Any = None


class _Event(msgspec.Struct):
    query: str


class _Ubi(msgspec.Struct):
    query: str = msgspec.field(name="user_query")


def _jsonl(file: str, form: Form) -> Iterator[tuple[Any, int]]:
    """(frame of raw queries and counts, rows) of each block; (None, 0) at a row that is not plain."""
    decode = msgspec.json.Decoder({"auto": _Plain, "events": _Event, "ubi": _Ubi}[form]).decode_lines
    with open(file, "rb") as opened:
        while block := opened.read(_BLOCK):
            block += opened.readline()
            try:
                rows = decode(block)
            except (msgspec.DecodeError, UnicodeDecodeError):
                yield None, 0
                return
            counts = [row.count for row in rows] if form == "auto" else [1] * len(rows)
            if any(not 1 <= count <= _MOST for count in counts) or (form == "auto" and any(row.item is not None for row in rows)):
                yield None, 0
                return
            yield _frame([row.query for row in rows], counts), len(rows)


def _parquet(file: str, form: Form) -> Iterator[tuple[Any, int]]:
    """The same of a Parquet file, grouped by polars' streaming engine: one frame of its distinct queries."""
    import polars

    name = "user_query" if form == "ubi" else "query"
    try:
        scan = polars.scan_parquet(file)
        schema = scan.collect_schema()
        if schema.get(name) != polars.String or (form == "auto" and ("item" in schema or not schema.get("count", polars.Null()).is_integer())):
            yield None, 0
            return
        count = polars.col("count").cast(polars.Int64) if form == "auto" else polars.lit(1, polars.Int64)
        grouped = scan.select(query=polars.col(name), count=count).group_by("query")
        sums = grouped.agg(
            rows=polars.len(),
            least=polars.col("count").min(),
            most=polars.col("count").max(),
            none=polars.col("count").null_count(),
            count=polars.col("count").sum(),
        )
        frame = sums.collect(engine="streaming")
    except polars.exceptions.PolarsError:
        yield None, 0
        return
    if not frame.height:
        return
    plain = not frame["query"].null_count() and not frame["none"].sum() and frame["least"].min() >= 1 and frame["most"].max() <= _MOST
    yield (frame.select("query", "count"), int(frame["rows"].sum())) if plain else (None, 0)
