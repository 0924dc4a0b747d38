"""The rulebook: grades, the 18 attribute dimensions, match states and the rules that turn matches into a grade.

`Rulebook.grade(matches)` is a pure function, so adherence can be checked: an answer adheres when the grade its own
matches imply is the grade it gives (RAIR's deterministic rule system, arXiv 2512.24943; the concrete rules are ours).
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from lore_cli.errors import BadInput, Missing
from lore_cli.records import GRADES, STATES, Grade, Match, State
from lore_cli.values import Values, build_values, compare_listed

DEFAULT = Path(__file__).with_name("rulebook.toml")
_NO_VALUES = Values()


@dataclass(frozen=True, slots=True)
class Dimension:
    """An attribute dimension. `keys`: the attribute names under which shops store it; `visual`: a photo is evidence."""

    id: str
    text: str
    zh: str
    derived: bool
    visual: bool
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clause:
    """Holds when the number of matches in `dimensions` with one of `states` lies in [at_least, at_most]."""

    dimensions: frozenset[str]
    states: frozenset[str]
    at_least: int = 1
    at_most: int | None = None

    def holds(self, matches: Sequence[Match]) -> bool:
        count = sum(match.attribute in self.dimensions and match.state in self.states for match in matches)
        return self.at_least <= count and (self.at_most is None or count <= self.at_most)


@dataclass(frozen=True, slots=True)
class Rule:
    """A cap on the grade under a condition, suspended while one of the rules in `unless` applies."""

    id: str
    cap: Grade
    when: tuple[Clause, ...]
    text: dict[str, str]
    unless: tuple[str, ...] = ()
    categories: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rulebook:
    """A loaded rulebook. `hash` identifies its content: verdicts, benchmarks and cache entries carry it."""

    name: str
    version: str
    hash: str
    grades: dict[str, dict[str, str]]
    dimensions: dict[str, Dimension]
    rules: tuple[Rule, ...]
    values: dict[str, Values]
    units: dict[str, dict[str, float]]
    lexicon: dict[str, tuple[str, ...]]
    keys: dict[str, str] = field(default_factory=dict)

    def table(self, dimension: str) -> Values:
        """The value table of a dimension; an empty one when the rulebook lists none."""
        return self.values.get(dimension, _NO_VALUES)

    def dimension_of(self, key: str) -> str | None:
        """The dimension a shop's attribute name belongs to, or None."""
        return self.keys.get(key.casefold().replace("_", " ").strip())

    def compare(self, dimension: str, need: str, found: str, negated: bool = False) -> State:
        """State of a listed need against a listed found value; a negated need is exact when the value differs."""
        state = compare_listed(self.table(dimension), need, found)
        if negated:
            return "conflict" if state == "exact" else "exact"
        return state

    def applying(self, matches: Sequence[Match]) -> tuple[Rule, ...]:
        """The rules that apply to these matches, exceptions taken into account, in rulebook order."""
        category_needs = {self.table("category").name(match.need) for match in matches if match.attribute == "category"}
        met = {
            rule.id: rule
            for rule in self.rules
            if (not rule.categories or rule.categories & category_needs) and all(clause.holds(matches) for clause in rule.when)
        }
        active: dict[str, bool] = {}

        def applies(rule: Rule) -> bool:
            if rule.id not in active:
                active[rule.id] = not any(other in met and applies(met[other]) for other in rule.unless)
            return active[rule.id]

        return tuple(rule for rule in met.values() if applies(rule))

    def grade(self, matches: Sequence[Match]) -> tuple[Grade, tuple[str, ...]]:
        """The grade that matches imply, and the ids of the rules that set it (those whose cap is that grade).

        Raises ValueError for no matches: nothing was asked, so nothing can be judged.
        """
        if not matches:
            raise ValueError("no matches: a query with no need cannot be graded")
        applying = self.applying(matches)
        grade = min((rule.cap for rule in applying), default=GRADES[-1])
        return grade, tuple(rule.id for rule in applying if rule.cap == grade)


