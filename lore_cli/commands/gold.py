"""What `lore-rair score` and `compare` hold verdicts against: graded pairs, their rulebook, and how to count."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs
from lore_cli.commands.sections import Section, options_of
from lore_cli.manifest import identity_of, sha256_of
from lore_cli.records import Pair, Verdict, row_of

if TYPE_CHECKING:
    from lore_cli.rair.failures import Changes
    from lore_cli.rair.tally import Tally
    from lore_cli.rulebook import Rulebook

SLICED = ("subset", "criteria")


@dataclass(frozen=True)
class Gold:
    """The graded pairs of `sources`. by: fields to slice by beside SLICED. partial: pairs without a verdict count as unjudged."""

    sources: tuple[str, ...]
    rulebook_path: str | None
    by: tuple[str, ...]
    partial: bool
    draws: int

    def pairs(self) -> Iterator[Pair]:
        """The pairs, streamed anew at each call."""
        from lore_cli.rair.join import graded

        return graded(self.sources)

    def rulebook(self, verdicts: Sequence[str]) -> Rulebook:
        """The rulebook that adherence is measured by. Raises `UsageError` when gold and verdicts would both be standard input,
        `BadInput` for an edited benchmark, and for verdicts whose manifest tells that they were judged under another rulebook."""
        if "-" in self.sources and "-" in verdicts:
            raise errors.UsageError("verdicts and --gold cannot both be standard input", hint="give one of them as a file")
        from lore_cli.rulebook import load_rulebook

        book = load_rulebook(rulebook_path(self.rulebook_path, self.sources))
        check_benchmarks(self.sources, book)
        for path in verdicts:
            _check_rulebook(path, book)
        return book

    @property
    def fields(self) -> tuple[str, ...]:
        """What to slice by."""
        return (*SLICED, *self.by)

    def named(self) -> list[dict[str, Any]]:
        """Name and sha256 of each source, for the report."""
        return [{"name": Path(path).name, "sha256": sha256_of(path)} for path in self.sources]

    @property
    def folder(self) -> Path:
        """What image paths in the pairs are relative to."""
        return Path(self.sources[0]).resolve().parent

    def files(self) -> list[str]:
        """The sources on disk, for the manifest."""
        return [path for path in self.sources if path != "-"]


def gold_options(function: Any, *, required: bool = True) -> Any:
    """--gold --rulebook --by --partial --draws → `gold: Gold`. required: whether the command has no use without --gold."""

    @options_of(
        Section.GOLD,
        click.option("--gold", metavar="FILE", multiple=True, required=required, help="Graded pairs that were judged: bench/all.jsonl, bench/hard.jsonl, …; repeatable."),
        click.option("--by", metavar="FIELD", multiple=True, help="Also slice by this field of the gold rows or their items; repeatable. subset, criteria and tier always are."),
        click.option("--partial", is_flag=True, help="Count gold pairs without a verdict as unjudged instead of refusing them."),
        click.option("--draws", type=click.IntRange(min=100), default=2000, help="Bootstrap draws."),
    )
    @options_of(
        Section.THEORY,
        click.option("--rulebook", metavar="FILE", help="Rulebook for adherence; the benchmark's own, else the built-in one without it."),
    )
    @functools.wraps(function)
    def call(*, gold: tuple[str, ...], rulebook: str | None, by: tuple[str, ...], partial: bool, draws: int, **rest: Any) -> Any:
        return function(gold=Gold(gold, rulebook, by, partial, draws), **rest)

    return call


def rulebook_path(given: str | None, sources: Sequence[str]) -> str | None:
    """The rulebook given, else that of the benchmark which the first source belongs to."""
    from lore_cli.rair.join import check_benchmark

    if given is None and sources and check_benchmark(sources[0]):
        return str(Path(sources[0]).parent / "rulebook.toml")
    return given


def check_benchmarks(sources: Sequence[str], rulebook: Rulebook) -> None:
    """Raise `BadInput` for a benchmark that was edited, or built under another rulebook."""
    from lore_cli.rair.join import check_benchmark

    for source in sources:
        check_benchmark(source, rulebook.hash)


def filled(paths: Sequence[str], gold: Gold, flips: list[dict[str, Any]], changes: Sequence[Changes] = ()) -> list[Tally]:
    """The verdicts of each file on the same gold pairs, tallied; `flips` gets the pairs on which they differ from the first, `changes` what is to be described of them.

    Raises `BadInput` for a run that does not fit the gold pairs, or is not complete unless the missing verdicts are to count as unjudged.
    """
    from lore_cli.rair.compare import paired
    from lore_cli.rair.join import joined
    from lore_cli.rair.tally import Tally

    book = gold.rulebook(paths)
    sides = [Inputs((path,), None, "fail", stream.Rejects(None)) for path in paths]
    tallies = [Tally(book, gold.fields) for _ in paths]
    paired([joined(gold.pairs(), side.read(Verdict), refusing(side)) for side in sides], tallies, flips, changes)
    for path, tally in zip(paths, tallies, strict=True):
        tally.check(gold.partial, path)
    return tallies


def _check_rulebook(verdicts: str, rulebook: Rulebook) -> None:
    judged_under = identity_of(verdicts).get("rulebook", rulebook.hash)
    if judged_under != rulebook.hash:
        found = f"was judged under rulebook {judged_under}, not {rulebook.hash}"
        raise errors.BadInput(found, where=verdicts, hint="pass --rulebook FILE with the one that it was judged under, or judge again")


def refusing(inputs: Inputs) -> Callable[[errors.BadInput, Verdict], None]:
    """What to do with a verdict that fits no gold pair: stop, or with --on-bad skip set it aside."""

    return lambda problem, verdict: inputs.refuse(problem, orjson.dumps(row_of(verdict)))
