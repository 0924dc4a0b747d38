"""What synthesis and the tiers tell, as tables of text that the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lore_cli import stream
from lore_cli.errors import BadInput
from lore_cli.rair.figures import ABSENT, measured, milliseconds, percent, short
from lore_cli.records import GRADES

PAGES = {"engine": "the engine's order", "reranked": "re-ranked by grade", "filtered": "re-ranked, L1 and L2 left out", "ideal": "relevant items alone"}
REPLAYED = ("tiers", "replayed", "cache", "goodrate", "cost", "page")


@dataclass(frozen=True)
class Section:
    """A table. The first `left` columns are text, the others numbers; the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    notes: Sequence[str] = field(default=())


def read_synthesis(path: str) -> dict[str, Any]:
    """The manifest of traces. Raises `BadInput` for another file."""
    manifest = stream.read_json(path, "a manifest of lore-synth")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("counts"), dict) or "accepted" not in manifest["counts"]:
        raise BadInput("is not the manifest of traces", where=path, hint="give TRACES.manifest.json, which lore-synth wrote beside the traces")
    return manifest


def read_replay(path: str) -> dict[str, Any]:
    """The document of a replay. Raises `BadInput` for another file."""
    document = stream.read_json(path, "a report of lore-tier replay")
    absent = [name for name in REPLAYED if not isinstance(document, dict) or name not in document]
    if absent:
        raise BadInput(f"is not a report of lore-tier replay ({absent[0]} is not there)", where=path, hint="make one with lore-tier replay -o FILE")
    return document


def synthesis_sections(manifest: Mapping[str, Any]) -> list[Section]:
    """How far the teacher agrees with the human grades, what was kept, and why the rest was not."""
    counts, teacher = manifest["counts"], (manifest.get("identity") or {}).get("teacher") or "the teacher"
    first = counts.get("first_reading")
    accepted, rejected = counts["accepted"], counts.get("rejected_by_grade", {})
    grades = [grade for grade in GRADES if grade in accepted or grade in rejected or first]
    columns = ["human grade", *(f"read as {grade}" for grade in GRADES if first), "rows kept", "rejected", "share kept"]
    rows = []
    for grade in grades:
        kept, lost = accepted.get(grade, 0), rejected.get(grade, 0)
        said = [f"{first['confusion'][grade][other]:,}" for other in GRADES] if first else []
        rows.append([grade, *said, f"{kept:,}", f"{lost:,}", percent(kept / (kept + lost) if kept + lost else None)])
    kept, lost = sum(accepted.values()), sum(rejected.values())
    said = [f"{sum(first['confusion'][grade][other] for grade in GRADES):,}" for other in GRADES] if first else []
    rows.append(["all", *said, f"{kept:,}", f"{lost:,}", percent(kept / (kept + lost) if kept + lost else None)])
    notes = [f"Teacher: {teacher}"]
    if first:
        notes.append(
            f"First reading against the human grade, before any rejection: the same grade for {percent(first['acc4'])} of {first['rows']:,} rows, "
            f"the same side of relevance for {percent(first['acc2'])}, Macro-F1 {short(first['macro_f1'], 3)}."
        )
    if counts.get("failed"):
        notes.append(f"{counts['failed']:,} rows failed: they are neither kept nor rejected.")
    found = [Section("Synthesis: first readings of the teacher, and what was kept", columns, rows, notes=notes)]
    reasons = counts.get("reasons") or {}
    if reasons:
        found.append(Section("Rejected because", ["reason", "rows"], [[str(reason), f"{count:,}"] for reason, count in reasons.items()]))
    return found


def tier_sections(replay: Mapping[str, Any]) -> list[Section]:
    """Traffic and answers per tier, the cache, the pages, the cost."""
    return [_tiers(replay), *_cache(replay["cache"]), _pages(replay), _cost(replay["cost"])]


def _tiers(replay: Mapping[str, Any]) -> Section:
    rows = []
    for tier in replay["tiers"]:
        gold, latency = tier["against_gold"], tier["latency_ms"]
        shares = [ABSENT if gold[name] is None else short(gold[name], 3) for name in ("acc2", "acc4")]
        answered = _listed(tier["answered_by"]) or ABSENT
        rows.append([tier["tier"], answered, percent(tier["traffic_share"]), f"{tier['queries']:,}", f"{tier['pairs']:,}", f"{tier['failed']:,}", milliseconds(latency["mean"] if latency else None), *shares])
    replayed = replay["replayed"]
    note = f"Replayed: {replayed['queries']:,} queries with {replayed['pairs']:,} pairs, {percent(replayed['traffic_share'])} of the log's traffic."
    columns = ["tier", "answered by", "traffic", "queries", "pairs", "failed", "ms/pair", "Acc@2", "Acc@4"]
    return Section("Tiers: what traffic each covers and who answered", columns, rows, left=2, notes=[note])


def _cache(cache: Mapping[str, Any]) -> list[Section]:
    ages = cache["ages"]
    total = sum(ages.values())
    notes = [f"The cache answered {percent(cache['hit_rate'])} of what the head's traffic asks."]
    if cache["misses"]:
        notes.append(f"Not answered by it: {_listed(cache['misses'])}.")
    rows = [[label, f"{count:,}", percent(count / total if total else None)] for label, count in ages.items()]
    return [Section("Head cache: how old its answers are", ["age", "pairs", "share"], rows, notes=notes)]


def _pages(replay: Mapping[str, Any]) -> Section:
    rates, page, replayed = replay["goodrate"], replay["page"], replay["replayed"]
    rows = []
    for name in (page for page in PAGES if page in rates):  # an earlier version's replay knows no ideal
        row = [PAGES[name]]
        for unit in ("query", "item"):
            gain = rates[name].get("gain")
            relative = rates[name].get("relative_gain")
            row += [measured(rates[name][unit]), measured(gain[unit], sign=True) if gain else ABSENT, percent(relative[unit], sign=True) if relative else ABSENT]
        rows.append(row)
    notes = [
        f"A page shows at most {page['size']} graded candidates and is good when at least {100 * page['good_share']:.0f} % of what it shows is L3 or L4. Query GoodRate: share of "
        "requests with a good page. Item GoodRate: mean share of good items. The engine's order is the candidates' rank, or lexical overlap where they have none.",
        f"Over {replayed['graded_queries']:,} queries with graded candidates, {percent(replayed['graded_traffic_share'])} of the log's traffic; 95 % intervals over queries.",
    ]
    return Section("Pages: GoodRate before and after", ["page", "Query GoodRate", "gain", "relative", "Item GoodRate", "gain", "relative"], rows, notes=notes)


def _cost(cost: Mapping[str, Any]) -> Section:
    rows = [[f"{tier} alone", _seconds(spent)] for tier, spent in cost["tiers"].items()]
    rows += [["tiered system", _seconds(cost["tiered"])], ["model on everything", _seconds(cost["model_alone"])]]
    share = cost["share_of_model_alone"]
    notes = [] if share is None else [f"The tiered system spends {percent(share)} of what the model would on all of the traffic."]
    if cost["model_alone"] is None:
        notes.append("The model answered no pair of the replay, so what it alone would cost was not measured.")
    notes.append("Seconds of the replaying process, pairs weighted by traffic; judging the head ahead of time is not in it.")
    return Section("Cost of 1,000 pairs", ["traffic", "seconds"], rows, notes=notes)


def _seconds(number: float | None) -> str:
    return milliseconds(number)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(_pairs(counts))


def _pairs(counts: Mapping[str, int]) -> Iterable[str]:
    return (f"{name} {count:,}" for name, count in counts.items())
