"""The documents of `lore-rair score` and `compare` as their readers may rely on them; schemas/report.schema.json and comparison.schema.json are generated from here.

The documents themselves are built in report.py and compare.py and may hold more than this.
"""

from __future__ import annotations

from typing import Any

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


class RunCost(msgspec.Struct, frozen=True):
    """What 1,000 pairs cost by the manifests of the runs, over the `pairs` that were paid for."""

    per_1000: float
    pairs: int


class Report(msgspec.Struct, frozen=True):
    """What `lore-rair score --json` writes. `report`: the format's version. `slices`: all rows first, then each subset, tier, criterion and field of --by.

    `cost`: null unless every run was metered with prices.
    """

    report: int
    judges: list[str]
    rulebook: ReportRulebook
    gold: list[ReportGold]
    unjudged: Unjudged
    slices: list[ReportSlice]
    cost: RunCost | None = None


class Difference(msgspec.Struct, frozen=True):
    """A metric of the runs a and b, b - a with its 95 % interval (null where it cannot be had), and p of a permutation test, as it is and corrected (Holm)."""

    a: float
    b: float
    difference: float
    lo: float | None
    hi: float | None
    p: float
    p_holm: float


class ComparisonSlice(msgspec.Struct, frozen=True):
    """The differences in some rows. `slice`: the fields and values that chose them, empty for all rows; `n` gold pairs of `queries` different queries."""

    slice: dict[str, str]
    n: int
    queries: int
    metrics: dict[str, Difference]


class Move(msgspec.Struct, frozen=True):
    """How many pairs of grade `gold` became right or wrong by a change of grade from `a` to `b`; null is no grade."""

    gold: str
    a: str | None
    b: str | None
    count: int


class Comparison(msgspec.Struct, frozen=True):
    """What `lore-rair compare --json` writes of two runs; of more, a list of these under `comparisons`. `comparison`: the format's version. `slices`: all rows first.

    `moves`: the most frequent first. `changes`: pairs that only one run has right, those of b first, each with the item and both verdicts.
    """

    comparison: int
    a: list[str]
    b: list[str]
    slices: list[ComparisonSlice]
    moves: list[Move]
    changes: list[dict[str, Any]]
