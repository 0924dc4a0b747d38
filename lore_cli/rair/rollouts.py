"""Rollouts looked at: what completions earned, the worst of them, the worst groups, and what a later model writes in their place.

Rows are those that `lore-rl reward` wrote; a group is the completions of one prompt, which `lore-rl rollout` writes one after the other.
"""

from __future__ import annotations

import difflib
import heapq
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any

from lore_cli.errors import BadInput
from lore_cli.rair.figures import ABSENT, short
from lore_cli.rair.sections import Section
from lore_cli.records import Trace, row_of

_WORD = re.compile(r"\s+|\S+")
Words = list[tuple[str, str]]  # ("same" | "gone" | "new", text)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion with its reward. group: the pair that it answers."""

    id: str
    group: str
    query: str
    title: str
    human: str | None
    completion: str
    reward: float
    parts: dict[str, float]

    def earned(self) -> str:
        """The parts as text."""
        return " ".join(f"{name} {short(part, 2)}" for name, part in self.parts.items())


@dataclass(frozen=True, slots=True)
class Group:
    """The completions of one prompt."""

    rollouts: tuple[Rollout, ...]

    @property
    def mean(self) -> float:
        return fmean(rollout.reward for rollout in self.rollouts)

    @property
    def spread(self) -> float:
        """Standard deviation of the rewards; a group without any has no gradient."""
        return pstdev(rollout.reward for rollout in self.rollouts)

    def distinct(self) -> list[tuple[Rollout, int]]:
        """Each completion once, with how often it was drawn; those that earned least first."""
        drawn: dict[str, list[Rollout]] = {}
        for rollout in self.rollouts:
            drawn.setdefault(rollout.completion, []).append(rollout)
        return sorted(((same[0], len(same)) for same in drawn.values()), key=lambda entry: entry[0].reward)


@dataclass(frozen=True, slots=True)
class Change:
    """What one id's completion was and is."""

    before: Rollout
    after: Rollout

    @property
    def gain(self) -> float:
        return self.after.reward - self.before.reward

    def words(self) -> Words:
        """The word diff of the two texts."""
        return word_diff(self.before.completion, self.after.completion)


@dataclass
class Inspection:
    """What there is to show: counts and means of everything, and the extremes asked for."""

    rows: Section
    worst: list[Rollout]
    groups: list[Group] = field(default_factory=list)
    grouped: Section | None = None
    changes: list[Change] = field(default_factory=list)
    changed: Section | None = None

    def sections(self) -> list[Section]:
        """The tables of counts and means."""
        return [section for section in (self.rows, self.grouped, self.changed) if section is not None]


