"""From graded pairs to a benchmark: General, Hard and Visual, query-disjoint from training (RAIR, arXiv 2512.24943; how pairs are chosen is ours).

1. Pairs are held out by a field (`--where`) or by a hash of the normalised query (`--share`); the rest is for training.
2. General: categories in turn, queries at random: the shop as it is, small categories included. It is drawn first, so that it is not what the others left.
3. Visual: pairs whose implied grade depends on what only the image shows. 4. Hard: criteria in turn, so that each is there.
A query belongs to one subset only, and gives at most `per_query` pairs to it: intervals are clustered by query, so many queries say more than many pairs of one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from lore_cli.errors import BadInput
from lore_cli.judges.lexical import Baseline
from lore_cli.path.disjoint import query_key
from lore_cli.path.knowledge import Glossary
from lore_cli.rair.criteria import COMMON_SHARE, HARD, QUERY_CRITERIA, asked_category, image_decides, least_asked, needs_of, query_criteria
from lore_cli.records import GRADES, RELEVANT, Pair, row_of
from lore_cli.rulebook import Rulebook

SUBSETS = ("general", "hard", "visual")
BASELINE_PAIRS = 20_000
"""Training pairs that the lexical baseline of the `baseline` criterion is fitted on, evenly thinned."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What to hold out and how much to take. where: field and value (all must hold), else share of the queries. sizes: pairs asked per subset. per_query 0: all of a query."""

    where: tuple[tuple[str, str], ...] = ()
    share: float = 0.2
    sizes: dict[str, int] = field(default_factory=lambda: {"general": 1000, "hard": 600, "visual": 400})
    per_query: int = 4
    seed: int = 0

    def holds_out(self, pair: Pair) -> bool:
        """Whether a pair is kept from training."""
        if self.where:
            row = row_of(pair)
            return all(name in row and _text(row[name]) == value for name, value in self.where)
        return fraction(f"{self.seed}:split:{query_key(pair.query)}") < self.share


@dataclass
class Held:
    """A held-out pair with the criteria it meets."""

    pair: Pair
    key: str
    criteria: set[str]


@dataclass
class Chosen:
    """The outcome: rows per subset in input order; what every criterion covers; why a subset is smaller than asked."""

    subsets: dict[str, list[Held]]
    criteria: dict[str, dict[str, object]]
    notes: dict[str, str]
    categories: dict[str, int]


def held_out(pairs: Iterable[Pair], policy: Policy, put_aside: Callable[[Pair], None]) -> list[Pair]:
    """The pairs to build from; `put_aside` gets every other one. Ungraded pairs that are held out are in neither: they can be neither scored nor trained on."""
    held = []
    for pair in pairs:
        if not policy.holds_out(pair):
            put_aside(pair)
        elif pair.grade is not None:
            held.append(pair)
    return held


def choose(pairs: list[Pair], training: Iterable[Pair], asked: dict[str, int], rulebook: Rulebook, glossary: Glossary, policy: Policy) -> Chosen:
    """Draw the subsets. asked: how often each query (by key) is asked, where a log says so; else the pairs' counts are used.

    Raises `BadInput` when there is nothing to draw from.
    """
    if not pairs:
        where = " and ".join(f"{name}={value}" for name, value in policy.where) or f"a share of {policy.share:g} of the queries"
        raise BadInput(f"no graded pair is held out by {where}", hint="check --where, --share and --train, and that the rows have grades")
    held = [Held(pair, query_key(pair.query), set()) for pair in pairs]
    categories = _read_queries(held, asked, rulebook, glossary)
    keys = {row.key for row in held}
    notes = _baseline(held, (pair for pair in training if query_key(pair.query) not in keys))
    by_query: dict[str, list[Held]] = defaultdict(list)
    for row in held:
        by_query[row.key].append(row)
    criteria = _coverage(held, by_query)
    hard = [name for name in HARD if criteria[name]["used"]]
    visual = {key for key, rows in by_query.items() if any("image-decides" in row.criteria for row in rows)}
    wanted = policy.sizes | ({} if visual else {"visual": 0}) | ({} if any(criteria[name]["pairs"] for name in hard) else {"hard": 0})

    room = int(len(by_query) * wanted["general"] / max(1, sum(wanted.values()))) or 1
    groups = _grouped({key: categories[key] for key in by_query}, "general", policy.seed)
    general = _take(_in_turn(groups, limit=room), by_query, lambda row: True, wanted["general"], policy)
    taken = {row.key for row in general}
    visuals = _take(_shuffled(visual - taken, "visual", policy.seed), by_query, lambda row: "image-decides" in row.criteria, wanted["visual"], policy)
    taken |= {row.key for row in visuals}
    members = {name: [key for key, rows in by_query.items() if key not in taken and any(name in row.criteria for row in rows)] for name in hard}
    order = dict.fromkeys(_in_turn([_shuffled(keys, f"hard:{name}", policy.seed) for name, keys in members.items()]))
    hards = _take(iter(order), by_query, lambda row: bool(row.criteria.intersection(hard)), wanted["hard"], policy)

    number = {id(row): index for index, row in enumerate(held)}
    subsets = {name: sorted(rows, key=lambda row: number[id(row)]) for name, rows in zip(SUBSETS, (general, hards, visuals), strict=True)}
    notes |= _shortfalls(subsets, policy, pairs, bool(visual))
    return Chosen(subsets, criteria, notes, {name: len({row.key for row in general if categories[row.key] == name}) for name in sorted({categories[row.key] for row in general})})


