"""Reports as self-contained pages: one HTML file with its style, drawings, images and the script that sorts tables inside, which asks nothing of any server.

Queries, titles and reasons are other people's text: templates escape everything, control characters are replaced before that, and the page's policy lets
no script run but that one, told by its hash.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lore_cli.rair.board import Board
from lore_cli.rair.figures import ABSENT, cell, measured, percent, short, title
from lore_cli.rair.notes import comparison_notes, comparison_sides, interval_note, notes, unjudged_note
from lore_cli.rair.plot import Chart, calibration_chart, difference_chart, interval_chart, tradeoff_plane
from lore_cli.rair.report import find_slice, slice_name
from lore_cli.rair.rollouts import Inspection
from lore_cli.rair.sections import Section
from lore_cli.rair.tables import calibration_table, comparison_table, moves_table, slices_table
from lore_cli.records import GRADES

if TYPE_CHECKING:
    import jinja2

MOST_IMAGE_BYTES = 1_000_000
_TYPES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif"}
_TILES = ("acc2", "macro_f1", "acc4", "adherence", "evidence_validity", "pass_at_1", "pass_at_k", "coverage")


def score_page(document: Mapping[str, Any], beside: Path) -> str:
    """The page of one report. beside: the folder that the report's image paths are relative to."""
    whole = document["slices"][0]
    samples = document["samples"]
    k = samples["k"] if samples else None
    calibration = document.get("calibration")
    return _environment().get_template("score.html.j2").render(
        heading=", ".join(document["judges"]) or "no judge",
        document=document,
        whole=whole,
        headline=[(title(name, k), *split(cell(whole["metrics"], name, 3))) for name in _TILES if name in whole["metrics"]],
        slices=slices_table(document),
        notes=notes(document),
        unjudged=unjudged_note(document),
        subsets=[entry for entry in document["slices"] if set(entry["slice"]) <= {"subset"}],
        calibration=calibration,
        calibration_plot=calibration_chart(calibration["bins"]) if calibration else None,
        calibration_table=calibration_table(calibration) if calibration else None,
        failures=_pictured(document["failures"], beside),
    )  # fmt: skip


def comparison_page(documents: Sequence[Mapping[str, Any]], beside: Path) -> str:
    """The page of comparisons of one run, a, with others. beside: the folder that their image paths are relative to."""
    comparisons = []
    for document in documents:
        whole = document["slices"][0]["metrics"]
        a, b = comparison_sides(document)
        differences = [(slice_name(entry["slice"]), _difference(entry["metrics"].get("macro_f1"))) for entry in document["slices"]]
        comparisons.append({
            "a": a,
            "b": b,
            "tiles": [(title(name), *split(measured(_difference(whole[name]), sign=True))) for name in _TILES if name in whole],
            "plot": difference_chart("Macro-F1, b - a", differences),
            "table": comparison_table(document),
            "moves": moves_table(document["moves"]),
            "notes": [interval_note(document), *comparison_notes(document)],
            "changes": _pictured(document["changes"], beside),
        })  # fmt: skip
    whole = documents[0]["slices"][0]
    return _environment().get_template("compare.html.j2").render(comparisons=comparisons, pairs=whole["n"], queries=whole["queries"])


def _difference(found: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return {"value": found["difference"], "lo": found["lo"], "hi": found["hi"]} if found else None


def _pictured(entries: Sequence[Mapping[str, Any]], beside: Path) -> list[dict[str, Any]]:
    return [{**entry, "picture": data_uri(beside, entry["item"].get("image"))} for entry in entries]


def board_page(board: Board) -> str:
    """The page of a board."""
    plots = [_plot(board, section, index) for index, section in enumerate(board.blocks)]
    tradeoffs = [(tradeoff_plane(one), one.section) for one in board.tradeoffs]
    return _environment().get_template("board.html.j2").render(board=board, plots=plots, tradeoffs=tradeoffs)


def rollouts_page(found: Inspection) -> str:
    """The page of an inspection of rollouts."""
    return _environment().get_template("rollouts.html.j2").render(found=found)


def data_uri(beside: Path, image: str | None) -> str | None:
    """An image file as a `data:` URI; None when there is none, or it is no PNG, JPEG or GIF by its first bytes, or larger than `MOST_IMAGE_BYTES`."""
    try:
        path = beside / (image or "")
        if not image or not path.is_file() or path.stat().st_size > MOST_IMAGE_BYTES:
            return None
        content = path.read_bytes()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    kind = next((kind for magic, kind in _TYPES.items() if content.startswith(magic)), None)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}" if kind else None


def split(text: str) -> tuple[str, str]:
    """A cell as its value and its interval, which a page sets smaller: `.845 [.82, .87]` → (`.845`, `[.82, .87]`)."""
    value, separator, interval = text.partition(" [")
    return value, f"[{interval}" if separator else ""


def _plot(board: Board, section: Section, index: int) -> Chart:
    """Macro-F1 of every system on the block's rows."""
    wanted = {} if index == 0 else {"subset": section.title.partition(":")[0]}
    rows = []
    for system in board.systems:
        entry = find_slice(system.report, wanted)
        rows.append((system.name, entry["metrics"].get("macro_f1") if entry else None))
    return interval_chart(section.title.partition(":")[0], rows)


@functools.cache
def _environment() -> jinja2.Environment:
    from lore_cli.errors import require

    jinja = require("jinja2", "report")
    import markupsafe  # which jinja2 needs itself

    environment = jinja.Environment(
        loader=jinja.PackageLoader("lore_cli.rair", "templates"), autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_clean
    )
    environment.filters |= {"split": split, "sentence": _sentence, "short": short, "percent": percent, "slice_name": slice_name}
    script = environment.get_template("sort.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {"script": markupsafe.Markup(script), "script_hash": f"sha256-{digest}"}
    environment.globals |= {"GRADES": GRADES, "ABSENT": ABSENT, "measured": measured, "cell": cell}
    return environment


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _clean(value: Any) -> Any:
    """Control characters, which no HTML document may hold, as �."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return "".join("\ufffd" if ord(letter) < 32 and letter not in "\t\n\r" or 127 <= ord(letter) < 160 else letter for letter in value)
    return value
