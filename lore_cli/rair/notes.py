"""What a report says in sentences below its tables, on the terminal and on pages alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lore_cli.rair.figures import chance, measured, short, title
from lore_cli.rair.report import slice_name

LEVEL = 0.05


def interval_note(document: Mapping[str, Any]) -> str:
    """What [lo, hi] is, in a report or a comparison."""
    interval = document["interval"]
    text = f"[lo, hi]: {100 * interval['level']:.0f} % {interval['method']}, {interval['draws']:,} draws"
    return text + ("; p: permutation of whole queries; p (Holm): corrected for the number of slices" if "comparison" in document else "")


def comparison_sides(document: Mapping[str, Any]) -> tuple[str, str]:
    """How the runs a and b are called: by their judges."""
    a, b = (", ".join(document[side]) or "no judge" for side in "ab")
    return a, b


def unjudged_note(document: Mapping[str, Any]) -> str:
    """What was not judged; empty where all was."""
    unjudged = document["unjudged"]
    if not unjudged["errors"] and not unjudged["missing"]:
        return ""
    counts = f"{unjudged['errors']:,} errors ({unjudged['unparseable']:,} unparseable), {unjudged['missing']:,} without a verdict"
    return f"not judged: {counts}; the metrics are over judged pairs, coverage tells how many those are"


def notes(document: Mapping[str, Any]) -> list[str]:
    """How far the numbers of a report carry: slices that differ, the smallest difference that shows, the analytic interval, calibration, rankings."""
    whole = document["slices"][0]
    found = [*_differing(document), *_detectable(whole), *_analytic(whole)]
    if calibration := document.get("calibration"):
        found.append(f"calibration: expected error {short(calibration['ece'], 3)}, Brier score {short(calibration['brier'], 3)} over {calibration['rows']:,} verdicts with probabilities")
    if ranking := document.get("ranking"):
        values = ", ".join(f"{_ranking_title(name)} {measured(measure)}" for name, measure in ranking["metrics"].items())
        found.append(f"ranking: {values}; {ranking['queries']:,} queries, {ranking['not_ranked']:,} graded ones are not ranked, {ranking['not_graded']:,} ranked ones not graded")
    return found


def comparison_notes(document: Mapping[str, Any]) -> list[str]:
    """What a comparison says below its table: McNemar's test over all rows, and the smallest difference that would show."""
    whole = document["slices"][0]
    tests = [f"{title(name)} {test['only_a']:,} : {test['only_b']:,} (p {chance(test['p'])})" for name, test in whole["mcnemar"].items()]
    sizes = [f"{title(name)} {short(size, 3)}" for name, size in whole["detectable"].items() if size]
    shown = [f"smallest true difference that would show (5 %, power 80 %): {', '.join(sizes)}"] if sizes else []
    return [f"pairs that only a has right : only b (McNemar, exact, pairs taken as independent): {', '.join(tests)}", *shown]


def _ranking_title(name: str) -> str:
    measure, _, depth = name.partition("@")
    return f"{ {'ndcg': 'nDCG', 'p': 'P', 'judged': 'Judged'}[measure] }@{depth}"


def _differing(document: Mapping[str, Any]) -> list[str]:
    tests = [(entry["slice"], name, test) for entry in document["slices"] for name, test in entry.get("against_rest", {}).items() if test["p_holm"] is not None]
    if not tests:
        return []
    apart = [f"{slice_name(key)}: {title(name)} {short(test['difference'], 3, True)} (p {chance(test['p_holm'])})" for key, name, test in tests if test["p_holm"] < LEVEL]
    slices = len({tuple(key.items()) for key, _, _ in tests})
    return [f"against the other rows, p corrected for {slices} slices (Holm): {'; '.join(apart) or 'no slice differs at 5 %'}"]


def _detectable(whole: Mapping[str, Any]) -> list[str]:
    sizes = [f"{title(name)} {short(size, 3)}" for name, size in (whole.get("detectable") or {}).items() if size]
    return [f"smallest difference to another run that would show (5 %, power 80 %): {', '.join(sizes)}; less when compared pair by pair"] if sizes else []


def _analytic(whole: Mapping[str, Any]) -> list[str]:
    analytic = (whole.get("analytic") or {}).get("macro_f1")
    return [f"Macro-F1 by the delta method, as a check of the draws: {measured(analytic, 3)}"] if analytic and analytic["lo"] is not None else []