def fraction(text: str) -> float:
    """A number in [0, 1) that depends on nothing but the text: the source of every random choice here."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def grades_of(rows: Iterable[Held]) -> dict[str, int]:
    """How many rows have each grade."""
    counts = dict.fromkeys(GRADES, 0)
    for row in rows:
        counts[row.pair.grade or ""] += 1
    return counts


def _read_queries(held: list[Held], asked: dict[str, int], rulebook: Rulebook, glossary: Glossary) -> dict[str, str]:
    """Fill in the criteria that the expert tells; returns the category that each query asks for."""
    categories: dict[str, str] = {}
    of_query: dict[str, set[str]] = {}
    frequency: dict[str, int] = defaultdict(int)
    for row in held:
        needs = needs_of(row.pair.query, rulebook, glossary)
        if row.key not in of_query:
            of_query[row.key] = query_criteria(row.pair.query, needs, rulebook, glossary)
            categories[row.key] = asked_category(needs, rulebook)
        row.criteria |= of_query[row.key]
        if image_decides(row.pair, needs, rulebook):
            row.criteria.add("image-decides")
        frequency[row.key] = asked.get(row.key, 0) if asked else frequency[row.key] + (row.pair.count or 0)
    tail = least_asked(frequency)
    for row in held:
        if row.key in tail:
            row.criteria.add("tail")
    return categories


def _baseline(held: list[Held], training: Iterable[Pair]) -> dict[str, str]:
    """Mark the pairs that the lexical baseline gets wrong; a note when it could not be fitted."""
    try:
        baseline = Baseline(training)
    except BadInput as problem:
        return {"baseline": f"criterion not used: {problem.reason}"}
    for row, grade in zip(held, baseline.judge([row.pair for row in held]), strict=True):
        if (grade in RELEVANT) != (row.pair.grade in RELEVANT):
            row.criteria.add("baseline")
    return {}


def _coverage(held: list[Held], by_query: dict[str, list[Held]]) -> dict[str, dict[str, object]]:
    covered: dict[str, dict[str, object]] = {}
    for name in (*HARD, "image-decides"):
        rows = [row for row in held if name in row.criteria]
        queries = len({row.key for row in rows})
        common = name in QUERY_CRITERIA and queries > COMMON_SHARE * len(by_query)
        covered[name] = {"pairs": len(rows), "queries": queries, "used": bool(rows) and not common}
    return covered


def _grouped(category_of: dict[str, str], label: str, seed: int) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for key, category in category_of.items():
        groups[category].append(key)
    ordered = sorted(groups, key=lambda name: fraction(f"{seed}:{label}:group:{name}"))
    return [_shuffled(groups[name], label, seed) for name in ordered]


def _shuffled(keys: Iterable[str], label: str, seed: int) -> list[str]:
    return sorted(keys, key=lambda key: fraction(f"{seed}:{label}:{key}"))


def _in_turn(groups: list[list[str]], limit: int | None = None) -> Iterator[str]:
    given = 0
    for position in range(max(map(len, groups), default=0)):
        for group in groups:
            if position < len(group):
                if given == limit:
                    return
                given += 1
                yield group[position]


def _take(keys: Iterable[str], by_query: dict[str, list[Held]], fits: Callable[[Held], bool], size: int, policy: Policy) -> list[Held]:
    """Pairs of one query after another until there are `size`."""
    taken: list[Held] = []
    for key in keys:
        if len(taken) >= size:
            break
        rows = sorted((row for row in by_query[key] if fits(row)), key=lambda row: fraction(f"{policy.seed}:pair:{row.pair.id}"))
        taken += rows[: min(policy.per_query or len(rows), size - len(taken))]
    return taken


def _shortfalls(subsets: dict[str, list[Held]], policy: Policy, pairs: list[Pair], decided: bool) -> dict[str, str]:
    notes: dict[str, str] = {}
    for name, rows in subsets.items():
        if len(rows) < policy.sizes[name]:
            notes[name] = f"{len(rows)} of {policy.sizes[name]} pairs asked: " + (_blind(pairs) if name == "visual" and not decided else "the held-out pairs give no more that fit")
    return notes


def _blind(pairs: list[Pair]) -> str:
    images, captions = (sum(bool(getattr(pair.item, name)) for pair in pairs) for name in ("image", "caption"))
    if captions:
        return "no caption decides a grade that the text leaves open"
    if images:
        return f"{images} pairs have an image, none a caption: run lore-synth --stages visual first"
    return "no pair has an image or a caption"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
