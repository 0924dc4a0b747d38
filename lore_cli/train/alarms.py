"""Alarms of a reinforcement-learning run: what stops it before hours go into a policy that has collapsed. Pure functions of the log.

Each watches one series of `metrics.jsonl` and rings when it is beyond its limit in all of the last `patience` steps. The limits are ours, set so that
no healthy run that we have seen rings any.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lore_cli.errors import UsageError


class Watched(NamedTuple):
    """One series of the log. of_start: the limit is a factor on the mean of the run's first five steps."""

    series: str
    below: bool
    of_start: bool


WATCHED = {
    "entropy-low": Watched("entropy", below=True, of_start=True),
    "entropy-high": Watched("entropy", below=False, of_start=True),
    "kl": Watched("kl", below=False, of_start=False),
    "length-low": Watched("completions/mean_length", below=True, of_start=True),
    "length-high": Watched("completions/mean_length", below=False, of_start=True),
    "zero-spread": Watched("sampling/zero_spread_share", below=False, of_start=False),
    "clipped": Watched("completions/clipped_ratio", below=False, of_start=False),
}
LIMITS: dict[str, float] = {
    "entropy-low": 0.05, "entropy-high": 20, "kl": 1, "length-low": 0.3, "length-high": 3, "zero-spread": 0.99, "clipped": 0.9, "no-progress": 200,
    "patience": 10,
}  # fmt: skip
"""kl: nats per token. zero-spread: share of the groups drawn that teach nothing. clipped: share of answers cut at the longest. no-progress: steps without
a better mean reward, the later half of them no better than the earlier: a reward that a high rate has cost at first, and that comes back, is progress. patience: steps in a row, and those that a mean reward is taken over."""

_START = 5


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """Limits from `NAME=NUMBER` texts over the defaults; `off` for a number turns an alarm off. Raises `UsageError` for an unknown name or no positive number.

    >>> parse_limits(["kl=0.5", "clipped=off"])["kl"]
    0.5
    """
    limits = dict(LIMITS)
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = math.nan if number == "off" else float(number)
            known = name in LIMITS and (number == "off" or 0 < value < math.inf) and not (name == "patience" and not value >= 1)
        except ValueError:
            known = False
        if not known:
            raise UsageError(f"--alarm {text}: not NAME=NUMBER above 0 with a name of {', '.join(LIMITS)}", hint="NAME=off turns an alarm off")
        limits[name] = value
    return limits


def alarm(history: Sequence[Mapping[str, float]], limits: Mapping[str, float]) -> str | None:
    """What is wrong with a run by its log, None while nothing is. history: one row for each step, as in `metrics.jsonl`.

    >>> steps = [{"kl": 0.01}] * 5 + [{"kl": 3.0}] * 10
    >>> alarm(steps, LIMITS)
    'kl above 1 in the last 10 steps (now 3)'
    >>> alarm(steps[:14], LIMITS) is None
    True
    """
    patience = int(limits["patience"])
    for name, (series, below, of_start) in WATCHED.items():
        values = [float(row[series]) for row in history if row.get(series) is not None]
        if len(values) < patience + (_START if of_start else 0):
            continue
        limit = limits[name] * (statistics.fmean(values[:_START]) if of_start else 1)
        if all(value < limit if below else value > limit for value in values[-patience:]):
            return f"{series} {'below' if below else 'above'} {limit:.3g} in the last {patience} steps (now {values[-1]:.3g})"
    return _no_progress([float(row["drawn/reward"]) for row in history if "drawn/reward" in row], limits["no-progress"], patience)


def _no_progress(rewards: Sequence[float], limit: float, window: int) -> str | None:
    means = [statistics.fmean(rewards[max(0, end - window) : end]) for end in range(window, len(rewards) + 1)]
    if means and len(means) - 1 - means.index(max(means)) >= limit:
        last = rewards[-max(2, int(limit)) :]
        if statistics.fmean(last[len(last) // 2 :]) > statistics.fmean(last[: len(last) // 2]):
            return None
        return f"no better mean reward than {max(means):.3g} in the last {limit:g} steps (now {means[-1]:.3g})"
    return None
