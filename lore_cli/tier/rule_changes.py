"""Which cached verdicts an edited rulebook makes stale.

A rule looks at nothing but the states of an answer's matches. So an edited rule can only change the verdicts whose grade it sets or set, before or
after the edit, those whose grade or cited rules come out otherwise, and those that cite it. An edit to anything else (grades, attributes, values, units) can
change any match, so it makes every verdict stale; so does a verdict without matches, which cannot be checked. That a model whose prompt
lists the rules judges the rest as before is our assumption [ours]; `lore-tier status --audit` measures it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from lore_cli.records import Match
from lore_cli.rulebook import Rulebook


@dataclass(frozen=True, slots=True)
class RuleChanges:
    """What separates two rulebooks. `rules`: ids of the rules that were added, removed or edited; None when more than rules changed."""

    before: Rulebook
    after: Rulebook
    rules: frozenset[str] | None

    def reach(self, verdict: dict[str, Any]) -> frozenset[str] | None:
        """The changed rules that a verdict (a row) depends on: empty when it still holds, None when it cannot be told or everything changed."""
        if self.rules is None or not verdict.get("matches"):
            return None
        matches = msgspec.convert(verdict["matches"], tuple[Match, ...])
        one, other = self.before.grade(matches), self.after.grade(matches)
        touched = self.rules & {*one[1], *other[1], *(verdict.get("rules") or ())}
        return self.rules if one != other and not touched else touched


def rule_changes(before: Rulebook, after: Rulebook) -> RuleChanges:
    """Compare two rulebooks; name and version do not count, nor does the order of the rules.

    >>> from lore_cli.rulebook import load_rulebook
    >>> rule_changes(load_rulebook(), load_rulebook()).rules
    frozenset()
    """
    parts = ("grades", "dimensions", "values", "units", "lexicon")
    if any(getattr(before, part) != getattr(after, part) for part in parts):
        return RuleChanges(before, after, None)
    one, other = _by_id(before.rules), _by_id(after.rules)
    changed = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    return RuleChanges(before, after, frozenset(changed))


def _by_id(rules: Iterable[Any]) -> dict[str, Any]:
    return {rule.id: rule for rule in rules}
