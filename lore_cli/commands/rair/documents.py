"""--json --html --markdown: the documents that a verb writes beside its table."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import orjson

from lore_cli import stream
from lore_cli.commands.sections import Section, options_of
from lore_cli.errors import UsageError


@dataclass(frozen=True)
class Documents:
    """Where they go; `-` is standard output, in place of the table, for one of JSON and Markdown."""

    json: str | None
    html: str | None
    markdown: str | None
    force: bool

    def refuse_existing(self, *others: str | None) -> None:
        """Raise `UsageError` when one of them, or of `others`, is there already, or when two of them would be standard output."""
        if self.json == self.markdown == "-":
            raise UsageError("--json and --markdown cannot both be standard output", hint="give one of them a file")
        for path in (self.json, self.html, self.markdown, *others):
            stream.refuse_existing(path, self.force)

    @property
    def files(self) -> list[str]:
        """Those on disk."""
        return [path for path in (self.json, self.html, self.markdown) if path is not None and path != "-"]

    @property
    def beside(self) -> Path:
        """The folder that images in them are relative to."""
        return Path(self.files[0]).resolve().parent if self.files else Path.cwd()

    @property
    def on_stdout(self) -> bool:
        """Whether standard output is taken, so that no table is shown."""
        return "-" in (self.json, self.markdown)

    def write(self, document: Any, page: Callable[[], str], summary: Callable[[], str]) -> None:
        """Write what was asked for; page and summary are made only then."""
        if self.json == "-":
            sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        elif self.json:
            stream.write_json_atomic(self.json, document)
        if self.html:
            stream.write_text_atomic(self.html, page())
        if self.markdown == "-":
            sys.stdout.buffer.write(summary().encode("utf-8"))
        elif self.markdown:
            stream.write_text_atomic(self.markdown, summary())


def document_options(what: str, more: str = "") -> Callable[[Any], Any]:
    """--json --html --markdown --force → `documents: Documents`. what: how help calls the document; more: what it says of the JSON beside."""

    def decorate(function: Any) -> Any:
        @options_of(
            Section.OUTPUT,
            click.option("--json", "json_path", metavar="FILE", help=f"Write the {what} as JSON{more}; - is standard output instead of the table."),
            click.option("--html", "html_path", metavar="FILE", help=f"Write the {what} as one self-contained page."),
            click.option("--markdown", metavar="FILE", help=f"Write the {what} as a summary for a pull request; - is standard output instead of the table."),
            click.option("--force", is_flag=True, help="Replace existing outputs."),
        )
        @functools.wraps(function)
        def call(*, json_path: str | None, html_path: str | None, markdown: str | None, force: bool, **rest: Any) -> Any:
            return function(documents=Documents(json_path, html_path, markdown, force), **rest)

        return call

    return decorate
