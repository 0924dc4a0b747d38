"""Verifiable rewards: pure functions of a completion, its pair and the rulebook. Trainers only wire them.

The paper aligns with human grades by RL and gives no reward formula; the parts, their weights and the bar for honesty are ours:
1. each part lies in [0, 1]. A completion that cannot be parsed earns nothing in any part: that is the documented reward of an answer no shop could
   use, not a failure of the scorer. A failure of the scorer (a weight or reward that is not a number) is fatal;
2. the grade earns only where the answer is honest (`honest`): a right grade that contradicts its own matches, or rests on invented evidence or needs,
   is no step toward a model that reasons. So no degenerate answer beats an honest wrong one, and none without the human grade beats an honest right one;
3. `length` is DAPO's soft overlong punishment (Yu et al. 2025, § 3.4, eq. 13) moved from [-1, 0] to [0, 1].
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from lore_cli import answer
from lore_cli.answer import Answer, AnswerError, Layout
from lore_cli.errors import BadInput
from lore_cli.path.demanded import demanded
from lore_cli.path.follow import follow
from lore_cli.path.knowledge import EMPTY, Glossary, vocabulary
from lore_cli.path.needs import construct
from lore_cli.path.quoted import evidence_holds
from lore_cli.path.text import tokenise
from lore_cli.records import GRADES, Grade, Item, Match, Need, Pair, Trace
from lore_cli.rulebook import Rulebook

WEIGHTS: dict[str, float] = {"grade": 1.0, "ordinal": 0.0, "right": 0.0, "format": 0.1, "adherence": 0.1, "evidence": 0.1, "path": 0.1, "length": 0.1}
SOFT_LENGTH, HARD_LENGTH = 600, 1200
"""Characters of an answer up to which `length` is 1, and from which it is 0: some ten and twenty needs."""


def grade_reward(given: Grade, human: Grade) -> float:
    """1 for the human grade, else 0.

    >>> grade_reward("L4", "L4"), grade_reward("L3", "L4")
    (1.0, 0.0)
    """
    return float(given == human)


def ordinal_reward(given: Grade, human: Grade) -> float:
    """1 − |difference of grade numbers| / 3: near misses are worth something.

    >>> ordinal_reward("L1", "L4"), round(ordinal_reward("L3", "L4"), 3)
    (0.0, 0.667)
    """
    return 1.0 - abs(GRADES.index(given) - GRADES.index(human)) / (len(GRADES) - 1)


def adherence_reward(given: Answer, rulebook: Rulebook) -> float:
    """1 when grade and cited rules are those that the answer's own matches imply; an answer without matches has nothing to adhere to and earns 0."""
    return float(answer.adheres(given, rulebook))


def evidence_reward(given: Answer, item: Item, rulebook: Rulebook, glossary: Glossary = EMPTY) -> float:
    """Share of the answer's lines whose word on evidence is true: what is quoted stands in the field it is quoted from and is a value of the attribute
    in that state; "not found" where the expert finds nothing either. 0 for an answer without lines.

    >>> from lore_cli.rulebook import load_rulebook
    >>> lines = Match("category", "lamp", "exact", "lamp", "title"), Match("colour", "red", "exact", "red", "title")
    >>> evidence_reward(Answer(lines, (), "L4"), Item("1", "blue lamp"), load_rulebook())
    0.5
    """
    if not given.matches:
        return 0.0
    known = vocabulary(rulebook, glossary).rulebook
    expert = follow([need_of(match) for match in given.matches], item, rulebook, glossary)
    return sum(quote_holds(own, item, known) if own.found else seen.state == "unknown" for own, seen in zip(given.matches, expert, strict=True)) / len(expert)


