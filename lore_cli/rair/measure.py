"""The metrics of a few verdicts as plain numbers: what a model in training is followed by. Reports with intervals are in report.py."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lore_cli.rair.metrics import METRICS, every_metric
from lore_cli.rair.tally import Tally
from lore_cli.records import Pair, Verdict
from lore_cli.rulebook import Rulebook


def metrics_of(rows: Iterable[tuple[Pair, Verdict]], rulebook: Rulebook) -> dict[str, float]:
    """Every metric that is defined on these rows, by its name in `METRICS`."""
    tally = Tally(rulebook, by=())
    for pair, verdict in rows:
        tally.add(pair, verdict)
    if not tally.cell:
        return {}
    values = every_metric(tally.per_query(tally.matrix()).sum(0)).tolist()
    return {name: value for name, value in zip(METRICS, values, strict=True) if math.isfinite(value)}
