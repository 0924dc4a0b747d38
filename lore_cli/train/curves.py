"""`curves.html` of a training run: one small drawing for each number that was logged, in a page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import orjson

from lore_cli.stream import write_bytes_atomic, write_text_atomic

_WIDTH, _HEIGHT, _MARGIN = 300, 120, 8
_FIRST = ("loss", "reward", "eval_macro_f1_all", "eval_macro_f1", "eval_acc2", "eval_adherence")
_NOT_DRAWN = ("step", "epoch", "total_flos", "train_runtime", "train_loss", "train_samples_per_second", "train_steps_per_second")
_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2128; --quiet: #57606a; --line: #d8dee4; --mark: #0a5fb8; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161c; --ink: #e6ebf1; --quiet: #9aa5b1; --line: #323a45; --mark: #6cb2ff; } }
body { margin: 0 auto; max-width: 1040px; padding: 24px 20px; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { display: flex; flex-wrap: wrap; gap: 20px 24px; }
figure { margin: 0; }
figcaption { font-size: 0.9rem; }
small { color: var(--quiet); font-variant-numeric: tabular-nums; }
svg { display: block; border: 1px solid var(--line); }
polyline { fill: none; stroke: var(--mark); stroke-width: 1.5; }
circle { fill: var(--mark); }
"""

METRICS = "metrics.jsonl"
Point = tuple[float, float]


def write_history(folder: Path, history: Sequence[Mapping[str, Any]], title: str) -> None:
    """What a trainer logged, as `folder`/metrics.jsonl and as drawings in `folder`/curves.html."""
    write_metrics(folder, history)
    write_text_atomic(folder / "curves.html", page(history, title))


def write_metrics(folder: Path, history: Iterable[Mapping[str, Any]]) -> None:
    """What a trainer logged, as `folder`/metrics.jsonl."""
    write_bytes_atomic(folder / METRICS, b"".join(map(_line, history)))


def append_metrics(folder: Path, row: Mapping[str, Any]) -> None:
    """One more row of `folder`/metrics.jsonl, there for whoever follows the file when this returns."""
    with open(folder / METRICS, "ab") as file:
        file.write(_line(row))


def _line(row: Mapping[str, Any]) -> bytes:
    return orjson.dumps(row) + b"\n"


def page(history: Iterable[Mapping[str, Any]], title: str) -> str:
    """HTML of the rows that a trainer logged: {name: number}, `step` among them. Names in the order in which they matter, then by alphabet."""
    drawn = series(history)
    order = sorted(drawn, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    figures = "\n".join(_figure(name, drawn[name]) for name in order) or "<p>Nothing was logged.</p>"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n<h1>{escape(title)}</h1>\n<main>\n{figures}\n</main>\n</body>\n</html>\n'


def series(history: Iterable[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """(step, value) of every name that is logged as a number, in the order of the steps."""
    found: dict[str, list[Point]] = {}
    for row in history:
        for name, value in row.items():
            if name not in _NOT_DRAWN and isinstance(value, int | float) and "step" in row:
                found.setdefault(name, []).append((float(row["step"]), float(value)))
    return found


def path(points: Sequence[Point]) -> list[Point]:
    """The points on the drawing, x from first to last step, y from the lowest value at the bottom to the highest at the top; a constant lies in the middle.

    >>> path([(0, 1.0), (10, 3.0)])
    [(8.0, 112.0), (292.0, 8.0)]
    """
    steps, values = [step for step, _ in points], [value for _, value in points]
    return [(_scaled(step, steps, _MARGIN, _WIDTH - _MARGIN), _scaled(value, values, _HEIGHT - _MARGIN, _MARGIN)) for step, value in points]


def _scaled(value: float, among: Sequence[float], first: float, last: float) -> float:
    low, high = min(among), max(among)
    share = 0.5 if high == low else (value - low) / (high - low)
    return round(first + (last - first) * share, 1)


def _figure(name: str, points: Sequence[Point]) -> str:
    places = path(points)
    values = [value for _, value in points]
    line = f'<polyline points="{" ".join(f"{x:g},{y:g}" for x, y in places)}"/>' if len(places) > 1 else ""
    dots = "".join(f'<circle cx="{x:g}" cy="{y:g}" r="2"><title>step {step:g}: {value:.4g}</title></circle>' for (x, y), (step, value) in zip(places, points, strict=True))
    told = f"last {values[-1]:.4g}, lowest {min(values):.4g}, highest {max(values):.4g}; steps {points[0][0]:g} to {points[-1][0]:g}"
    drawing = f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{escape(name)}: {told}">{line}{dots if len(points) <= 200 else ""}</svg>'
    return f"<figure><figcaption>{escape(name)}</figcaption>{drawing}<small>{told}</small></figure>"
