"""The board: the reports of several systems on one benchmark side by side, with what synthesis and the tiers tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lore_cli.errors import BadInput, UsageError
from lore_cli.rair.figures import cell, milliseconds, short, title
from lore_cli.rair.report import find_slice, read_report
from lore_cli.rair.sections import Section
from lore_cli.rair.tradeoff import METRIC, Tradeoff, report_files, tradeoff

COLUMNS = ("acc2", "acc4", "macro_f1", "adherence", "evidence_validity", "pass_at_1", "pass_at_k")
_SHOWN_HASH = 12


@dataclass(frozen=True, slots=True)
class System:
    """A report under the name that the board gives it. cost: of 1,000 pairs, where it is known."""

    name: str
    path: str
    report: dict[str, Any]
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """Everything the board shows. blocks: a table per subset, a row per system. tradeoffs: quality against time and cost."""

    title: str
    note: str
    systems: Sequence[System]
    blocks: Sequence[Section]
    synthesis: Sequence[Section]
    tiers: Sequence[Section]
    tradeoffs: Sequence[Tradeoff]

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the blocks: intervals, judges, what was not judged, what a dash means."""
        return _notes(self.systems)


def read_systems(texts: Sequence[str], costs: Mapping[str, float] | None = None) -> list[System]:
    """The systems that arguments stand for: `NAME=REPORT.json`, a report, or a directory (see `report_files`). costs: of 1,000 pairs by name, if not the report's.

    Raises `UsageError` for a name given twice or a cost of no system, `BadInput` for a file that is no report.
    """
    systems: dict[str, System] = {}
    costs = costs or {}
    for text in texts:
        name, separator, path = text.partition("=")
        named = separator and name.strip() and path and not Path(text).exists()
        files = report_files(path if named else text)
        if named and len(files) > 1:
            raise UsageError(f"'{text}': there are {len(files)} reports in {path}", hint="name one of them, or give the directory without a name")
        for own, file in files:
            called = name.strip() if named else own
            if called in systems:
                raise UsageError(f"the name '{called}' is given twice", hint="a name stands for one row of every block: give NAME=REPORT.json")
            report = read_report(file)
            systems[called] = System(called, file, report, costs.get(called, (report.get("cost") or {}).get("per_1000")))
    strangers = sorted(costs.keys() - systems.keys())
    if strangers:
        raise UsageError(f"--cost {strangers[0]}: no such system", hint=f"systems are {', '.join(systems)}")
    return list(systems.values())


def board(systems: Sequence[System], heading: str, note: str, synthesis: Sequence[Section] = (), tiers: Sequence[Section] = ()) -> Board:
    """Put the reports side by side. Raises `BadInput` when they are not about the same gold pairs and rulebook."""
    _refuse_mixture(systems)
    names = [entry["slice"] for entry in systems[0].report["slices"] if set(entry["slice"]) <= {"subset"}]  # every report has these: they are the gold's
    blocks = [_block(systems, name) for name in names]
    return Board(heading, note, systems, blocks, synthesis, tiers, _tradeoffs(systems))


def _tradeoffs(systems: Sequence[System]) -> list[Tradeoff]:
    whole = {system.name: system.report["slices"][0] for system in systems}
    quality = {name: entry["metrics"].get(METRIC) for name, entry in whole.items()}
    times = {name: (latency["mean"] if (latency := entry.get("latency_ms")) else None, quality[name]) for name, entry in whole.items()}
    costs = {system.name: (system.cost, quality[system.name]) for system in systems}
    found = (tradeoff("Quality against time", "ms/pair", times), tradeoff("Quality against cost", "cost/1,000", costs))
    return [one for one in found if one is not None]


def same_k(systems: Sequence[System]) -> int | None:
    """The k of pass@k when every sampled report has the same, else None."""
    known = {samples["k"] for system in systems if (samples := system.report.get("samples"))}
    return known.pop() if len(known) == 1 else None


def _block(systems: Sequence[System], name: dict[str, str]) -> Section:
    entries = {system.name: find_slice(system.report, name) or {} for system in systems}
    first = entries[systems[0].name]
    priced = any(system.cost is not None for system in systems)
    covered = any(entry["judged"] < entry["n"] for entry in entries.values())
    rows = []
    for system in systems:
        entry = entries[system.name]
        latency = entry.get("latency_ms")
        shares = [short(entry["judged"] / entry["n"], 3)] if covered else []
        spent = [milliseconds(latency["mean"] if latency else None), *([milliseconds(system.cost)] if priced else [])]
        rows.append([system.name, *(cell(entry["metrics"], measure) for measure in COLUMNS), *shares, *spent])
    spent = ["ms/pair", *(["cost/1,000"] if priced else [])]
    columns = ["system", *(title(measure, same_k(systems)) for measure in COLUMNS), *(["coverage"] if covered else []), *spent]
    return Section(f"{name.get('subset', 'all')}: {first['n']:,} pairs of {first['queries']:,} queries", columns, rows)


def _refuse_mixture(systems: Sequence[System]) -> None:
    first = systems[0]
    for system in systems:
        if not all(entry["sha256"] for entry in system.report["gold"]):
            raise BadInput("was scored against pairs from a pipe: nothing tells which", where=system.path, field="gold", hint="score against a file")
        for what, field, hint in (
            ("gold pairs", "gold", "score every system with the same --gold files"),
            ("rulebook", "rulebook", "score every system with the same --rulebook"),
        ):
            mine, theirs = (_identity(one.report, field) for one in (system, first))
            if set(mine) != set(theirs):
                found = f"{system.name} was scored with other {what} ({_shown(mine)}) than {first.name} in {first.path} ({_shown(theirs)})"
                raise BadInput(found, where=system.path, field=field, hint=hint)


def _identity(report: dict[str, Any], field: str) -> dict[str, str]:
    """Hash → name of what a report was scored with; the hashes tell, the names are for the reader."""
    if field == "rulebook":
        return {report["rulebook"]["hash"]: f"{report['rulebook']['name']} {report['rulebook']['version']}"}
    return {entry["sha256"]: entry["name"] for entry in report["gold"]}


def _shown(identity: dict[str, str]) -> str:
    return ", ".join(f"{name} {digest[:_SHOWN_HASH]}" for digest, name in sorted(identity.items()))


def _notes(systems: Sequence[System]) -> list[str]:
    interval, rulebook = systems[0].report["interval"], systems[0].report["rulebook"]
    notes = [f"[lo, hi]: {100 * interval['level']:.0f} % {interval['method']}. Rulebook {rulebook['name']} {rulebook['version']} ({rulebook['hash']}). –: not measured."]
    sampled = {system.name: samples["k"] for system in systems if (samples := system.report.get("samples"))}
    if len(set(sampled.values())) > 1:
        notes.append("k of pass@k: " + ", ".join(f"{name} {k}" for name, k in sampled.items()) + ".")
    for system in systems:
        unjudged = system.report["unjudged"]
        if unjudged["errors"] or unjudged["missing"]:
            notes.append(f"{system.name}: {unjudged['errors']:,} errors and {unjudged['missing']:,} pairs without a verdict; its metrics are over the judged pairs, coverage tells how many those are.")
    return notes
