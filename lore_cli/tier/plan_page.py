"""The plan as one HTML page that needs nothing else: the traffic curve, the tiers, the cuts. It shows numbers only, no query."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640.0, 300.0, 48.0, 36.0
_STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}
svg{width:100%;height:auto}pre{overflow-x:auto;font-size:.85rem}.axis{stroke:currentColor;opacity:.35}.band{fill:#3b82f6;opacity:.2}
.line{fill:none;stroke:#3b82f6;stroke-width:2}.cut{stroke:#d97706;stroke-dasharray:4 3}text{fill:currentColor;font-size:12px}"""


def chart(curve: Sequence[Mapping[str, float]], head_queries: int) -> str:
    """The traffic curve as SVG: queries (logarithmic) against share, its interval as a band, the head's end as a dashed line."""
    widest = math.log10(max(curve[-1]["queries"], 2))

    def at(queries: float, share: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT - 8) * math.log10(max(queries, 1)) / widest
        return f"{x:.1f},{(_HEIGHT - _BOTTOM) * (1 - share) + 8:.1f}"

    band = " ".join([*(at(point["queries"], point["hi"]) for point in curve), *(at(point["queries"], point["lo"]) for point in reversed(curve))])
    line = " ".join(at(point["queries"], point["share"]) for point in curve)
    parts = [f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT + 8:g}" role="img" aria-label="Share of traffic held by the most frequent queries">']
    for share in (0, 0.25, 0.5, 0.75, 1):
        (x, y), (end, _) = at(1, share).split(","), at(curve[-1]["queries"], share).split(",")
        parts.append(
            f'<line class="axis" x1="{x}" y1="{y}" x2="{end}" y2="{y}"/><text x="{_LEFT - 6:g}" y="{y}" text-anchor="end" dominant-baseline="middle">{share:.0%}</text>'
        )
    for power in range(math.floor(widest) + 1):
        x, y = at(10**power, 0).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 18:g}" text-anchor="middle">{10**power:,}</text>')
    parts += [f'<polygon class="band" points="{band}"/>', f'<polyline class="line" points="{line}"/>']
    if head_queries:
        (x, low), (_, high) = at(head_queries, 0).split(","), at(head_queries, 1).split(",")
        parts.append(f'<line class="cut" x1="{x}" y1="{low}" x2="{x}" y2="{high}"/>')
    return "".join([*parts, "</svg>"])


def page(document: Mapping[str, Any], head_queries: int, tables: Sequence[str]) -> str:
    """The page. document: `lore-tier plan --report`'s. tables: texts to show below the chart."""
    blocks = "".join(f"<pre>{escape(text)}</pre>" for text in tables)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Tier plan</title><style>{_STYLE}</style>'
        f"<h1>Tier plan</h1><p>Share of all requests that the most frequent queries hold; dashed: where the head ends.</p>{chart(document['curve'], head_queries)}{blocks}</html>\n"
    )