def rollout_of(trace: Trace) -> Rollout:
    """A scored row. Raises `BadInput` where reward and rewards are not numbers."""
    row = row_of(trace)
    hint = "pipe the rows through lore-rl reward first"
    reward, parts = row.get("reward"), row.get("rewards") or {}
    if not _is_number(reward):
        raise BadInput(f"found {reward!r} (expected a number)", where=f"row '{trace.id}'", field="reward", hint=hint)
    if not isinstance(parts, dict) or not all(map(_is_number, parts.values())):
        raise BadInput(f"found {parts!r} (expected numbers by name)", where=f"row '{trace.id}'", field="rewards", hint=hint)
    return Rollout(trace.id, str(row.get("group", trace.id)), trace.query, trace.item.title, trace.grade, trace.completion or "", float(reward), parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def inspect(rollouts: Iterable[Rollout], worst: int, groups: int, before: dict[str, Rollout] | None = None) -> Inspection:
    """Look at rollouts as they pass. Memory: what is shown, a group, and `before`, which holds the rollouts to compare with by id."""
    means, worst_groups, spreads = _Means(), _Lowest(groups), []
    lowest, changes, gains = _Lowest(worst), _Lowest(worst), []
    for _, members in itertools.groupby(rollouts, key=lambda rollout: rollout.group):
        group, told = Group(tuple(members)), set()
        for rollout in group.rollouts:
            means.add(rollout)
            lowest.add(rollout.reward, rollout)
            if before and (earlier := before.get(rollout.id)):
                change = Change(earlier, rollout)
                gains.append(change.gain)
                texts = earlier.completion, rollout.completion
                if earlier.completion != rollout.completion and texts not in told:
                    told.add(texts)
                    changes.add(-abs(change.gain), change)
        if len(group.rollouts) > 1:
            spreads.append(group.spread)
            worst_groups.add(group.mean, group)
    return Inspection(
        means.section(),
        lowest.found(),
        worst_groups.found(),
        _spread(spreads) if spreads else None,
        changes.found(),
        _changed(gains, means.count("all"), len(before)) if before is not None else None,
    )


class _Lowest:
    """The `size` entries of the lowest keys, in that order; the first come of equals."""

    def __init__(self, size: int) -> None:
        self._size, self._heap = size, []  # type: ignore[var-annotated]
        self._number = itertools.count()

    def add(self, key: float, entry: Any) -> None:
        heapq.heappush(self._heap, (-key, -next(self._number), entry))
        if len(self._heap) > self._size:
            heapq.heappop(self._heap)

    def found(self) -> list[Any]:
        return [entry for _, _, entry in sorted(self._heap, key=lambda held: held[:2], reverse=True)]


class _Means:
    """Mean reward and parts, over all rows and by human grade."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, float]] = {}
        self._counts: dict[str, int] = {}

    def add(self, rollout: Rollout) -> None:
        for name in ("all", f"human {rollout.human or ABSENT}"):
            sums = self._sums.setdefault(name, {})
            self._counts[name] = self._counts.get(name, 0) + 1
            for part, value in {"reward": rollout.reward, **rollout.parts}.items():
                sums[part] = sums.get(part, 0.0) + value

    def count(self, name: str) -> int:
        return self._counts.get(name, 0)

    def section(self) -> Section:
        parts = list(self._sums.get("all", {"reward": 0.0}))
        rows = [[name, f"{self._counts[name]:,}", *(short(sums.get(part, 0.0) / self._counts[name], 3) for part in parts)] for name, sums in sorted(self._sums.items())]
        return Section("Mean reward and its parts", ["completions", "n", *parts], rows)


def _spread(spreads: list[float]) -> Section:
    flat = sum(spread == 0 for spread in spreads)
    row = ["all", f"{len(spreads):,}", short(fmean(spreads), 3), f"{flat:,}"]
    return Section("Groups", ["groups", "n", "mean spread", "without spread"], [row], notes=["A group whose completions all earn the same gives GRPO no gradient."])


def _changed(gains: list[float], after: int, before: int) -> Section:
    counts = [sum(gain > 0 for gain in gains), sum(gain == 0 for gain in gains), sum(gain < 0 for gain in gains)]
    row = ["all", f"{len(gains):,}", *(f"{count:,}" for count in counts), short(fmean(gains), 3, sign=True) if gains else ABSENT]
    alone = [f"{number:,} only {side}" for side, number in (("before", before - len(gains)), ("after", after - len(gains))) if number]
    return Section("Before and after", ["ids in both", "n", "better", "same", "worse", "mean gain"], [row], notes=[f"Not compared: {', '.join(alone)}."] if alone else [])


def word_diff(before: str, after: str) -> Words:
    """The words of both texts in order: what stayed, what went, what came.

    >>> word_diff("colour = red", "colour = blue")
    [('same', 'colour = '), ('gone', 'red'), ('new', 'blue')]
    """
    old, new = _WORD.findall(before), _WORD.findall(after)
    return list(_pieces(old, new))


def _pieces(old: list[str], new: list[str]) -> Iterator[tuple[str, str]]:
    for kind, start, end, begin, until in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            yield "same", "".join(old[start:end])
            continue
        for what, text in (("gone", "".join(old[start:end])), ("new", "".join(new[begin:until]))):
            if text:
                yield what, text