@lru_cache(maxsize=8)
def load_rulebook(path: str | Path | None = None) -> Rulebook:
    """Read and check a rulebook; the default one without a path.

    Raises `Missing` for no such file and `BadInput` naming the entry for a cycle, an unknown attribute, grade, state or rule.
    """
    file = Path(path) if path else DEFAULT
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Missing(f"rulebook {file}: {error.strerror}", hint="pass --rulebook FILE, or leave it out for the default") from error
    try:
        data = tomllib.loads(content.decode("utf-8"))
        return _build(data, hashlib.sha256(content).hexdigest()[:16])
    except BadInput as error:
        raise BadInput(error.reason, where=str(file), field=error.field) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"not valid TOML: {error}", where=str(file)) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadInput(f"malformed entry: {error!r}", where=str(file), hint="compare with the default rulebook.toml") from error


def _build(data: dict[str, Any], digest: str) -> Rulebook:
    grades = {grade["id"]: dict(grade["text"]) for grade in data["grades"]}
    if tuple(grades) != GRADES:
        raise BadInput(f"grades are {', '.join(grades)}; they must be {', '.join(GRADES)} in this order", field="grades")
    dimensions = {
        name: Dimension(name, d["text"], d.get("zh", name), d["kind"] == "derived", bool(d.get("visual")), tuple(d.get("keys", ())))
        for name, d in data["dimensions"].items()
    }
    rules = tuple(_rule(rule, dimensions) for rule in data["rules"])
    _check_exceptions(rules)
    for name in data.get("values", {}):
        if name not in dimensions:
            raise BadInput(f"'{name}' is not an attribute dimension ({', '.join(dimensions)})", field=f"values.{name}")
    values = {name: build_values(name, table) for name, table in data.get("values", {}).items()}
    keys = {key.casefold(): d.id for d in dimensions.values() for key in (*d.keys, d.id, d.id.replace("-", " "))}
    units = {kind: {unit: float(factor) for unit, factor in table.items()} for kind, table in data.get("units", {}).items()}
    lexicon = {name: tuple(words) for name, words in data.get("lexicon", {}).items()}
    return Rulebook(data["name"], data["version"], digest, grades, dimensions, rules, values, units, lexicon, keys)


def _rule(data: dict[str, Any], dimensions: dict[str, Dimension]) -> Rule:
    place = f"rules.{data['id']}"
    if data["cap"] not in GRADES:
        raise BadInput(f"cap '{data['cap']}' is not a grade ({', '.join(GRADES)})", field=place)
    clauses = []
    for clause in data["when"]:
        for name in (*clause.get("dimensions", ()), *clause.get("except", ())):
            if name not in dimensions:
                raise BadInput(f"'{name}' is not an attribute dimension ({', '.join(dimensions)})", field=place)
        for state in clause["states"]:
            if state not in STATES:
                raise BadInput(f"'{state}' is not a match state ({', '.join(STATES)})", field=place)
        names = frozenset(clause.get("dimensions", dimensions)) - frozenset(clause.get("except", ()))
        clauses.append(Clause(names, frozenset(clause["states"]), clause.get("at_least", 1), clause.get("at_most")))
    return Rule(data["id"], data["cap"], tuple(clauses), dict(data["text"]), tuple(data.get("unless", ())), frozenset(data.get("categories", ())))


def _check_exceptions(rules: tuple[Rule, ...]) -> None:
    by_id = {rule.id: rule for rule in rules}
    if len(by_id) != len(rules):
        raise BadInput("a rule id is used twice", field="rules")

    def visit(rule: Rule, path: tuple[str, ...]) -> None:
        if rule.id in path:
            raise BadInput(f"exceptions form a cycle: {' > '.join((*path, rule.id))}", field=f"rules.{rule.id}.unless")
        for other in rule.unless:
            if other not in by_id:
                raise BadInput(f"unless names '{other}', which is not a rule", field=f"rules.{rule.id}.unless")
            visit(by_id[other], (*path, rule.id))

    for rule in rules:
        visit(rule, ())
