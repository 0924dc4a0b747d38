"""Whether a finished generation may be served: an implausible jump from the one served before is refused. The limits are ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lore_cli.errors import BadInput
from lore_cli.judges.cached import Entry, Store
from lore_cli.records import RELEVANT

FEWEST = 30  # pairs judged again under which agreement says too little


@dataclass(frozen=True, slots=True)
class Limits:
    """min_agreement: least share of the pairs judged again that stay on their side of relevance. max_shrink: largest share of entries that may go."""

    min_agreement: float = 0.7
    max_shrink: float = 0.5


@dataclass(slots=True)
class Comparison:
    """A generation beside the one before.

    rejudged: pairs in both, of unchanged items, that were judged again; same_side, same_grade: how many of them agree.
    """

    before: int
    after: int
    rejudged: int = 0
    same_side: int = 0
    same_grade: int = 0

    def counts(self) -> dict[str, Any]:
        """For summary and manifest."""
        return {name: number for name, number in asdict(self).items() if name in ("rejudged", "same_side", "same_grade")}

    def problem(self, limits: Limits) -> str:
        """Why the generation is implausible, or ''."""
        if self.after < (1 - limits.max_shrink) * self.before:
            return f"it holds {self.after} entries, the one served {self.before}: it shrank by more than --max-shrink {limits.max_shrink:g}"
        if self.rejudged >= FEWEST and self.same_side < limits.min_agreement * self.rejudged:
            share = self.same_side / self.rejudged
            return (
                f"of {self.rejudged} pairs judged again {share:.1%} are on the same side of relevance as before, under --min-agreement {limits.min_agreement:g}"
            )
        return ""


def compare(served: Store | None, build: Store) -> Comparison:
    """Read a build beside the generation served (None: nothing to compare with). Raises `BadInput` for a damaged build."""
    found = Comparison(0 if served is None else len(served), len(build))
    if served is None:
        return found
    for key, entry in build.entries():
        before = _readable(served, key)
        if before is None or before.item != entry.item or (before.judged_at, before.judge) == (entry.judged_at, entry.judge):
            continue
        one, other = before.verdict.get("grade"), entry.verdict.get("grade")
        found.rejudged += 1
        found.same_grade += one == other
        found.same_side += (one in RELEVANT) == (other in RELEVANT)
    return found


def _readable(store: Store, key: bytes) -> Entry | None:
    try:
        return store.get(key)
    except BadInput:
        return None
