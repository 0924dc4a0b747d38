"""Hard cases from failures: contrastive variants of the pairs that a judge got wrong, each with the grade that the rulebook implies.

A grade is never guessed [ours]:
1. the expert must read the failing pair as the human graded it, or its reading of a variant says nothing;
2. a variant differs in one need, every other need is met as before, and how the item meets the changed one is known, and another than it was;
3. what else is unknown must not matter: the grade is written only when it is the same however the unknown needs turn out.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lore_cli.path.disjoint import KnownPairs, query_key
from lore_cli.path.follow import follow
from lore_cli.path.knowledge import Glossary, vocabulary
from lore_cli.path.needs import construct
from lore_cli.records import Grade, Match, Need, Pair, State, row_of
from lore_cli.rulebook import Rulebook
from lore_cli.synth.variants import KINDS, Said, said

_UNKNOWN_AT_MOST = 4
_NAMES = 6  # substitutes tried for a need
Names = dict[tuple[str, str], list[str]]  # by attribute and category
_MAY_BE: tuple[State, ...] = ("exact", "close", "unknown", "conflict")


@dataclass(frozen=True, slots=True)
class Variant:
    """A new pair; `said`: the need that was changed, `now`: the one in its place and how the item meets it."""

    query: str
    kind: str
    said: Said
    now: Match
    grade: Grade

    def row(self, pair: Pair) -> dict[str, Any]:
        """The variant of a failing pair as a graded pair, with where it comes from in `mined`."""
        mined = {
            "from": pair.id, "kind": self.kind, "attribute": self.said.need.attribute, "need": self.said.match.need, "state": self.said.match.state, "grade": pair.grade,
            "need_now": self.now.need, "state_now": self.now.state, "grade_now": self.grade,
        }  # fmt: skip
        return {"id": f"{pair.id}~{self.kind}", "query": self.query, "item": row_of(pair)["item"], "grade": self.grade, "mined": mined}


def settled(matches: Sequence[Match], rulebook: Rulebook) -> Grade | None:
    """The grade that matches imply, however the unknown ones turn out; None when it hangs on them."""
    unknown = [place for place, match in enumerate(matches) if match.state == "unknown"]
    if len(unknown) > _UNKNOWN_AT_MOST:
        return None
    grades = set()
    for states in itertools.product(_MAY_BE, repeat=len(unknown)):
        possible = list(matches)
        for place, state in zip(unknown, states, strict=True):
            possible[place] = msgspec.structs.replace(matches[place], state=state)
        grades.add(rulebook.grade(possible)[0])
    return grades.pop() if len(grades) == 1 else None


def names_of(pairs: Iterable[Pair], rulebook: Rulebook, glossary: Glossary) -> Names:
    """What brands the items shown for a category have, and what its queries say that it must fit."""
    names: dict[tuple[str, str], set[str]] = {}
    for pair in pairs:
        needs = construct(pair.query, rulebook, glossary)
        category = _category(needs)
        if pair.item.brand and pair.item.brand.strip():
            names.setdefault(("brand", category), set()).add(pair.item.brand.lower())
        names.setdefault(("compatibility", category), set()).update(need.value for need in needs if need.attribute == "compatibility" and not need.negated)
    return {key: sorted(found) for key, found in names.items()}


def _category(needs: Sequence[Need]) -> str:
    return next((need.value for need in needs if need.attribute == "category" and not need.negated), "")


@dataclass
class Miner:
    """Makes variants of one failing pair after another: at most `per_failure` of each, those of another grade first, kinds and grades kept in balance over all.

    `taken` holds the pairs that a variant may not repeat, as (query_key, item id), and grows; `skipped` counts why pairs gave nothing.
    """

    rulebook: Rulebook
    glossary: Glossary
    names: Names
    kinds: Sequence[str] = tuple(KINDS)
    per_failure: int = 4
    benchmark: KnownPairs | None = None
    seed: int = 0
    taken: set[tuple[str, str]] = field(default_factory=set)
    made: Counter[tuple[str, Grade]] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    def rows(self, pair: Pair) -> Iterator[dict[str, Any]]:
        """The variants of a graded pair, as rows with ids `ID~KIND` (`ID~KIND2` for the second of a kind)."""
        found = self.variants(pair)
        ids: Counter[str] = Counter()
        while found and sum(ids.values()) < self.per_failure:
            kinds, grades = Counter(), Counter()
            for (kind, grade), count in self.made.items():
                kinds[kind] += count
                grades[grade] += count
            best = min(found, key=lambda one: (one.grade == pair.grade, kinds[one.kind], grades[one.grade], self._draw(pair, one)))
            found = [one for one in found if query_key(one.query) != query_key(best.query) and (one.kind, one.grade) != (best.kind, best.grade)]
            self.made[best.kind, best.grade] += 1
            self.taken.add((query_key(best.query), pair.item.id))
            ids[best.kind] += 1
            row = best.row(pair)
            yield row if ids[best.kind] == 1 else row | {"id": f"{row['id']}{ids[best.kind]}"}

    def variants(self, pair: Pair) -> list[Variant]:
        """Every variant of a pair that may be written; why there is none is counted."""
        needs = construct(pair.query, self.rulebook, self.glossary)
        matches = follow(needs, pair.item, self.rulebook, self.glossary)
        if self.rulebook.grade(matches)[0] != pair.grade:
            self.skipped["the expert reads the pair otherwise than the human"] += 1
            return []
        known = vocabulary(self.rulebook, self.glossary)
        found = [(one, self._names(pair, one.need, _category(needs))) for one in said(pair.query, needs, matches, known)]
        tried = [(kind, one, query) for one, names in found for kind in self.kinds for query in KINDS[kind](one, names)]
        derived = [variant for kind, one, query in tried if (variant := self._derived(pair, dict(zip(needs, matches, strict=True)), kind, one, query))]
        fresh = [one for one in derived if (query_key(one.query), pair.item.id) not in self.taken]
        kept = [one for one in fresh if not self._held(pair, one)]
        if not kept:
            self.skipped["nothing to change" if not tried else "no grade can be derived" if not derived else "already a pair" if not fresh else "the benchmark holds it"] += 1
        return kept

    def _derived(self, pair: Pair, before: dict[Need, Match], kind: str, one: Said, query: str) -> Variant | None:
        """The variant with its grade; None where more or less than the one need changed, or where its grade is not settled."""
        needs = construct(query, self.rulebook, self.glossary)
        matches = dict(zip(needs, follow(needs, pair.item, self.rulebook, self.glossary), strict=True))
        gone, come = [need for need in before if need not in matches], [need for need in matches if need not in before]
        if gone != [one.need] or len(come) != 1 or come[0].attribute != one.need.attribute:
            return None
        now = matches.pop(come[0])
        grade = settled([now, *matches.values()], self.rulebook)
        same = now.state == one.match.state and (kind != "unit" or now.state != "exact")  # an amount in another unit is a contrast in words alone
        if same or now.state == "unknown" or grade is None or any(before[need] != match for need, match in matches.items()):
            return None
        return Variant(query, kind, one, now, grade)

    def _held(self, pair: Pair, one: Variant) -> bool:
        return self.benchmark is not None and self.benchmark.holds(msgspec.structs.replace(pair, query=one.query)) is not None

    def _names(self, pair: Pair, need: Need, category: str) -> list[str]:
        names = self.names.get((need.attribute, category), [])
        return random.Random(f"{self.seed}:{pair.id}").sample(names, min(_NAMES, len(names)))

    def _draw(self, pair: Pair, one: Variant) -> str:
        return hashlib.blake2b(f"{self.seed}:{pair.id}:{one.query}".encode(), digest_size=8).hexdigest()