def path_reward(given: Answer, asked: Sequence[Need], rulebook: Rulebook) -> float:
    """F1 of the answer's needs against those asked, by attribute, value (in the rulebook's name) and exclusion: 2 · both / (given + asked).

    A need written twice counts as one too many. 0 for an answer without needs.

    >>> from lore_cli.rulebook import load_rulebook
    >>> lamp = Answer((Match("category", "lamp", "unknown"),), (), "L3")
    >>> round(path_reward(lamp, [Need("category", "lamp"), Need("colour", "red")], load_rulebook()), 3)
    0.667
    """
    own = Counter(_named(need_of(match), rulebook) for match in given.matches)
    wanted = Counter(_named(need, rulebook) for need in asked)
    return 2 * (own & wanted).total() / ((own.total() + wanted.total()) or 1)


def length_reward(length: int, soft: int = SOFT_LENGTH, hard: int = HARD_LENGTH) -> float:
    """1 up to `soft`, falling evenly to 0 at `hard` (DAPO: L_max − L_cache and L_max). Any unit; lore counts characters, a trainer may count tokens.

    >>> length_reward(600), length_reward(900), length_reward(5000)
    (1.0, 0.5, 0.0)
    """
    return min(1.0, max(0.0, (hard - length) / (hard - soft)))


def honest(given: Answer, item: Item, query: str, asked: Sequence[Need], rulebook: Rulebook, glossary: Glossary = EMPTY) -> bool:
    """Whether the grade of an answer with matches was come by honestly, right or wrong [ours]:

    1. grade and rules follow from its matches;
    2. what it quotes holds (`quote_holds`);
    3. every need is asked, or stands in the query (path/demanded.py), and is written once;
    4. it found something, where the expert does.
    """
    needs = [need_of(match) for match in given.matches]
    named = [_named(need, rulebook) for need in needs]
    told = {_named(need, rulebook) for need in asked}
    further = [need for need, name in zip(needs, named, strict=True) if name not in told]
    known = vocabulary(rulebook, glossary).rulebook
    quotes = [match for match in given.matches if match.found]
    return (
        answer.adheres(given, rulebook)
        and all(quote_holds(match, item, known) for match in quotes)
        and len(set(named)) == len(named)
        and (not further or demanded(further, query, (), rulebook, glossary) is None)
        and (bool(quotes) or all(match.state == "unknown" for match in follow(needs, item, rulebook, glossary)))
    )


def quote_holds(match: Match, item: Item, rulebook: Rulebook) -> bool:
    """Whether a quote stands in the field that is cited and supports the state it is cited for, as far as the value tables can tell.

    Of two listed values the table tells the state; a listed value that was asked for is not met exactly by one that is in no table and shares no word with it.
    """
    if not match.found or not evidence_holds(match, item, rulebook):
        return False
    need, table = need_of(match), rulebook.table(match.attribute)
    asked, found = table.name(need.value), table.name(match.found)
    if asked in table.canonical and found in table.canonical:
        accessory = found in table.accessories.get(asked, ()) or asked in table.accessories.get(found, ())
        return rulebook.compare(match.attribute, asked, found, need.negated) == match.state or (accessory and match.state == "conflict")
    listed = asked in table.canonical
    return not listed or match.state != "exact" or need.negated or not set(tokenise(need.value).stems).isdisjoint(tokenise(match.found).stems)


def need_of(match: Match) -> Need:
    """The need that a line of an answer writes, the reverse of `answer.need_text`."""
    return Need(match.attribute, match.need.removeprefix("not "), match.need.startswith("not "))


def _named(need: Need, rulebook: Rulebook) -> tuple[str, str, bool]:
    """A need by the rulebook's name for its value, singular or plural."""
    return need.attribute, " ".join(tokenise(rulebook.table(need.attribute).name(need.value)).stems), need.negated


def needs_of(pair: Pair | Trace, rulebook: Rulebook, glossary: Glossary = EMPTY) -> Sequence[Need]:
    """What a pair's query asks for: the trace's own needs, which synthesis has checked, else as the expert reads it."""
    return (pair.needs if isinstance(pair, Trace) else None) or construct(pair.query, rulebook, glossary)


