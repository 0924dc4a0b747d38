"""What synthesised reasoning is checked for beside its grade: the subject in its place, evidence that the item does not hold, a leaked answer.

Each check is a pure function that says what is wrong, or None. They hold whoever reasoned; the expert passes them by construction. Demands that the query
does not make are told in path/demanded.py.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from lore_cli.answer import item_lines
from lore_cli.path.quoted import evidence_holds
from lore_cli.path.text import GAP, normalise, tokenise
from lore_cli.records import GRADES, Item, Match, Need, Pair
from lore_cli.rulebook import Rulebook

_LEAKS = Path(__file__).with_name("leaks.toml")


def subject_first(needs: Sequence[Need]) -> str | None:
    """The product itself, where one is asked for, is the first need (path construction begins with the subject)."""
    place = next((place for place, need in enumerate(needs) if need.attribute == "category" and not need.negated), 0)
    return f"the subject '{needs[place].value}' is not the first need" if place else None


def held(matches: Sequence[Match], item: Item, rulebook: Rulebook) -> str | None:
    """Every quoted piece of evidence stands in the field of the item that it is quoted from."""
    odd = next((match for match in matches if match.found and not evidence_holds(match, item, rulebook)), None)
    return f"the reply quotes evidence that the item does not hold: {odd.found} [{odd.source}]" if odd else None


def leak(text: str, pair: Pair) -> str | None:
    """The reasoning does not mention that it was told the answer. A phrase of the shop's or the shopper's own text is no leak."""
    if not _telling().search(normalise(text)):
        return None
    said, own = _words(text), _words(f"{pair.query}\n{item_lines(pair.item)}")
    phrase = next((phrase for phrase in leak_phrases() if phrase in said and phrase not in own), None)
    return f"the reply gives away that it was told the answer: '{phrase.strip()}'" if phrase else None


@lru_cache(maxsize=1)
def leak_phrases() -> tuple[str, ...]:
    """The phrases of leaks.toml, each with its words between single spaces, and one before and after."""
    phrases = [phrase for listed in tomllib.loads(_LEAKS.read_text("utf-8")).values() for phrase in listed]
    return tuple(dict.fromkeys(_words(phrase.replace("{grade}", grade)) for phrase in phrases for grade in GRADES))


@lru_cache(maxsize=1)
def _telling() -> re.Pattern[str]:
    """Finds one word of some phrase, the longest but for `grade`, in a normalised text: few replies hold any, and only those are read word by word."""
    words = {max(phrase.split(), key=lambda word: (word != "grade", len(word))) for phrase in leak_phrases()}
    return re.compile("|".join(sorted(map(re.escape, words))))


def _words(text: str) -> str:
    return f" {' '.join(word for word in tokenise(text).words if word != GAP)} "
