"""The report of a scored run: metrics with intervals for all rows and for every slice, confusion, failures.

An error or a missing verdict is never a grade: accuracy-like metrics are over judged rows and stand beside `coverage`; the variants
ending in `_all` count an unjudged row as not right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lore_cli import stream
from lore_cli.errors import BadInput
from lore_cli.rair import asymptotic
from lore_cli.rair.failures import Failures, described
from lore_cli.rair.intervals import LEVEL, bounds, leave_one_out
from lore_cli.rair.metrics import METRICS, NOT_SHARES, Sums, every_metric
from lore_cli.rair.tally import Slice, Tally
from lore_cli.records import GRADES, Pair, Verdict

VERSION = 1
SUBSETS = ("general", "hard", "visual")
TESTED = ("acc2", "macro_f1")
"""Metrics by which slices are tested against the other rows, and the size of a detectable difference is told."""


@dataclass(frozen=True, slots=True)
class Settings:
    """draws: bootstrap draws. partial: gold rows without a verdict count as unjudged instead of being refused. failures: how many to describe.

    images: the folder that the gold's image paths are relative to; in the report they are relative to `beside`.
    """

    draws: int = 2000
    seed: int = 0
    partial: bool = False
    failures: int = 12
    images: Path = Path()
    beside: Path = Path()


def collect(rows: Iterable[tuple[Pair, Verdict | None]], tally: Tally, failures: Failures, partial: bool) -> None:
    """Fill `tally` and `failures` from joined rows. Raises `BadInput` for what `Tally.check` refuses."""
    for pair, verdict in rows:
        tally.add(pair, verdict)
        failures.add(pair, verdict)
    tally.check(partial)


def report(tally: Tally, failures: Failures, gold: list[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    """The report document. gold: name and sha256 of each gold file. Same rows in any order, same document."""
    import numpy

    matrix = tally.matrix()
    rows = {(): None} | {key: numpy.frombuffer(tally.slices[key], dtype=numpy.int32) for key in sorted(tally.slices, key=slice_order)}
    entries = [slice_entry(tally, matrix, key, chosen, settings) for key, chosen in rows.items()]
    against_the_rest(entries, tally, matrix, list(rows.values()))
    rulebook = tally.rulebook
    return {
        "report": VERSION,
        "judges": sorted(tally.judges),
        "rulebook": {"name": rulebook.name, "version": rulebook.version, "hash": rulebook.hash},
        "gold": gold,
        "unjudged": {"errors": sum(tally.errors.values()), "unparseable": tally.unparseable, "missing": tally.missing},
        "errors": [{"error": text, "count": count} for text, count in sorted(tally.errors.items(), key=lambda entry: (-entry[1], entry[0]))[:10]],
        "samples": {"k": tally.k, "rows": len(tally.draws.rows)} if tally.k else None,
        "interval": {"method": "BCa bootstrap over queries", "level": LEVEL, "draws": settings.draws, "seed": settings.seed},
        "calibration": tally.calibration.document(),
        "slices": entries,
        "failures": [described(pair, verdict, rulebook, settings.images, settings.beside) for pair, verdict, _ in failures.chosen()],
    }


def slice_entry(tally: Tally, matrix: Any, key: Slice, rows: Any, settings: Settings) -> dict[str, Any]:
    """One element of `slices`: counts, confusion (gold down, given across) and metrics {value, lo, hi} of the rows of a slice (None: all)."""
    per_query = tally.per_query(matrix, rows)
    sums = Sums(per_query.sum(0))
    return {
        "slice": dict(key),
        "n": int(sums.rows),
        "queries": len(per_query),
        "judged": int(sums.judged),
        "gold": {grade: int(count) for grade, count in zip(GRADES, sums.support + sums.unjudged, strict=True)},
        "confusion": sums.confusion.astype(int).tolist(),
        "latency_ms": tally.latency_ms(rows),
        "metrics": measured(per_query, every_metric, settings),
        "analytic": {"macro_f1": {name: plain(number, 6) for name, number in zip(("value", "lo", "hi"), asymptotic.macro_f1_interval(per_query), strict=True)}},
        "detectable": detectable(per_query),
    }


def detectable(per_query: Any) -> dict[str, float | None]:
    """{metric: the smallest true difference that another run of so many queries would show}, as if its errors were independent of this one's: for paired runs it is less."""
    import numpy

    errors = asymptotic.standard_error(tested(leave_one_out(per_query)))
    return {name: plain(asymptotic.detectable(numpy.sqrt(2) * error), 6) for name, error in zip(TESTED, errors, strict=True)}


