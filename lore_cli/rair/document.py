"""The report of `lore-rair score` as its readers may rely on it; schemas/report.schema.json is generated from here.

The report itself is built in report.py and may hold more than this.
"""

from __future__ import annotations

import msgspec


class Metric(msgspec.Struct, frozen=True):
    """A value and its 95 % interval; bounds are null where they cannot be had (one query)."""

    value: float
    lo: float | None
    hi: float | None


class ReportSlice(msgspec.Struct, frozen=True):
    """The metrics of some rows. `slice`: the fields and values that chose them, empty for all rows. `n`: gold pairs; `queries`: how many different ones.

    `judged`: pairs with a verdict that is no error. `gold`: pairs of each grade. `confusion`: judged pairs, gold grade down, given grade across.
    `metrics`: by name (acc2, acc4, macro_f1, weighted_f1, qwk, adherence, coverage …); one that is undefined here is absent.
    """

    slice: dict[str, str]
    n: int
    queries: int
    judged: int
    gold: dict[str, int]
    confusion: list[list[int]]
    metrics: dict[str, Metric]


class ReportRulebook(msgspec.Struct, frozen=True):
    """The rulebook that adherence was held against."""

    name: str
    version: str
    hash: str


class ReportGold(msgspec.Struct, frozen=True):
    """A file of graded pairs that was scored against."""

    name: str
    sha256: str | None


class Unjudged(msgspec.Struct, frozen=True):
    """Gold pairs whose verdict is an error, and those without any. `unparseable`: the errors that are a reply which could not be read."""

    errors: int
    unparseable: int
    missing: int


class Report(msgspec.Struct, frozen=True):
    """What `lore-rair score --json` writes. `report`: the format's version. `slices`: all rows first, then each subset, tier, criterion and field of --by."""

    report: int
    judges: list[str]
    rulebook: ReportRulebook
    gold: list[ReportGold]
    unjudged: Unjudged
    slices: list[ReportSlice]
