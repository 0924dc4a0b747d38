"""A judge that may be away when the system starts, a model behind a network: opened when it can be, tried again when it is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic

from lore_cli.errors import Missing
from lore_cli.judges import Judge, JudgeSettings, open_judge
from lore_cli.records import Pair, Verdict


@dataclass
class AbsentJudge:
    """Raises `Missing` when asked while it cannot be opened; retry_s: how long that is taken for granted before the next try."""

    name: str
    settings: JudgeSettings
    retry_s: float
    missing: Missing
    _tried: float = field(default_factory=monotonic)
    _judge: Judge | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        return self._opened()(pairs)

    def _opened(self) -> Judge:
        with self._lock:
            if self._judge is None and monotonic() - self._tried < self.retry_s:
                raise self.missing
            if self._judge is None:
                self._tried = monotonic()
                try:
                    self._judge = open_judge(self.name, self.settings)
                except Missing as error:
                    self.missing = error
                    raise
            return self._judge

    def identity(self) -> dict[str, str]:
        """That of the judge; its URI while it is away."""
        return self._judge.identity() if self._judge else {"judge": self.name}


def open_or_wait(uri: str, settings: JudgeSettings, retry_s: float) -> Judge:
    """The judge, or one that opens it later when it is `Missing` now."""
    try:
        return open_judge(uri, settings)
    except Missing as error:
        return AbsentJudge(uri, settings, retry_s, error)