def against_the_rest(entries: list[dict[str, Any]], tally: Tally, matrix: Any, rows: list[Any]) -> None:
    """Add to each slice but the first how it differs from all other rows, and p with and without Holm's correction for the number of slices."""
    import numpy

    if len(entries) < 2:
        return
    whole = tally.per_query(matrix, every=True)
    tests = [asymptotic.against_rest(tally.per_query(matrix, chosen, every=True), whole, tested) for chosen in rows[1:]]
    gaps, p = (numpy.array(side) for side in zip(*tests, strict=True))
    corrected = numpy.stack([asymptotic.holm(column) for column in p.T], axis=1)
    for number, entry in enumerate(entries[1:]):
        columns = enumerate(TESTED)
        entry["against_rest"] = {
            name: {"difference": plain(gaps[number, i], 10), "p": plain(p[number, i], 6), "p_holm": plain(corrected[number, i], 6)} for i, name in columns if not numpy.isnan(gaps[number, i])
        }


def tested(values: Any) -> Any:
    """The metrics of `TESTED` from sums [..., columns], as [..., tested]."""
    import numpy

    sums = Sums(numpy.asarray(values, dtype=float))
    return numpy.stack([METRICS[name](sums) for name in TESTED], axis=-1)


def measured(per_query: Any, statistic: Callable[[Any], Any], settings: Settings) -> dict[str, dict[str, float | None]]:
    """Every metric with its bounds, as `named` gives them."""
    import numpy

    shares = numpy.array([name not in NOT_SHARES for name in METRICS])
    return named(METRICS, *bounds(per_query, statistic, shares, settings.draws, settings.seed))


def named(names: Iterable[str], value: Any, low: Any, high: Any) -> dict[str, dict[str, float | None]]:
    """{name: {value, lo, hi}}; what is undefined is absent, bounds that cannot be had (one query) are null."""
    return {name: {"value": plain(value[i], 10), "lo": plain(low[i], 6), "hi": plain(high[i], 6)} for i, name in enumerate(names) if value[i] == value[i]}


def read_report(path: str) -> dict[str, Any]:
    """A report from disk. Raises `BadInput` for another document."""
    document = stream.read_json(path, "a report of lore-rair score")
    if not isinstance(document, dict) or document.get("report") != VERSION or "slices" not in document:
        raise BadInput("is not a report of lore-rair score", where=path, hint="make one with lore-rair score --json FILE")
    return document


def find_slice(document: dict[str, Any], wanted: dict[str, str]) -> dict[str, Any] | None:
    """The slice of a report with exactly these fields, or None."""
    return next((entry for entry in document["slices"] if entry["slice"] == wanted), None)


def slice_name(key: dict[str, str]) -> str:
    """How a slice is called: `all`, `general`, `tier=head`."""
    if not key:
        return "all"
    return ", ".join(value if field in ("subset", "criterion") else f"{field}={value}" for field, value in key.items())


def slice_order(key: Slice) -> tuple[int, int, Slice]:
    """Sort key: subsets in RAIR's order, then tiers, criteria, other fields."""
    name, value = key[0]
    return ("subset", "tier", "criterion").index(name) if name in ("subset", "tier", "criterion") else 3, SUBSETS.index(value) if value in SUBSETS else 9, key


def plain(number: float, digits: int) -> float | None:
    """A number as a report holds it: rounded, None for NaN."""
    return round(float(number), digits) if number == number else None
