"""What the language model answered lately, kept in memory: late answers are not lost, and what failed is not asked for again at once.

An answer ends a fixed time after it was judged. Being asked for often never makes it last longer: a shop's most popular pairs would otherwise be
the ones that are never judged again [ours; the same rule as for the head cache].
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from lore_cli.judges.asking import Question
from lore_cli.records import Verdict


@dataclass(frozen=True, slots=True)
class Remembered:
    """A verdict, or None for a failure, and how many seconds ago it was."""

    verdict: Verdict | None
    age_s: float


class Recent:
    """At most `most` answers; the oldest make room. expire_s: how long a verdict holds; retry_s: how long a failure does (a negative entry). Thread-safe."""

    def __init__(self, most: int, expire_s: float, retry_s: float, clock: Callable[[], float]) -> None:
        self.most, self.expire_s, self.retry_s = most, expire_s, retry_s
        self._clock = clock
        self._kept: dict[Question, tuple[Verdict | None, float]] = {}  # oldest first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, question: Question, verdict: Verdict | None) -> None:
        """Remember an answer given now; None is a failure."""
        with self._lock:
            self._kept.pop(question, None)
            self._kept[question] = (verdict, self._clock())
            if len(self._kept) > self.most:
                del self._kept[next(iter(self._kept))]

    def get(self, question: Question) -> Remembered | None:
        """What is remembered and still holds."""
        with self._lock:
            found = self._kept.get(question)
            if found is None:
                return None
            verdict, at = found
            age_s = max(0.0, self._clock() - at)
            if age_s > (self.retry_s if verdict is None else self.expire_s):
                del self._kept[question]
                return None
            return Remembered(verdict, age_s)
