"""The rulebook: grades, the 18 attribute dimensions, match states and the rules that turn matches into a grade.

`Rulebook.grade(matches)` is a pure function, so adherence can be checked: an answer adheres when the grade its own
matches imply is the grade it gives (RAIR's deterministic rule system, arXiv 2512.24943; the concrete rules are ours).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from lore_cli.errors import BadInput, Missing
from lore_cli.records import GRADES, STATES, Grade, Match, State
from lore_cli.values import Values, build_values, check_keys, compare_listed, texts

DEFAULT = Path(__file__).with_name("rulebook.toml")
_NO_VALUES = Values()
_REMEMBERED = 65_536  # grades kept, by what their matches look like to rules


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
    _graded: dict[tuple[tuple[str, str, str], ...], tuple[Grade, tuple[str, ...]]] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        seen = tuple((match.attribute, match.state, match.need if match.attribute == "category" else "") for match in matches)  # all that rules look at
        if seen not in self._graded:
            applying = self.applying(matches)
            grade = min((rule.cap for rule in applying), default=GRADES[-1])
            if len(self._graded) >= _REMEMBERED:
                self._graded.clear()
            self._graded[seen] = grade, tuple(rule.id for rule in applying if rule.cap == grade)
        return self._graded[seen]


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
    check_keys(data, ("name", "version", "grades", "dimensions", "rules", "values", "units", "lexicon"), "rulebook")
    grades = {grade["id"]: _said(grade, f"grades.{grade['id']}") for grade in data["grades"]}
    if tuple(grades) != GRADES:
        raise BadInput(f"grades are {', '.join(grades)}; they must be {', '.join(GRADES)} in this order", field="grades")
    dimensions = {name: _dimension(name, entry) for name, entry in data["dimensions"].items()}
    for name in data.get("values", {}):
        if name not in dimensions:
            raise BadInput(f"'{name}' is not an attribute dimension ({', '.join(dimensions)})", field=f"values.{name}")
    values = {name: build_values(name, table) for name, table in data.get("values", {}).items()}
    rules = tuple(_rule(rule, dimensions, values.get("category", _NO_VALUES)) for rule in data["rules"])
    _check_exceptions(rules)
    keys = {key.casefold(): d.id for d in dimensions.values() for key in (*d.keys, d.id, d.id.replace("-", " "))}
    units = {kind: {unit: float(factor) for unit, factor in table.items()} for kind, table in data.get("units", {}).items()}
    lexicon = {name: texts(data["lexicon"], name, f"lexicon.{name}") for name in data.get("lexicon", {})}
    return Rulebook(data["name"], data["version"], digest, grades, dimensions, rules, values, units, lexicon, keys)


def _dimension(name: str, entry: dict[str, Any]) -> Dimension:
    place = f"dimensions.{name}"
    check_keys(entry, ("kind", "visual", "zh", "keys", "text"), place)
    if not re.fullmatch("[a-z-]+", name):
        raise BadInput("an attribute name is lower-case letters and hyphens: answers are read back by it", field=place)
    if entry["kind"] not in ("inherent", "derived"):
        raise BadInput(f"kind '{entry['kind']}' is unknown (inherent, derived)", field=place)
    return Dimension(name, entry["text"], entry.get("zh", name), entry["kind"] == "derived", bool(entry.get("visual")), texts(entry, "keys", place))


def _said(entry: dict[str, Any], place: str) -> dict[str, str]:
    """The text per language that prompts show; English is what every other language falls back to."""
    if not str(entry["text"].get("en", "")).strip():
        raise BadInput("text.en is required", field=place)
    return dict(entry["text"])


def _rule(data: dict[str, Any], dimensions: dict[str, Dimension], categories: Values) -> Rule:
    place = f"rules.{data['id']}"
    check_keys(data, ("id", "cap", "when", "unless", "categories", "text"), place)
    if data["id"] == "none" or not re.fullmatch(r"\S+", data["id"]):
        raise BadInput("a rule id is one word other than 'none': answers cite it", field=place)
    if data["cap"] not in GRADES:
        raise BadInput(f"cap '{data['cap']}' is not a grade ({', '.join(GRADES)})", field=place)
    limited = frozenset(categories.name(name) for name in texts(data, "categories", place))
    for name in sorted(limited - set(categories.canonical.values())):
        raise BadInput(f"'{name}' is not a listed category", field=f"{place}.categories", hint=f'add [values.category."{name}"]')
    clauses = tuple(_clause(clause, dimensions, place) for clause in data["when"])
    if not clauses:
        raise BadInput("'when' is empty: the rule would always apply", field=place)
    return Rule(data["id"], data["cap"], clauses, _said(data, place), texts(data, "unless", place), limited)


def _clause(data: dict[str, Any], dimensions: dict[str, Dimension], place: str) -> Clause:
    check_keys(data, ("dimensions", "except", "states", "at_least", "at_most"), place)
    for name in (*texts(data, "dimensions", place), *texts(data, "except", place)):
        if name not in dimensions:
            raise BadInput(f"'{name}' is not an attribute dimension ({', '.join(dimensions)})", field=place)
    for state in texts(data, "states", place):
        if state not in STATES:
            raise BadInput(f"'{state}' is not a match state ({', '.join(STATES)})", field=place)
    least, most = data.get("at_least", 1), data.get("at_most")
    if type(least) is not int or (most is not None and (type(most) is not int or most < least)):
        raise BadInput(f"at_least {least!r}, at_most {most!r}: two numbers of matches are needed, the smaller first", field=place)
    names = frozenset(data.get("dimensions", dimensions)) - frozenset(data.get("except", ()))
    return Clause(names, frozenset(data["states"]), least, most)


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
