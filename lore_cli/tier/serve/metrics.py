"""What the server counts, for Prometheus. Labels have few values: tiers, who answered, statuses; never a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from lore_cli.errors import require
from lore_cli.judges.tiered import Routed

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counters of one server in a registry of its own."""

    def __init__(self) -> None:
        prometheus = require("prometheus_client", "serve")
        self._registry = prometheus.CollectorRegistry()
        self._text = prometheus.generate_latest
        self.content_type = prometheus.CONTENT_TYPE_LATEST
        made = {"registry": self._registry}
        self._gauge = prometheus.Gauge
        self._requests = prometheus.Counter("lore_requests", "Requests by status", ["status"], **made)
        self._seconds = prometheus.Histogram("lore_request_seconds", "Seconds from a request's head to the end of its reply", buckets=_SECONDS, **made)
        self._verdicts = prometheus.Counter("lore_verdicts", "Verdicts by the query's tier and who answered", ["tier", "answered_by"], **made)
        self._fallbacks = prometheus.Counter("lore_fallbacks", "Verdicts of the student in place of the model's", ["reason"], **made)
        self._stale = prometheus.Counter("lore_stale_verdicts", "Cached verdicts served though due to be judged again", **made)
        self._shed = prometheus.Counter("lore_shed_requests", "Requests refused with 503 because of overload", **made)
        self._changes = prometheus.Counter("lore_changes", "Plans and cache generations taken up or refused while serving", ["what", "outcome"], **made)

    def refused(self, status: int) -> None:
        """A reply to what never became a request: bytes that are none (400), a head without end (431), a connection too many (503)."""
        self._requests.labels(str(status)).inc()
        if status == 503:
            self.shed()

    def watch(self, name: str, told: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        self._gauge(name, told, registry=self._registry).set_function(value)

    def request(self, status: int, seconds: float) -> None:
        """A request that was answered."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def verdicts(self, routed: Sequence[Routed]) -> None:
        """Verdicts that were given."""
        for labels, number in Counter((one.tier, one.answered_by or "nobody") for one in routed).items():
            self._verdicts.labels(*labels).inc(number)
        for reason, number in Counter(one.fallback for one in routed if one.fallback and one.answer is not None).items():
            self._fallbacks.labels(reason).inc(number)
        self._stale.inc(sum(one.stale for one in routed))

    def shed(self) -> None:
        """A request that was refused because of overload."""
        self._shed.inc()

    def change(self, what: str, outcome: str) -> None:
        """A `plan` or `generation` that was `taken up` or `refused`."""
        self._changes.labels(what, outcome).inc()

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return self._text(self._registry)
