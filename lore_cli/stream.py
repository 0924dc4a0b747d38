"""Rows in and out: JSONL or Parquet, files or pipes, one at a time.

Reading is a ladder of generators (lines → rows → checked records), so memory does not grow with the input; only the ids
seen are kept where duplicates are refused. Writing is whole or not at all: a temporary name beside the target, fsync, rename;
a target whose content would not change is left as it is, mtime included, so that make stays quiet.
"""

from __future__ import annotations

import contextlib
import filecmp
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
from lore_cli.errors import BadInput, Missing, UsageError
from lore_cli.records import AnyRecord, Record

FORMATS = ("jsonl", "parquet")
_PARQUET_MAGIC = b"PAR1"


class Rejects:
    """Where bad rows go with `--on-bad skip`: JSONL rows of file, line, field, reason and the text as it was read."""

    def __init__(self, path: str | None) -> None:
        self.path, self.count, self._file = path, 0, None

    def add(self, problem: BadInput, text: bytes) -> None:
        self.count += 1
        if self.path is None:
            return
        if self._file is None:
            self._file = open(self.path, "wb")
        row = {"file": problem.where, "line": problem.line, "field": problem.field, "reason": problem.reason, "text": text.decode("utf-8", "replace")}
        self._file.write(orjson.dumps(row) + b"\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read(
    kind: type[AnyRecord], sources: Sequence[str], *, on_bad: str = "fail", rejects: Rejects | None = None, limit: int | None = None, unique: bool = True
) -> Iterator[AnyRecord]:
    """Yield the records of each source in turn; `-` (and no source) is stdin. The format is told by the first bytes.

    unique: refuse an id seen before (about 100 bytes a row are kept for it). Raises `BadInput` at the first bad row, naming file,
    line and field, unless on_bad is `skip`: then the row goes to `rejects` and reading goes on. Raises `Missing` for no such file.
    """
    seen: set[str] | None = set() if unique and "id" in kind.__struct_fields__ else None
    count = 0
    for source in sources or ("-",):
        for line, text, row in _rows(source):
            if limit is not None and count >= limit:
                return
            try:
                record = check(kind, orjson.loads(text) if row is None else row)
                if seen is not None and record.id in seen:  # type: ignore[attr-defined]
                    raise BadInput(f"duplicate id '{record.id}'", field="id", hint="ids name rows: make them unique")  # type: ignore[attr-defined]
            except (BadInput, orjson.JSONDecodeError) as error:
                problem = _place(error, source, line)
                if on_bad != "skip":
                    raise problem from None
                if rejects is not None:
                    rejects.add(problem, text if row is None else orjson.dumps(row, default=str))
                continue
            if seen is not None:
                seen.add(record.id)  # type: ignore[attr-defined]
            count += 1
            yield record


def check(kind: type[AnyRecord], row: Any) -> AnyRecord:
    """The record of a row. Raises `BadInput` naming the field, what was found and what is allowed."""
    try:
        record = records.parse(kind, row)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        field = path.strip("`").lstrip(".")
        if "missing required field" in reason:
            name = reason.rpartition(" ")[2].strip("`")
            field, reason = f"{field}.{name}".lstrip("."), "required field is missing"
        elif "Invalid enum value" in reason:
            allowed = records.GRADES if field == "grade" else records.STATES if field.endswith("state") else records.SOURCES
            reason = f"{reason.replace('Invalid enum value', 'found')}; allowed: {', '.join(allowed)}"
        hint = "ids are strings: quote them" if field.endswith("id") and "`int`" in reason else ""
        raise BadInput(reason.replace("`", "").replace("Expected", "expected"), field=field, hint=hint) from None
    for field in ("id", "query"):
        if field in kind.__struct_fields__ and not getattr(record, field).strip():
            raise BadInput("is empty; a non-empty text is needed", field=field)
    return record


def _place(error: Exception, source: str, line: int) -> BadInput:
    name = "<stdin>" if source == "-" else source
    if isinstance(error, BadInput):
        return BadInput(error.reason, where=name, line=line, field=error.field, hint=error.hint or "mend the row, or pass --on-bad skip --rejects FILE")
    return BadInput(f"not valid JSON: {error}", where=name, line=line, hint="mend the row, or pass --on-bad skip --rejects FILE")


def _rows(source: str) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """(line number, raw line, None) of a JSONL source, or (row number, b'', row) of a Parquet one."""
    with _open_binary(source) as file:
        head = file.peek(4)[:4]
        if head != _PARQUET_MAGIC:
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.isspace():
                    yield number, line.rstrip(b"\r\n"), None
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
        yield sys.stdin.buffer
        return
    try:
        file = open(source, "rb")
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
    except polars.exceptions.PolarsError as error:
        raise BadInput(f"not a readable Parquet file: {str(error).splitlines()[0]}", where=name, line=number or None, hint="was it cut short? write it again") from error


