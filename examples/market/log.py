"""The simulated query log: how often each query was asked in the period, by Zipf's law."""

from __future__ import annotations

import random
from collections.abc import Sequence

from queries import Query

SEARCHES = 200_000
EXPONENT = 1.0


def ask_counts(parts: Sequence[Sequence[Query]], seed: int, searches: int = SEARCHES) -> dict[str, int]:
    """Times each query was asked, most asked first: about `searches / (H * rank)`, H the harmonic number; at least 1.

    `parts` are the splits: each is spread over head, middle and tail alike. Within one, short queries tend to the head and long,
    misspelt, negated or slang ones to the tail, with chance in between.
    """
    rng = random.Random(f"{seed}:log")
    placed: list[tuple[float, str]] = []
    for queries in parts:
        weight = {query.text: 1.3 * len(query.needs) + 1.5 * len(query.knowledge) + rng.gauss(0, 1.0) for query in queries}
        placed += [((place + 0.5) / len(queries), text) for place, text in enumerate(sorted(weight, key=weight.__getitem__))]
    total = sum(1 / rank**EXPONENT for rank in range(1, len(placed) + 1))
    return {text: max(1, round(searches / total / rank**EXPONENT)) for rank, (_, text) in enumerate(sorted(placed), 1)}


def times_shown(asked: int, rank: int) -> int:
    """How often the product at `rank` (from 1) was seen: each further place loses 8 % of the shoppers."""
    return max(1, round(asked * 0.92 ** (rank - 1)))
