"""Whether a judge's probabilities mean what they say: of the grades given with 0.8, about 80 % should be right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lore_cli.records import Pair, Verdict

BINS = 10


@dataclass
class Calibration:
    """Sums over the judged rows that have `scores`, by how sure the verdict was of the grade it gave: `BINS` bins of equal width."""

    rows: list[int] = field(default_factory=lambda: [0] * BINS)
    right: list[int] = field(default_factory=lambda: [0] * BINS)
    sure: list[float] = field(default_factory=lambda: [0.0] * BINS)
    squares: float = 0.0

    def add(self, pair: Pair, verdict: Verdict | None) -> None:
        """Count one row; those without a grade or without probabilities are passed over."""
        if verdict is None or verdict.grade is None or not verdict.scores:
            return
        sure = verdict.scores.get(verdict.grade, 0.0)
        place = min(int(sure * BINS), BINS - 1)
        self.rows[place] += 1
        self.right[place] += verdict.grade == pair.grade
        self.sure[place] += sure
        others = sum(share**2 for grade, share in verdict.scores.items() if grade != pair.grade)
        self.squares += others + (1 - verdict.scores.get(pair.grade, 0.0)) ** 2  # type: ignore[call-overload]

    def document(self) -> dict[str, Any] | None:
        """For the report; None when no row had probabilities.

        ece: Σ over bins of (rows / all rows) · |share right - mean probability|. brier: mean over rows of Σ over grades of (probability - 1 if it is the gold grade)².
        """
        total = sum(self.rows)
        if not total:
            return None
        gap = sum(abs(right - sure) for right, sure in zip(self.right, self.sure, strict=True))
        bins = [
            {"from": place / BINS, "to": (place + 1) / BINS, "rows": rows, "sure": round(sure / rows, 6), "right": round(right / rows, 6)}
            for place, (rows, right, sure) in enumerate(zip(self.rows, self.right, self.sure, strict=True))
            if rows
        ]
        return {"rows": total, "ece": round(gap / total, 6), "brier": round(self.squares / total, 6), "bins": bins}
