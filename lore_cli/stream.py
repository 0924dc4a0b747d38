"""Rows in and out: JSONL or Parquet, files or pipes, one at a time.

Reading is a ladder of generators (lines → rows → checked records), so memory does not grow with the input; only the ids
seen are kept where duplicates are refused. How a file appears whole or not at all is in files.py.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import hashlib
import heapq
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import orjson

from lore_cli import records
from lore_cli.errors import BadInput, Missing
from lore_cli.files import (  # noqa: F401  what is written whole or not at all, rows or not, is found here
    is_pipe, output_directory, publish, read_json, refuse_existing, sync, workspace, write_bytes_atomic, write_json_atomic, write_text_atomic,
)  # fmt: skip
from lore_cli.records import AnyRecord, Record, row_of
from lore_cli.seen import Seen

FORMATS = ("jsonl", "parquet")
_PARQUET_MAGIC = b"PAR1"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_dumps = orjson.dumps
_ONE_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
_BUFFER = 1 << 18  # bytes read and written at once


class Rejects:
    """Where bad rows go with `--on-bad skip`: JSONL rows of file, line, field, reason and the text as it was read."""

    def __init__(self, path: str | None) -> None:
        self.path, self.count, self._file = path, 0, None

    def start(self) -> None:
        """Begin the file anew: it tells of this run alone, and is empty when no row was bad."""
        if self.path is not None and self._file is None:
            self._file = open(self.path, "wb")

    def add(self, problem: BadInput, text: bytes) -> None:
        self.count += 1
        self.start()
        if self._file is None:
            return
        row = {"file": problem.where, "line": problem.line, "field": problem.field, "reason": problem.reason, "text": text.decode("utf-8", "replace")}
        self._file.write(orjson.dumps(row) + b"\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read(
    kind: type[AnyRecord], sources: Sequence[str], *, on_bad: str = "fail", rejects: Rejects | None = None, limit: int | None = None, unique: bool = True, needs: Sequence[str] = ()
) -> Iterator[AnyRecord]:
    """Yield the records of each source in turn; `-` (and no source) is stdin. The format is told by the first bytes.

    unique: refuse an id seen before (see `Seen` for its memory). needs: fields that this command cannot do without. Raises
    `BadInput` at the first bad row, naming file, line and field, unless on_bad is `skip`: then reading goes on. Bad rows go to `rejects`.
    Raises `Missing` for no such file.
    """
    seen = Seen() if unique and "id" in kind.__struct_fields__ else None
    named, asked = ("id" in kind.__struct_fields__, "query" in kind.__struct_fields__)
    parse, loads, count = records.parse, orjson.loads, 0
    for source in sources or ("-",):
        for line, text, row in _rows(source):
            if count == limit:
                return
            try:
                record = parse(kind, loads(text) if row is None else row)
                if (named and (not record.id or record.id.isspace())) or (asked and (not record.query or record.query.isspace())):  # type: ignore[attr-defined]
                    _refuse_empty(record)
                for name in needs:
                    if row_of(record).get(name) is None:
                        raise BadInput("required field is missing", field=name)
                if seen is not None and not seen.add(record.id):  # type: ignore[attr-defined]
                    raise BadInput(f"duplicate id '{record.id}'", field="id", hint="ids name rows: make them unique")  # type: ignore[attr-defined]
            except (BadInput, msgspec.ValidationError, orjson.JSONDecodeError) as error:
                if row is None and text.isspace():
                    continue
                problem = _place(error, source, line)
                if rejects is not None:
                    rejects.add(problem, text.rstrip(b"\r\n") if row is None else orjson.dumps(row, default=str))
                if on_bad != "skip":
                    raise problem from None
                continue
            count += 1
            yield record


def check(kind: type[AnyRecord], row: Any) -> AnyRecord:
    """The record of a row. Raises `BadInput` naming the field, what was found and what is allowed."""
    try:
        record = records.parse(kind, row)
    except msgspec.ValidationError as error:
        raise _told(error) from None
    _refuse_empty(record)
    return record


def _refuse_empty(record: Record) -> None:
    for field in ("id", "query"):
        if field in record.__struct_fields__ and not getattr(record, field).strip():
            raise BadInput("is empty; a non-empty text is needed", field=field)


def _told(error: msgspec.ValidationError) -> BadInput:
    """What msgspec found, in our words and with the field in front."""
    reason, _, path = str(error).partition(" - at `$")
    field = path.strip("`").lstrip(".")
    if "missing required field" in reason:
        name = reason.rpartition(" ")[2].strip("`")
        field, reason = f"{field}.{name}".lstrip("."), "required field is missing"
    elif "Invalid enum value" in reason:
        allowed = records.GRADES if field == "grade" else records.STATES if field.endswith("state") else records.SOURCES
        reason = f"{reason.replace('Invalid enum value', 'found')}; allowed: {', '.join(allowed)}"
    hint = "ids are strings: quote them" if field.endswith("id") and "`int`" in reason else ""
    return BadInput(reason.replace("`", "").replace("Expected", "expected"), field=field, hint=hint)


def _place(error: Exception, source: str, line: int) -> BadInput:
    name = "<stdin>" if source == "-" else source
    if isinstance(error, msgspec.ValidationError):
        error = _told(error)
    if isinstance(error, BadInput):
        return BadInput(error.reason, where=name, line=line, field=error.field, hint=error.hint or "mend the row, or pass --on-bad skip --rejects FILE")
    return BadInput(f"not valid JSON: {error}", where=name, line=line, hint="mend the row, or pass --on-bad skip --rejects FILE")


def _rows(source: str) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """(line number, raw line, None) of a JSONL source, blank lines among them, or (row number, b'', row) of a Parquet one."""
    with _open_binary(source) as file:
        head = file.peek(4)[:4]
        if head != _PARQUET_MAGIC:
            if head.startswith(_BYTE_ORDER_MARK):
                file.read(len(_BYTE_ORDER_MARK))
            yield from zip(itertools.count(1), file, itertools.repeat(None))
            return
        if source != "-":
            yield from _parquet_rows(source, source)
            return
        with tempfile.NamedTemporaryFile(suffix=".parquet") as spool:  # Parquet needs to seek; a pipe cannot
            shutil.copyfileobj(file, spool)
            spool.flush()
            yield from _parquet_rows(spool.name, "<stdin>")


@contextlib.contextmanager
def _open_binary(source: str) -> Iterator[Any]:
    if source == "-":
        if sys.stdin is None:
            raise Missing("standard input is closed", hint="name a file")
        yield sys.stdin.buffer
        return
    try:
        file = open(source, "rb", buffering=_BUFFER)
    except OSError as error:
        raise Missing(f"{source}: {error.strerror}", hint="check the path, or use - for standard input") from error
    with file:
        yield file


def _parquet_rows(path: str, name: str) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    import polars

    number = 0
    try:
        for batch in polars.scan_parquet(path).collect_batches(chunk_size=20_000):
            for row in batch.iter_rows(named=True):
                number += 1
                yield number, b"", _from_parquet(row)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        raise BadInput(f"not a readable Parquet file: {str(error).splitlines()[0]}", where=name, line=number or None, hint="was it cut short? write it again") from error


def _from_parquet(value: Any) -> Any:
    """Nulls are absent fields; `attributes` travels as a list of key/value structs, because Parquet columns are fixed and attribute names are not.

    Dates become ISO texts and decimals numbers, as they would stand in JSON.
    """
    if isinstance(value, dict):
        row = {name: _from_parquet(part) for name, part in value.items() if part is not None}
        attributes = row.get("attributes")
        if isinstance(attributes, list) and all(isinstance(entry, dict) and "key" in entry for entry in attributes):
            row["attributes"] = {entry["key"]: entry["value"] for entry in attributes if "value" in entry}
        return row
    if isinstance(value, list):
        return [_from_parquet(part) for part in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return float(value) if isinstance(value, decimal.Decimal) else value


def _to_parquet(value: Any) -> Any:
    if isinstance(value, dict):
        row = {name: _to_parquet(part) for name, part in value.items()}
        if isinstance(value.get("attributes"), dict):
            row["attributes"] = [{"key": name, "value": part} for name, part in value["attributes"].items()]
        return row
    return [_to_parquet(part) for part in value] if isinstance(value, list) else value


def encode(row: dict[str, Any]) -> bytes:
    """A row as one line of JSON. Raises `BadInput` for a value that JSON cannot hold, such as bytes or nesting deeper than 250."""
    try:
        return orjson.dumps(row, option=_ONE_LINE)
    except TypeError as error:
        raise BadInput(f"cannot be written as JSON: {error}", where=f"row '{row.get('id', '')}'", hint="leave out what JSON cannot hold, such as bytes or deep nesting") from error


class Writer:
    """Writes rows to an open file; `count` tells how many."""

    def __init__(self, file: IO[bytes], parquet: bool) -> None:
        self._write, self._parquet, self.count = file.write, parquet, 0

    def write(self, row: Record | dict[str, Any]) -> None:
        plain: Any = row if type(row) is dict else row.__dict__.get("raw") or row_of(row)  # type: ignore[arg-type]  # a call saved for each row
        if self._parquet:
            plain = _to_parquet(plain)
        try:
            line = _dumps(plain, option=_ONE_LINE)
        except TypeError:
            line = encode(plain)  # says what JSON cannot hold
        self._write(line)
        self.count += 1


def format_of(path: str | None, format: str | None) -> str:
    """`jsonl` or `parquet`: what `--format` forces, else what the suffix says, else JSONL."""
    return format or ("parquet" if path and path.endswith((".parquet", ".pq")) else "jsonl")


@contextlib.contextmanager
def open_output(path: str | None, *, format: str | None = None, force: bool = False) -> Iterator[Writer]:
    """A `Writer` to a file (published on success only) or, for None, `-`, devices and named pipes, straight through."""
    refuse_existing(path, force)
    parquet = format_of(path, format) == "parquet"
    if path is None or is_pipe(path):
        with _open_pipe(path) as pipe:
            if not parquet:
                yield Writer(pipe, False)
            else:
                with tempfile.TemporaryDirectory(prefix=".lore-") as temporary:
                    yield from _spooled(Path(temporary), True)
                    with open(Path(temporary, "rows"), "rb") as file:
                        shutil.copyfileobj(file, pipe)
            pipe.flush()
        return
    target = Path(path).resolve()
    with workspace(target) as temporary:
        yield from _spooled(temporary, parquet)
        publish(temporary / "rows", target)


@contextlib.contextmanager
def _open_pipe(path: str | None) -> Iterator[Any]:
    if path in (None, "-"):
        if sys.stdout is None:
            raise Missing("standard output is closed", hint="pass --output FILE")
        yield sys.stdout.buffer
        return
    with open(path, "wb") as file:
        yield file


def _spooled(folder: Path, parquet: bool) -> Iterator[Writer]:
    """A writer to `folder`/rows, which is in the output's format when the writing has ended."""
    rows = folder / "rows"
    with open(rows, "wb", buffering=_BUFFER) as file:
        yield Writer(file, parquet)
        sync(file)
    if parquet:
        os.replace(_as_parquet(rows, folder / "rows.parquet"), rows)


