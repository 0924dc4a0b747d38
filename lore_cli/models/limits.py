"""How much a server is asked at once, and when it is not asked at all: two state machines that are told the time. Nothing here sends or waits.

`Limiter`: additive increase, multiplicative decrease (Chiu & Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in
Computer Networks", 1989), begun by TCP's slow start (RFC 5681 § 3.1). `Breaker`: a circuit breaker (Nygard, "Release It!", 2007).
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Literal

_FIRST = 4  # requests in flight at the start
_DECREASE = 0.7  # of the limit is left after a sign of overload, as in CUBIC (RFC 9438 § 4.6)
_ROUND = 8  # answers that a latency is measured by, at least [ours]
_SLOWER, _MORE = 1.5, 1.05  # a latency that grew so much, with no such gain in answers per second, is past the knee [ours]


@dataclass
class _Round:
    """As many answers as the limit was at its begin, and what they tell: the mean of the requests in flight when each was sent, and of its latency."""

    limit: int
    in_flight: list[int] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return len(self.latencies_s) >= max(self.limit, _ROUND)

    def measure(self) -> _Measure:
        return _Measure(statistics.fmean(self.in_flight), statistics.fmean(self.latencies_s))


@dataclass(frozen=True)
class _Measure:
    in_flight: float = 1.0
    latency_s: float = math.inf

    @property
    def rate(self) -> float:
        """Answers per second, by Little's law."""
        return self.in_flight / max(self.latency_s, 1e-9)


class Limiter:
    """How many requests may be in flight: `limit`, never above `ceiling`.

    It doubles every round until the first sign of overload, and from then on grows by one a round. Signs are failures (429, 5xx, time-outs, broken
    connections), and a latency that grew while no more was answered per second: past what Chiu & Jain call the knee, more requests only queue.
    Longer latency alone is no sign: a server that batches answers more per second at a longer latency. What started before the limit was last
    lowered tells of the limit before, so that one burst of failures lowers it once.
    """

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self._window = float(min(_FIRST, ceiling))
        self._slow_start_until = float(ceiling)
        self._lowered = -math.inf
        self._round, self._best = _Round(self.limit), _Measure()

    @property
    def limit(self) -> int:
        return int(self._window)

    def answered(self, started: float, now: float, sent_as: int, in_flight: int) -> None:
        """Take in one answer to a request of time `started`, then one of `sent_as` on their way and now of `in_flight`, itself included."""
        if in_flight >= self.limit:  # a limit that is not used up was not put to the test (RFC 7661)
            grown = self._window + (1.0 if self._window < self._slow_start_until else 1.0 / self._window)
            self._window = min(grown, float(self.ceiling))
        if started >= self._lowered:
            self._round.in_flight.append(sent_as)
            self._round.latencies_s.append(now - started)
        if self._round.whole:
            self._end_round(now)

    def overloaded(self, started: float, now: float) -> None:
        """Lower the limit because of what became of a request of time `started`."""
        if started >= self._lowered:
            self._best = _Measure()
            self._lower(now, 1.0)

    def _lower(self, now: float, least: float) -> None:
        self._window = self._slow_start_until = max(least, self._window * _DECREASE)
        self._lowered = now
        self._round = _Round(self.limit)

    def _end_round(self, now: float) -> None:
        """Hold a round against the best one. Never below what was in flight then: the server answered more per second than at any other time."""
        found, self._round = self._round.measure(), _Round(self.limit)
        if found.rate > _MORE * self._best.rate:
            self._best = found
        elif found.latency_s > _SLOWER * self._best.latency_s:
            self._lower(now, min(float(self.limit), self._best.in_flight))


class Breaker:
    """Whether a server is asked at all.

    closed: requests pass. After `threshold` failures in a row, whichever prompts they were for, it is open: nothing passes until a probe is due.
    half-open: the probe, one request, is on its way; its answer closes the breaker, its failure opens it again for twice as long. Until a probe fails
    `patience_s` after the opening the others wait for the server to come back; from then on it is given up, and what is not a probe fails at once.
    """

    def __init__(self, threshold: int = 5, first_wait_s: float = 1.0, longest_wait_s: float = 8.0, patience_s: float = 5.0) -> None:
        self._threshold, self._first_wait_s, self._longest_wait_s, self._patience_s = threshold, first_wait_s, longest_wait_s, patience_s
        self.answered()

    def answered(self) -> None:
        """The server is there: close."""
        self.state: Literal["closed", "open", "half-open"] = "closed"
        self.failures = 0
        self.given_up = False

    def failed(self, now: float, probe: bool) -> None:
        """Count a failure. probe: of the request that was let through to find out."""
        self.failures += 1
        if self.state == "closed" and self.failures >= self._threshold:
            self._opened, self._wait_s = now, self._first_wait_s
            self._open(now)
        elif self.state == "half-open" and probe:
            self._wait_s = min(2 * self._wait_s, self._longest_wait_s)
            self.given_up = now - self._opened >= self._patience_s
            self._open(now)

    def wait_s(self, now: float) -> float:
        """Seconds until the next request may pass: 0 when it may, infinity when the probe has to come back first."""
        if self.state == "half-open":
            return math.inf
        return max(self._probe_due - now, 0.0) if self.state == "open" else 0.0

    def passing(self) -> bool:
        """Let one request pass that need not wait; True when it is the probe."""
        if self.state == "closed":
            return False
        self.state = "half-open"
        return True

    def _open(self, now: float) -> None:
        self.state = "open"
        self._probe_due = now + self._wait_s
