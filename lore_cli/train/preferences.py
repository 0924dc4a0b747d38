"""Preference pairs from scored rollouts of the same prompt, for DPO (Rafailov et al. 2023).

The paper aligns by GRPO; pairs from a model's own draws, the better against the worse by a verifiable reward, are the offline alternative (as in Llama 3's and
Tülu 3's recipes). Ours: which of a group's draws are paired, and the least gap.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lore_cli.errors import BadInput
from lore_cli.records import Trace, row_of

_HINT = "pipe rollouts through lore-rl reward first (lore-rl rollout … | lore-rl reward)"
_OF_ONE_DRAW = ("completion", "reward", "rewards", "cut", "reason")


@dataclass
class Preferences:
    """Pairs the draws of each group. gap: least difference of reward; per_group: most pairs of one group. `counts` fills as groups pass."""

    gap: float = 0.1
    per_group: int = 2
    counts: dict[str, int] = field(default_factory=lambda: {"groups": 0, "groups_without_a_pair": 0, "cut_draws": 0, "pairs": 0})

    def of(self, rollouts: Iterable[Trace]) -> Iterator[dict[str, Any]]:
        """Rows with `prompt`, `chosen`, `rejected` and why. A group's rows must follow each other; memory: one group.

        Raises `BadInput` for a row without a prompt, a completion or a numeric reward.
        """
        for group, draws in itertools.groupby(rollouts, key=lambda trace: str(row_of(trace).get("group", trace.id))):
            self.counts["groups"] += 1
            rows = [row_of(_checked(draw)) for draw in draws]
            whole = [row for row in rows if not row.get("cut")]  # its end is not known, and an end token after it would teach a wrong one
            self.counts["cut_draws"] += len(rows) - len(whole)
            found = pairs_of(whole, self.gap, self.per_group)
            self.counts["groups_without_a_pair"] += not found
            for number, (better, worse) in enumerate(found):
                self.counts["pairs"] += 1
                shared = {name: value for name, value in better.items() if name not in _OF_ONE_DRAW}
                yield shared | {
                    "id": f"{group}~{number}", "group": group, "chosen": better["completion"], "rejected": worse["completion"],
                    "rewards_chosen": better.get("rewards", {}), "rewards_rejected": worse.get("rewards", {}), "preferred_because": _because(better, worse),
                }  # fmt: skip


def pairs_of(rows: Sequence[dict[str, Any]], gap: float, most: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(better, worse) out of one group: the best text with the worst, the next best with the next worst, while they are `gap` apart. Each text is in one pair.

    >>> draws = [{"completion": text, "reward": reward} for text, reward in (("a", 1.5), ("b", 0.5), ("c", 1.4), ("a", 1.5), ("d", 0.2))]
    >>> [(better["completion"], worse["completion"]) for better, worse in pairs_of(draws, 0.5, 2)]
    [('a', 'd'), ('c', 'b')]
    """
    distinct = {row["completion"]: row for row in reversed(rows)}
    ranked = sorted(distinct.values(), key=lambda row: (-row["reward"], row["completion"]))
    return [(better, worse) for better, worse in zip(ranked[:most], ranked[: -most - 1 : -1], strict=False) if better["reward"] - worse["reward"] >= max(gap, 1e-9)]


def _because(better: dict[str, Any], worse: dict[str, Any]) -> str:
    """The parts that the better one earns more of."""
    parts, others = better.get("rewards") or {}, worse.get("rewards") or {}
    gains = [f"{name} {others.get(name, 0):.3g} → {part:.3g}" for name, part in parts.items() if part > others.get(name, 0)]
    return ", ".join([f"reward {worse['reward']:.3g} → {better['reward']:.3g}", *gains])


def _checked(trace: Trace) -> Trace:
    reward = row_of(trace).get("reward")
    for name, found in (("prompt", trace.prompt), ("completion", trace.completion)):
        if found is None:
            raise BadInput("required field is missing", where=f"row '{trace.id}'", field=name, hint=_HINT)
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        raise BadInput(f"found {reward!r} (expected a number)", where=f"row '{trace.id}'", field="reward", hint=_HINT)
    return trace
