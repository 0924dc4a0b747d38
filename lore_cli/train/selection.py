"""Which pairs a model has something to learn from, and how many of each kind: the pool that RL draws its prompts from, or that people grade next.

LORE and AFRL draw prompts that are sometimes right: a group of answers that are all right, or all wrong, has no gradient. Ours: the band's limits, the margin
of uncertainty sampling (Scheffer et al. 2001: first against second class) and the strata.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lore_cli.ledger import Outcome
from lore_cli.records import GRADES, Pair, Verdict, row_of
from lore_cli.stream import encode

Stratum = tuple[str, str]  # what it is a stratum of, its name: ("grade", "L4"), ("capability", "negation")


def pass_rate(samples: Sequence[str | None], human: str) -> float:
    """Share of draws with the human grade; one that could not be read is a wrong one.

    >>> pass_rate(["L4", "L3", None, "L4"], "L4")
    0.5
    """
    return sum(grade == human for grade in samples) / len(samples)


def margin(verdict: Verdict) -> float | None:
    """How much the first grade is ahead of the second: by probability, else by share of draws; None where the verdict has neither.

    >>> margin(Verdict("1", "lamp", "i", "j", samples=("L4", "L4", "L3", None)))
    0.25
    """
    if verdict.scores:
        shares = list(verdict.scores.values())
    elif verdict.samples:
        shares = [verdict.samples.count(grade) / len(verdict.samples) for grade in GRADES]
    else:
        return None
    first, second = heapq.nlargest(2, [*shares, 0.0, 0.0])
    return first - second


def in_band(pair: Pair, verdict: Verdict, least: float, most: float) -> Outcome:
    """A pair whose pass rate lies in [least, most] is done, another rejected, both with `pass_rate` and the reason."""
    row = dict(row_of(pair))
    if verdict.samples is None:
        return Outcome("failed", row | {"error": verdict.error or "the judge draws no samples"})
    if pair.grade is None:
        return Outcome("rejected", row | {"reason": "no human grade"})
    rate = pass_rate(verdict.samples, pair.grade)
    return _told(row | {"pass_rate": rate}, least <= rate <= most, f"pass rate {rate:.3g} of {len(verdict.samples)} draws", f"[{least:g}, {most:g}]")


def is_unsure(pair: Pair, verdict: Verdict, most: float) -> Outcome:
    """A pair whose first two grades are at most `most` apart is done, another rejected, both with `margin` and the reason. It needs no human grade."""
    row = dict(row_of(pair))
    apart = margin(verdict)
    if apart is None:
        return Outcome("failed", row | {"error": verdict.error or "the judge gives neither probabilities nor samples"})
    return _told(row | {"margin": apart}, apart <= most, f"margin {apart:.3g} of {'probabilities' if verdict.scores else f'{len(verdict.samples or ())} draws'}", f"[0, {most:g}]")


def _told(row: dict[str, Any], chosen: bool, found: str, limits: str) -> Outcome:
    if chosen:
        return Outcome("done", row | {"selected_because": f"{found} lies in {limits}"})
    return Outcome("rejected", row | {"reason": f"{found} is outside {limits}"})


@dataclass
class Strata:
    """So many of each kind out of what was chosen, and the count of what there was.

    quotas: rows wanted of every stratum of a kind, `{"grade": 20, "capability": 10}`; no quotas keep everything. of: the strata of a row. A row is kept when it
    is among the wanted of any of its strata, by a hash of its content: the same rows in any order. Memory: the quotas' rows.
    """

    quotas: dict[str, int]
    of: Callable[[dict[str, Any]], Iterable[Stratum]]
    counts: dict[Stratum, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def kept(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """The outcomes, those over the quotas rejected. With quotas the kept ones come last, in their order."""
        heaps: dict[Stratum, list[tuple[int, int]]] = defaultdict(list)
        held: dict[int, Outcome] = {}
        claims: Counter[int] = Counter()  # of how many strata a held row is among the wanted
        for number, outcome in enumerate(outcomes):
            strata = list(self.of(outcome.row))
            self._count("seen", strata)
            if outcome.state != "done":
                yield outcome
                continue
            self._count("chosen", strata)
            if not self.quotas:
                yield outcome
                continue
            held[number] = outcome
            wanting = [stratum for stratum in strata if stratum[0] in self.quotas]
            claims[number] = len(wanting)
            for stratum in wanting:
                heapq.heappush(heaps[stratum], (-_hash(outcome.row), number))
                if len(heaps[stratum]) > self.quotas[stratum[0]]:
                    _, let_go = heapq.heappop(heaps[stratum])
                    claims[let_go] -= 1
                    if not claims[let_go]:
                        yield _surplus(held.pop(let_go))
        for number, outcome in held.items():
            wanted = [stratum for stratum, heap in sorted(heaps.items()) if any(number == other for _, other in heap)]
            self._count("kept", self.of(outcome.row))
            because = [outcome.row["selected_because"], *(f"one of {len(heaps[stratum])} for {' '.join(stratum)}" for stratum in wanted)]
            yield Outcome("done", outcome.row | {"selected_because": "; ".join(because)})

    def _count(self, what: str, strata: Iterable[Stratum]) -> None:
        for stratum in strata:
            self.counts[stratum][what] += 1

    def summary(self) -> dict[str, dict[str, int]]:
        """{"grade L4": {"seen", "chosen", "kept"}}: how many rows there were, met the criterion, and were kept."""
        return {" ".join(stratum): {name: found[name] for name in ("seen", "chosen", "kept" if self.quotas else "chosen")} for stratum, found in sorted(self.counts.items())}


def _surplus(outcome: Outcome) -> Outcome:
    row = dict(outcome.row)
    return Outcome("rejected", row | {"reason": f"{row.pop('selected_because')}, but its strata have enough others"})


def _hash(row: dict[str, Any]) -> int:
    return int.from_bytes(hashlib.blake2b(encode({name: row[name] for name in ("id", "query", "item")}), digest_size=8).digest())
