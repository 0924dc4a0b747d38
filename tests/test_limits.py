"""The limiter and the breaker over a simulated clock: what they allow, not how they count."""

from __future__ import annotations

import heapq
import math

import pytest

from lore_cli.models.limits import Breaker, Limiter


class Simulated:
    """A server and a client that always has more to ask, in simulated time. `latency(now, in_flight)`: of a request that comes as one of so many; None refuses it."""

    def __init__(self, limiter: Limiter, latency) -> None:
        self.limiter, self.latency = limiter, latency
        self.now, self.in_flight, self.number = 0.0, 0, 0
        self.answers, self.refusals, self.limits = 0, 0, []
        self.coming: list[tuple[float, int, float, int, bool]] = []

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            while self.in_flight < self.limiter.limit:
                self.in_flight, self.number = self.in_flight + 1, self.number + 1
                latency = self.latency(self.now, self.in_flight)
                heapq.heappush(self.coming, (self.now + (latency or 0.01), self.number, self.now, self.in_flight, latency is not None))
            self.now, _, started, in_flight, answered = heapq.heappop(self.coming)
            if answered:
                self.limiter.answered(started, self.now, in_flight, self.in_flight)
            else:
                self.limiter.overloaded(started, self.now)
            self.in_flight -= 1
            self.answers, self.refusals = self.answers + answered, self.refusals + (not answered)
            self.limits.append(self.limiter.limit)


def test_it_starts_with_a_few_and_reaches_its_ceiling_on_a_server_that_keeps_up():
    limiter = Limiter(64)
    assert limiter.limit == 4
    server = Simulated(limiter, lambda *_: 0.2)
    server.run(1.2)
    assert limiter.limit == 64, "slow start doubles: four rounds from 4 to 64"
    server.run(10)
    assert max(server.limits) == 64 and server.limits[-1] == 64


@pytest.mark.parametrize("ceiling", [1, 2, 3])
def test_a_small_ceiling_holds_from_the_start(ceiling: int):
    server = Simulated(Limiter(ceiling), lambda *_: 0.1)
    server.run(5)
    assert set(server.limits) == {ceiling}


def test_refusals_lower_it_to_what_the_server_takes():
    server = Simulated(Limiter(256), lambda _, in_flight: 0.1 if in_flight <= 20 else None)
    server.run(20)
    settled = server.limits[len(server.limits) // 2 :]
    assert 10 <= min(settled) and max(settled) <= 24
    assert server.answers > 0.8 * 20 * 20 / 0.1 and server.refusals < 0.05 * server.answers


def test_one_burst_of_failures_lowers_it_once():
    limiter = Limiter(10)
    Simulated(limiter, lambda *_: 0.1).run(3)
    for _ in range(10):
        limiter.overloaded(started=2.9, now=3.2)
    assert limiter.limit == 7
    limiter.overloaded(started=3.3, now=3.4)
    assert limiter.limit == 4


def test_it_never_falls_below_one():
    limiter = Limiter(8)
    for second in range(1, 50):
        limiter.overloaded(second, second + 0.5)
    assert limiter.limit == 1


def test_requests_that_only_queue_are_not_sent():
    """A server of 16 places that lets more than that wait: latency grows, answers per second do not."""
    free = [0.0] * 16

    def queued(now: float, _: int) -> float:
        done = max(now, heapq.heappop(free)) + 0.1
        heapq.heappush(free, done)
        return done - now

    server = Simulated(Limiter(256), queued)
    server.run(60)
    settled = server.limits[len(server.limits) // 2 :]
    assert 10 <= min(settled) and max(settled) <= 32
    assert server.answers > 0.85 * 16 / 0.1 * 60


def test_longer_latency_that_brings_more_answers_is_taken():
    """A server that batches: at 64 in flight a reply takes three times as long, and there are five times as many."""
    server = Simulated(Limiter(64), lambda _, in_flight: 0.1 * (1 + in_flight / 32))
    server.run(30)
    assert server.limits[-1] == 64


def test_answers_that_come_in_bursts_are_no_overload():
    """All requests of a round are answered at once, some rounds a little late: in no round more than half as late again."""
    delays = [0.2, 0.25, 0.22, 0.28]
    server = Simulated(Limiter(32), lambda now, _: delays[int(now * 10) % 4])
    server.run(30)
    assert min(server.limits[200:]) == 32


def test_replies_that_become_longer_are_no_overload():
    limiter = Limiter(32)
    Simulated(limiter, lambda *_: 0.1).run(5)
    later = Simulated(limiter, lambda *_: 0.5)
    later.now = 5.0
    later.run(60)
    assert min(later.limits) >= 22 and later.limits[-1] == 32


def test_a_limit_that_is_not_used_does_not_grow():
    limiter = Limiter(64)
    for second in range(100):
        limiter.answered(started=second, now=second + 0.1, sent_as=1, in_flight=1)
    assert limiter.limit == 4


# ------------------------------------------------------------------------------------------------ the breaker


def test_failures_in_a_row_open_it_and_one_answer_between_does_not():
    breaker = Breaker(threshold=3)
    for _ in range(5):
        breaker.failed(0.0, False), breaker.failed(0.0, False), breaker.answered()
    assert breaker.state == "closed" and breaker.wait_s(0.0) == 0 and not breaker.passing()
    for _ in range(3):
        breaker.failed(0.0, False)
    assert breaker.state == "open" and breaker.wait_s(0.25) == 0.75 and not breaker.given_up


def opened() -> Breaker:
    breaker = Breaker(threshold=1, first_wait_s=1.0, longest_wait_s=4.0, patience_s=5.0)
    breaker.failed(0.0, False)
    return breaker


def test_half_open_lets_one_request_through_whose_answer_closes_it():
    breaker = opened()
    assert breaker.wait_s(1.0) == 0 and breaker.passing() and breaker.state == "half-open"
    assert breaker.wait_s(1.0) == math.inf == breaker.wait_s(100.0), "the others wait for the probe"
    breaker.failed(1.1, False)
    assert breaker.state == "half-open", "the failure of a request sent before is not the probe's"
    breaker.answered()
    assert breaker.state == "closed" and breaker.failures == 0


def test_probes_that_fail_come_at_doubled_waits_until_the_server_is_given_up_and_still_then():
    breaker, now, probes = opened(), 0.0, []
    for _ in range(5):
        now += breaker.wait_s(now)
        assert breaker.passing()
        probes.append((now, breaker.given_up))
        breaker.failed(now, True)
    assert probes == [(1.0, False), (3.0, False), (7.0, False), (11.0, True), (15.0, True)]
    breaker.answered()
    assert breaker.state == "closed" and not breaker.given_up