def reward_parts(completion: str, pair: Pair | Trace, rulebook: Rulebook, layout: Layout = "answer-last", glossary: Glossary = EMPTY) -> dict[str, float]:
    """The parts of one completion's reward, keyed as in `WEIGHTS`, each in [0, 1]. Raises `BadInput` for a pair without a human grade.

    `grade` and `ordinal` are 0 where an answer with matches is not `honest`; `right` is not, so that both can be followed, or compared, in a run. The layouts `label-only` and `free` have no matches: nothing to check,
    so their grade earns as it stands, and `adherence`, `evidence` and `path` earn 0.
    """
    if pair.grade is None:
        raise BadInput("no human grade", where=f"row '{pair.id}'", field="grade", hint="a completion is rewarded for the grade that a human gave")
    try:
        given = answer.parse(completion, rulebook, layout)
    except AnswerError:
        return dict.fromkeys(WEIGHTS, 0.0)
    asked = needs_of(pair, rulebook, glossary)
    earned = not given.matches or honest(given, pair.item, pair.query, asked, rulebook, glossary)
    return {
        "grade": earned * grade_reward(given.grade, pair.grade),
        "ordinal": earned * ordinal_reward(given.grade, pair.grade),
        "right": grade_reward(given.grade, pair.grade),
        "format": 1.0,
        "adherence": adherence_reward(given, rulebook),
        "evidence": evidence_reward(given, pair.item, rulebook, glossary),
        "path": path_reward(given, asked, rulebook) if given.matches else 0.0,
        "length": length_reward(len(completion)),
    }


def process_rewards(
    completion: str, pair: Pair | Trace, rulebook: Rulebook, layout: Layout = "answer-last", glossary: Glossary = EMPTY
) -> list[tuple[Hashable, float]]:
    """What each line of an answer is about and what it earns, in the order of the text; nothing for one that cannot be parsed, and for layouts without lines.

    A need's line earns 1 when the need is asked, once, and what it says of the item is true: the state of the trace's line, where the pair has
    one, or else the expert's, with a quote that holds. The rules and the grade earn 1 when they are those that the answer's own matches imply.
    """
    try:
        given = answer.parse(completion, rulebook, layout)
    except AnswerError:
        return []
    if not given.matches:
        return []
    needs = [need_of(match) for match in given.matches]
    asked = needs_of(pair, rulebook, glossary)
    verified = pair.matches if isinstance(pair, Trace) and pair.matches else follow(asked, pair.item, rulebook, glossary)
    expected = {_named(need_of(match), rulebook): match for match in verified}
    known = vocabulary(rulebook, glossary).rulebook
    lines: list[tuple[Hashable, float]] = []
    for match, need in zip(given.matches, needs, strict=True):
        name = _named(need, rulebook)
        true = expected.pop(name, None)
        lines.append((name, float(true is not None and true.state == match.state and (not match.found or quote_holds(match, pair.item, known)))))
    grade, rules = rulebook.grade(given.matches)
    closing = [("rules", float(rules == given.rules)), ("grade", float(grade == given.grade))]
    return [closing[1], *lines, closing[0]] if layout == "answer-first" else [*lines, *closing]


def total(parts: Mapping[str, float], weights: Mapping[str, float] = WEIGHTS) -> float:
    """Σ weight · part. Raises `BadInput` when a part is missing or not a number, or the sum is not finite: never a silent zero.

    >>> total({"grade": 1.0, "format": 1.0}, {"grade": 1.0, "format": 0.1})
    1.1
    """
    odd = next((name for name in weights if not isinstance(parts.get(name), int | float)), None)
    if odd is not None:
        raise BadInput(f"the reward part '{odd}' is {parts.get(odd)!r} (expected a number)", hint="this is a fault of the scorer, not of the completion")
    reward = sum(weight * parts[name] for name, weight in weights.items())
    if not math.isfinite(reward):
        raise BadInput(f"the reward of parts {dict(parts)} is {reward}", hint="check --weight")
    return reward
