"""A judge that many ask at once: what waits is judged together, the same question only once, and nobody waits longer than he wants to.

Single flight and batching by whatever has gathered while the judge was busy are old practice in servers (Go's `singleflight`, Triton's dynamic batching,
with no delay added); what a question is, and that a question nobody waits for any more is left out, is ours.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from math import inf
from time import monotonic

from lore_cli.judges import Judge
from lore_cli.judges.cached import item_hash
from lore_cli.records import Pair, Verdict

Question = tuple[str, str, str]


def question_of(pair: Pair) -> Question:
    """What makes two pairs the same question to a judge: the query as it was typed, the item, and what can be read of it."""
    return pair.query, pair.item.id, item_hash(pair.item)


class Busy(Exception):
    """So many pairs wait for the judge that this one is not taken on."""


class Unwanted(Exception):
    """Nobody waited for the answer any more when its turn came."""


@dataclass(eq=False, slots=True)
class _Asked:
    """A pair that waits or is being judged; `until`: when the last who asked stops waiting (`time.monotonic`)."""

    question: Question
    pair: Pair
    answer: Future[Verdict]
    until: float


class Asking:
    """Puts pairs to a judge. batch: most pairs judged together. most_waiting: more are refused as `Busy`.

    threads: of its own in which the judge works, several for one that mostly waits for a network; 0: whoever asks does the work, before `ask` returns.
    """

    def __init__(self, judge: Judge, batch: int, threads: int = 0, most_waiting: float = inf) -> None:
        self.judge, self.batch, self.most_waiting = judge, batch, most_waiting
        self._threads = threads
        self._waiting: deque[_Asked] = deque()
        self._known: dict[Question, _Asked] = {}  # waiting or being judged
        self._changed = threading.Condition()
        self._closed = False
        for number in range(threads):
            threading.Thread(target=self._work, name=f"{judge.name} {number}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Pairs whose turn has not come."""
        return len(self._waiting)

    def ask(self, pairs: Sequence[Pair], until: float = inf) -> list[Future[Verdict]]:
        """One future for each pair, in order; pairs that are the same question share one, and its verdict bears the first one's id.

        until: when the asker stops waiting (`time.monotonic`). A future may raise `Busy`, `Unwanted`, or what the judge raised.
        """
        with self._changed:
            answers = [self._join(pair, until) for pair in pairs]
            self._changed.notify(self._threads)
        while (batch := self._own_work()):
            self._judge(batch)
        return answers

    def close(self) -> None:
        """Let the threads end once nothing waits; whoever asks from now on does the work."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _join(self, pair: Pair, until: float) -> Future[Verdict]:
        question = question_of(pair)
        asked = self._known.get(question)
        if asked is None:
            asked = _Asked(question, pair, Future(), until)
            if len(self._waiting) >= self.most_waiting:
                asked.answer.set_exception(Busy(f"{len(self._waiting)} pairs wait already"))
                return asked.answer
            self._known[question] = asked
            self._waiting.append(asked)
        asked.until = max(asked.until, until)
        return asked.answer

    def _own_work(self) -> list[_Asked]:
        """What the asker has to judge: nothing while there are threads for it."""
        with self._changed:
            return self._next() if not self._threads or self._closed else []

    def _next(self) -> list[_Asked]:
        return [self._waiting.popleft() for _ in range(min(self.batch, len(self._waiting)))]

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                batch = self._next()
            self._judge(batch)

    def _judge(self, batch: list[_Asked]) -> None:
        now = monotonic()
        wanted = [asked for asked in batch if asked.until >= now]
        self._settle([asked for asked in batch if asked.until < now], Unwanted())
        if not wanted:
            return
        try:
            for asked, verdict in zip(wanted, self.judge([asked.pair for asked in wanted]), strict=True):
                self._forget(asked)
                asked.answer.set_result(verdict)
        except Exception as error:  # raised where the answer is read
            self._settle([asked for asked in wanted if not asked.answer.done()], error)

    def _settle(self, batch: Sequence[_Asked], error: Exception) -> None:
        for asked in batch:
            self._forget(asked)
            asked.answer.set_exception(error)

    def _forget(self, asked: _Asked) -> None:
        with self._changed:
            self._known.pop(asked.question, None)
