"""What the importers share: how they read their options, write rows and end. Exit codes are those of every lore command."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a script in a checkout that need not be installed

from lore_cli import errors  # noqa: E402
from lore_cli.records import GRADES  # noqa: E402
from lore_cli.stream import FORMATS, open_output  # noqa: E402

Row = dict[str, Any]
_LONGEST_FIELD = 1 << 26  # bytes; product descriptions outgrow the csv module's 128 KiB


def options(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the module's docstring, with the options that every importer has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", metavar="FILE", help="output file; standard output without it")
    parser.add_argument("--format", choices=FORMATS, help="output format; by default told by the suffix, else jsonl")
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    return parser


def grades_option(parser: argparse.ArgumentParser, default: dict[str, str]) -> None:
    """--grades LABEL=GRADE,… over the default mapping."""
    text = ",".join(f"{label}={grade}" for label, grade in default.items())
    parser.add_argument("--grades", metavar="LABEL=GRADE,…", default=text, help=f"which label is which grade (default: {text})")


def grade_map(text: str, labels: Iterable[str]) -> dict[str, str]:
    """The mapping that --grades gives. Raises `UsageError` for an unknown label or grade and for a label left out."""
    found = dict(part.strip().partition("=")[::2] for part in text.split(","))
    labels = tuple(labels)
    wrong = [f"{label}={grade}" for label, grade in found.items() if label not in labels or grade not in GRADES]
    if wrong or set(found) != set(labels):
        missing = ", ".join(label for label in labels if label not in found)
        raise errors.UsageError(f"--grades {text}: {wrong[0] if wrong else f'says nothing of {missing}'}", hint=f"labels are {', '.join(labels)}; grades are {', '.join(GRADES)}")
    return found


def table(path: Path, columns: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a tab-separated file with a header. Raises `Missing` for no such file, `BadInput` for a missing column, a short row or bytes that are no UTF-8."""
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        file = open(path, encoding="utf-8-sig", newline="")
    except OSError as error:
        raise errors.Missing(f"{path}: {error.strerror}", hint="give the folder that holds the data set's files") from error
    with file:
        reader = csv.DictReader(file, delimiter="\t")
        try:
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise errors.BadInput(f"no such column (found: {', '.join(reader.fieldnames or ()) or 'none'})", where=str(path), line=1, field=missing[0])
            for row in reader:
                if None in row.values() or None in row:
                    raise errors.BadInput(f"has not the header's {len(reader.fieldnames or ())} columns", where=str(path), line=reader.line_num)
                yield reader.line_num, row
        except (UnicodeDecodeError, csv.Error) as error:
            raise errors.BadInput(f"not tab-separated UTF-8 text: {error}", where=str(path), line=reader.line_num + 1) from error


def write(rows: Iterable[Row], given: argparse.Namespace) -> int:
    """Write rows to where the options say; returns their number."""
    with open_output(given.output, format=given.format, force=given.force) as writer:
        for row in rows:
            writer.write(row)
    return writer.count


def say(text: str) -> None:
    """One line for the reader, beside the data."""
    print(f"{Path(sys.argv[0]).stem}: {text}", file=sys.stderr)


def end(main: Callable[[], int | None]) -> None:
    """Run `main` and exit as every command of this house does: one line and a code, a closed pipe is success."""
    try:
        code = main()
        sys.stdout.flush()
        sys.exit(code or errors.EXIT_DONE)
    except errors.LoreError as error:
        say(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter's last flush must not fail either
    except KeyboardInterrupt:
        say("interrupted; nothing half-written was published")
        sys.exit(errors.EXIT_INTERRUPTED)
    except OSError as error:
        say(f"{error.filename or 'output'}: {error.strerror}; nothing half-written was published")
        sys.exit(errors.EXIT_MISSING)