def _as_parquet(rows: Path, target: Path) -> Path:
    import polars

    try:
        if rows.stat().st_size == 0:
            polars.DataFrame().write_parquet(target)
        else:
            polars.scan_ndjson(rows, infer_schema_length=None).sink_parquet(target)
    except polars.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"these rows do not fit one Parquet schema: {reason}", hint="a field has mixed types: write JSONL instead") from error
    return target


def chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of up to `size` consecutive rows."""
    chunk: list[Any] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def content_key(record: Record) -> bytes:
    """16 bytes that stand for a row's content, its extra fields included."""
    plain = records.row_of(record)
    try:
        content = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        content = encode(plain)  # says what JSON cannot hold
    return hashlib.blake2b(content, digest_size=16).digest()


def sample(rows: Iterable[AnyRecord], size: int) -> list[AnyRecord]:
    """`size` rows, the same whatever their order: those whose content hashes lowest. They come in the order read; memory: the rows chosen."""
    kept: list[tuple[int, int, AnyRecord]] = []
    for number, row in enumerate(rows):
        entry = (-int.from_bytes(content_key(row), "big"), -number, row)
        if len(kept) < size:
            heapq.heappush(kept, entry)
        elif kept and entry[:2] > kept[0][:2]:
            heapq.heapreplace(kept, entry)
    return [row for _, _, row in sorted(kept, key=lambda entry: -entry[1])]
