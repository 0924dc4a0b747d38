"""Plans replayed by the product's own commands, and what their pages gain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from shared.commands import lore


def replay(log: Path, plan: Path, pages: Path, *options: object) -> dict[str, Any]:
    """The report of `lore-tier replay` on graded pages; kept beside the plan until the next one."""
    report = plan.with_suffix(".replay.json")
    lore("lore-tier", "replay", log, "--plan", plan, "--candidates", pages, "--gold", pages, *options, "-o", report, "--force")
    told: dict[str, Any] = orjson.loads(report.read_bytes())
    return told


def relative_gain(goodrate: Mapping[str, Any], page: str, unit: str) -> str:
    """What a page gains over the engine's in Query or Item GoodRate (`unit`: query, item), relative to it, with the interval of the difference."""
    gain, engine = goodrate[page]["gain"][unit], goodrate["engine"][unit]["value"]
    return f"{gain['value'] / engine:+.1%} [{gain['lo'] / engine:+.1%}, {gain['hi'] / engine:+.1%}]" if engine else ""