def _from_parquet(value: Any) -> Any:
    """Nulls are absent fields; `attributes` travels as a list of key/value structs, because Parquet columns are fixed and attribute names are not."""
    if isinstance(value, dict):
        row = {name: _from_parquet(part) for name, part in value.items() if part is not None}
        attributes = row.get("attributes")
        if isinstance(attributes, list):
            row["attributes"] = {entry["key"]: entry["value"] for entry in attributes if "value" in entry}
        return row
    return [_from_parquet(part) for part in value] if isinstance(value, list) else value


def _to_parquet(value: Any) -> Any:
    if isinstance(value, dict):
        row = {name: _to_parquet(part) for name, part in value.items()}
        if isinstance(value.get("attributes"), dict):
            row["attributes"] = [{"key": name, "value": part} for name, part in value["attributes"].items()]
        return row
    return [_to_parquet(part) for part in value] if isinstance(value, list) else value


class Writer:
    """Writes rows to an open file; `count` tells how many."""

    def __init__(self, file: IO[bytes], parquet: bool) -> None:
        self._write, self._parquet, self.count = file.write, parquet, 0

    def write(self, row: Record | dict[str, Any]) -> None:
        plain = records.row_of(row) if isinstance(row, Record) else row
        self._write(orjson.dumps(_to_parquet(plain) if self._parquet else plain, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))
        self.count += 1


def format_of(path: str | None, format: str | None) -> str:
    """`jsonl` or `parquet`: what `--format` forces, else what the suffix says, else JSONL."""
    return format or ("parquet" if path and path.endswith((".parquet", ".pq")) else "jsonl")


def refuse_existing(path: str | None, force: bool) -> None:
    """Raise `UsageError` when an output would overwrite something, before any work is done; check that its folder can be written."""
    if path in (None, "-"):
        return
    if os.path.exists(path) and not force:
        raise UsageError(f"{path} exists", hint="pass --force to replace it, or choose another --output")
    parent = Path(path).resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    if not os.access(parent, os.W_OK):
        raise Missing(f"{parent}: cannot be written", hint="choose another --output")


@contextlib.contextmanager
def open_output(path: str | None, *, format: str | None = None, force: bool = False) -> Iterator[Writer]:
    """A `Writer` to a file (published on success only) or, for None and `-`, to stdout."""
    refuse_existing(path, force)
    parquet = format_of(path, format) == "parquet"
    if path in (None, "-") and not parquet:
        writer = Writer(sys.stdout.buffer, False)
        yield writer
        sys.stdout.buffer.flush()
        return
    folder = None if path in (None, "-") else Path(path).resolve().parent
    with tempfile.TemporaryDirectory(dir=folder, prefix=".lore-") as temporary:
        spool = Path(temporary, "rows")
        with open(spool, "wb") as file:
            writer = Writer(file, parquet)
            yield writer
            _sync(file)
        if parquet:
            spool = _as_parquet(spool, Path(temporary, "rows.parquet"))
        if folder is None:
            with open(spool, "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            publish(spool, Path(path))


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


def publish(temporary: Path, target: Path) -> None:
    """Move a finished file into place; an existing target with the same bytes stays untouched, mtime included."""
    if target.is_file() and filecmp.cmp(temporary, target, shallow=False):
        temporary.unlink()
        return
    with open(temporary, "rb+") as file:
        _sync(file)
    os.replace(temporary, target)
    _sync_folder(target.resolve().parent)


def write_bytes_atomic(path: str | Path, data: bytes) -> None:
    """Write a small file whole or not at all."""
    target = Path(path)
    target.resolve().parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.resolve().parent, prefix=".lore-")
    try:
        os.fchmod(descriptor, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            _sync(file)
        publish(Path(name), target)
    finally:
        Path(name).unlink(missing_ok=True)


def write_text_atomic(path: str | Path, text: str) -> None:
    """`write_bytes_atomic` for UTF-8 text."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: str | Path, document: Any) -> None:
    """A JSON document, indented, keys in the order given, ending in a newline."""
    write_bytes_atomic(path, orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))


@contextlib.contextmanager
def output_directory(path: str, *, force: bool = False) -> Iterator[Path]:
    """A temporary directory that becomes `path` when the block ends well; an older one is replaced only then, and only with `force`."""
    refuse_existing(path, force)
    target = Path(path).resolve()
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".lore-"))
    try:
        temporary.chmod(0o755)
        yield temporary
        if target.exists():
            retired = Path(tempfile.mkdtemp(dir=target.parent, prefix=".lore-old-"))
            os.replace(target, retired / "old")
            os.replace(temporary, target)
            shutil.rmtree(retired)
        else:
            os.replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_json(path: str | Path, what: str) -> Any:
    """A JSON document from disk. Raises `Missing` or `BadInput` naming the file and `what` it should be."""
    try:
        return orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise Missing(f"{what} {path}: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise BadInput(f"not valid JSON: {error}", where=str(path), hint=f"expected {what}") from error


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


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
