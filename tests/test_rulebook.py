"""The rulebook: a pure function from matches to a grade, its default rules one by one, and what a broken rulebook is told."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from lore_cli.answer import Answer, adheres, implied
from lore_cli.errors import BadInput, Missing
from lore_cli.records import GRADES, STATES, Match
from lore_cli.rulebook import DEFAULT, load_rulebook

RULEBOOK = load_rulebook()
DERIVED = ("style", "function-effect", "occasion-scene")


def matches(*parts: str) -> tuple[Match, ...]:
    """`colour close` → a match of colour; `category=lipstick exact` names the need."""
    found = []
    for part in parts:
        left, state = part.split(" ")
        attribute, _, need = left.partition("=")
        silent = state in ("unknown", "not-asked")
        found.append(Match(attribute, need or "x", state, None if silent else "y", None if silent else "title"))  # type: ignore[arg-type]
    return tuple(found)


ANY = some.lists(some.builds(Match, some.sampled_from(sorted(RULEBOOK.dimensions)), some.sampled_from(["x", "lipstick", "口红", "sofa"]), some.sampled_from(STATES)), min_size=1, max_size=6)

CASES = {
    "all met": (("category exact", "colour exact"), "L4", ()),
    "one need, met": (("category exact",), "L4", ()),
    "another product": (("category conflict", "colour exact"), "L1", ("R1",)),
    "a part that does not fit": (("category exact", "compatibility conflict"), "L1", ("R2",)),
    "two violated demands": (("category exact", "colour conflict", "material conflict"), "L1", ("R3",)),
    "brand and colour violated are two": (("category exact", "brand conflict", "colour conflict"), "L1", ("R3",)),
    "a wrong product and two violations name both rules": (("category conflict", "colour conflict", "size-specification conflict"), "L1", ("R1", "R3")),
    "the product cannot be told": (("category unknown", "colour exact"), "L2", ("R4",)),
    "one violated demand": (("category exact", "colour conflict"), "L2", ("R5",)),
    "a violated derived demand": (("category exact", "style conflict"), "L2", ("R5",)),
    "untellable product and one violation": (("category unknown", "colour conflict"), "L2", ("R4", "R5")),
    "another brand": (("category exact", "brand conflict"), "L2", ("R6",)),
    "another maker's part that fits": (("category exact", "brand conflict", "compatibility exact"), "L3", ("R7",)),
    "another maker's part whose fit is only close": (("category exact", "brand conflict", "compatibility close"), "L2", ("R6",)),
    "another maker's part whose fit is not told": (("category exact", "brand conflict", "compatibility unknown"), "L2", ("R6",)),
    "a fitting part of another maker, wrong colour": (("brand conflict", "compatibility exact", "colour conflict"), "L1", ("R3",)),
    "a near shade of lipstick": (("category=lipstick exact", "colour close"), "L2", ("R8",)),
    "a near shade, the product by its Chinese synonym": (("category=口红 exact", "colour close"), "L2", ("R8",)),
    "a near colour of a sofa": (("category=sofa exact", "colour close"), "L3", ("R9",)),
    "a near material of paint": (("category=paint exact", "material close"), "L3", ("R9",)),
    "a kind of product close by": (("category close", "colour exact"), "L3", ("R9",)),
    "an observable demand unconfirmed": (("category exact", "colour unknown"), "L3", ("R10",)),
    "close and unconfirmed name both rules": (("category exact", "material close", "colour unknown"), "L3", ("R9", "R10")),
    "an unconfirmed price": (("category exact", "price-condition unknown"), "L3", ("R10",)),
    **{f"an unconfirmed {name} costs nothing": (("category exact", f"{name} unknown"), "L4", ()) for name in DERIVED},
    "what was not asked costs nothing": (("category exact", "colour not-asked"), "L4", ()),
}


@pytest.mark.parametrize("case", CASES)
def test_the_default_rules(case: str):
    parts, grade, rules = CASES[case]
    assert RULEBOOK.grade(matches(*parts)) == (grade, rules)


def test_every_default_rule_is_exercised_above():
    assert {rule for _, _, rules in CASES.values() for rule in rules} == {rule.id for rule in RULEBOOK.rules}


def test_an_exception_suspends_only_its_own_rule():
    suspended = {"R6": "R7", "R9": "R8"}
    assert {rule.id: rule.unless for rule in RULEBOOK.rules if rule.unless} == {rule: (other,) for rule, other in suspended.items()}
    both = matches("category=lipstick exact", "brand conflict", "compatibility exact", "colour close")
    assert [rule.id for rule in RULEBOOK.applying(both)] == ["R7", "R8"]


def test_grading_leaves_its_input_alone_and_repeats_itself():
    given_matches = list(matches("category exact", "colour close", "brand conflict"))
    kept = list(given_matches)
    assert RULEBOOK.grade(given_matches) == RULEBOOK.grade(given_matches) == ("L2", ("R6",))
    assert given_matches == kept


def test_nothing_asked_cannot_be_graded():
    with pytest.raises(ValueError, match="no need"):
        RULEBOOK.grade(())


@given(ANY)
def test_the_grade_is_the_lowest_applying_cap_and_its_rules_have_that_cap(found: list[Match]):
    grade, rules = RULEBOOK.grade(found)
    applying = RULEBOOK.applying(found)
    assert all(grade <= rule.cap for rule in applying)
    assert rules == tuple(rule.id for rule in applying if rule.cap == grade)
    assert bool(rules) == (grade != "L4")


@given(ANY, some.randoms(use_true_random=False))
def test_the_order_of_matches_does_not_matter(found: list[Match], random):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert RULEBOOK.grade(shuffled) == RULEBOOK.grade(found)


@given(ANY, some.sampled_from(sorted(set(RULEBOOK.dimensions) - {"brand", "compatibility"})))
def test_one_more_violation_never_raises_the_grade(found: list[Match], dimension: str):
    assert RULEBOOK.grade([*found, Match(dimension, "x", "conflict", "y", "title")])[0] <= RULEBOOK.grade(found)[0]


@given(ANY)
def test_what_follows_from_the_matches_adheres_and_nothing_else_does(found: list[Match]):
    answer = implied(found, RULEBOOK)
    assert adheres(answer, RULEBOOK)
    for grade in set(GRADES) - {answer.grade}:
        assert not adheres(Answer(answer.matches, answer.rules, grade), RULEBOOK)
    wrong = ("R1",) if answer.rules != ("R1",) else ("R2",)
    assert not adheres(Answer(answer.matches, wrong, answer.grade), RULEBOOK)


def test_an_answer_without_matches_does_not_adhere():
    assert not adheres(Answer((), (), "L4"), RULEBOOK)


def test_an_excluded_value_is_violated_only_by_itself_or_its_kinds():
    assert RULEBOOK.compare("material", "leather", "real leather", negated=True) == "conflict"
    assert RULEBOOK.compare("material", "wood", "oak", negated=True) == "conflict"
    assert RULEBOOK.compare("material", "leather", "suede", negated=True) == "exact"
    assert RULEBOOK.compare("material", "leather", "cotton", negated=True) == "exact"


def test_eighteen_dimensions_with_text_in_both_languages():
    assert len(RULEBOOK.dimensions) == 18
    assert all(dimension.text and dimension.zh and dimension.keys for dimension in RULEBOOK.dimensions.values())
    assert {name for name, dimension in RULEBOOK.dimensions.items() if dimension.derived} == set(DERIVED)
    assert all({"en", "zh"} <= rule.text.keys() for rule in RULEBOOK.rules)


@pytest.mark.parametrize(("key", "dimension"), [("Color", "colour"), ("colour_family", "colour"), (" Fabric ", "material"), ("price", "price-condition"), ("shape-fit", "shape-fit"), ("warranty", None)])
def test_a_shop_s_attribute_names_find_their_dimension(key: str, dimension: str | None):
    assert RULEBOOK.dimension_of(key) == dimension


# ------------------------------------------------------------------------------------------------ what a broken rulebook is told

TEXT = DEFAULT.read_text("utf-8")
RULE = '[[rules]]\nid = "{id}"\ncap = "{cap}"\nwhen = [{when}]\n{more}\ntext.en = "t"\n'


def rule(id: str = "X1", cap: str = "L2", when: str = '{ dimensions = ["colour"], states = ["close"] }', more: str = "") -> str:
    return RULE.format(id=id, cap=cap, when=when, more=more)


def with_rules(*rules: str) -> str:
    """The default rulebook with rules added before its values."""
    head, mark, tail = TEXT.partition("[values.colour]")
    return head + "\n".join(rules) + mark + tail


def with_values(lines: str, table: str = "colour") -> str:
    return TEXT.replace(f"[values.{table}]\n", f"[values.{table}]\n{lines}\n")


def load(tmp_path: Path, text: str):
    file = tmp_path / "rules.toml"
    file.write_text(text, "utf-8")
    return load_rulebook(file)


BROKEN = {
    "unknown attribute in a rule": (with_rules(rule(when='{ dimensions = ["colr"], states = ["close"] }')), "rules.X1", "'colr' is not an attribute dimension"),
    "unknown attribute in except": (with_rules(rule(when='{ except = ["colr"], states = ["close"] }')), "rules.X1", "'colr' is not an attribute dimension"),
    "unknown grade": (with_rules(rule(cap="L5")), "rules.X1", "'L5' is not a grade"),
    "unknown state": (with_rules(rule(when='{ states = ["near"] }')), "rules.X1", "'near' is not a match state"),
    "unknown rule in unless": (with_rules(rule(more='unless = ["X9"]')), "rules.X1.unless", "'X9', which is not a rule"),
    "exceptions in a cycle": (with_rules(rule("X1", more='unless = ["X2"]'), rule("X2", more='unless = ["X1"]')), "unless", "X1 > X2 > X1"),
    "an exception to itself": (with_rules(rule(more='unless = ["X1"]')), "rules.X1.unless", "X1 > X1"),
    "a rule id twice": (with_rules(rule("R1")), "rules", "used twice"),
    "a rule id of two words": (with_rules(rule("X 1")), "rules.X 1", "one word"),
    "a rule called none": (with_rules(rule("none")), "rules.none", "one word other than 'none'"),
    "unlisted category": (with_rules(rule(more='categories = ["lipstik"]')), "rules.X1.categories", "'lipstik' is not a listed category"),
    "misspelt key in a rule": (with_rules(rule(more='unles = ["R1"]')), "rules.X1", "'unles' is unknown here"),
    "misspelt key in a clause": (with_rules(rule(when='{ states = ["close"], atleast = 2 }')), "rules.X1", "'atleast' is unknown here"),
    "no clause": (with_rules(rule(when="")), "rules.X1", "would always apply"),
    "bounds that cross": (with_rules(rule(when='{ states = ["close"], at_least = 3, at_most = 2 }')), "rules.X1", "at_least 3, at_most 2"),
    "a bound that is no number": (with_rules(rule(when='{ states = ["close"], at_least = "2" }')), "rules.X1", "at_least '2'"),
    "a rule without English": (with_rules(rule()).replace('text.en = "t"', 'text.zh = "t"'), "rules.X1", "text.en is required"),
    "values of an unknown attribute": (TEXT + '\n[values.smell]\nrose = {}\n', "values.smell", "'smell' is not an attribute dimension"),
    "crossing synonyms": (with_values('indigo = { synonyms = ["dark blue"] }'), "values.colour.navy.synonyms", "listed under both 'indigo' and 'navy'"),
    "synonyms in a cycle": (with_values('indigo = { synonyms = ["inky"] }\ninky = { synonyms = ["indigo"] }'), "values.colour.inky.synonyms", "form a cycle"),
    "kinds in a cycle": (with_values('indigo = { kinds = ["inky"] }\ninky = { kinds = ["indigo"] }'), "kinds", "kinds form a cycle"),
    "a close value that is not listed": (with_values('indigo = { close = ["ink"] }'), "values.colour.indigo.close", "'ink' is not a value of this table"),
    "a close value by its synonym": (with_values('indigo = { close = ["dark blue"] }'), "values.colour.indigo.close", "'dark blue' is not a value of this table"),
    "close and distinct": (with_values('indigo = { close = ["navy"], distinct = ["navy"] }'), "values.colour.indigo", "both close and distinct"),
    "close here, distinct there": (with_values('indigo = { close = ["inky"] }\ninky = { distinct = ["indigo"] }'), "values.colour.indigo", "both close and distinct"),
    "misspelt relation": (with_values('indigo = { synonims = ["inky"] }'), "values.colour.indigo", "'synonims' is unknown here"),
    "synonyms as one text": (with_values('indigo = { synonyms = "inky" }'), "values.colour.indigo", "a list of texts is needed"),
    "a value without a table": (with_values('indigo = "inky"'), "values.colour.indigo", "a table is needed"),
    "a lexicon entry as one text": (TEXT.replace('absence = ["free"]', 'absence = "free"'), "lexicon.absence", "a list of texts is needed"),
    "an unknown section": ('colours = 1\n' + TEXT, "rulebook", "'colours' is unknown here"),
    "another set of grades": (TEXT.replace('id = "L4"', 'id = "L9"', 1), "grades", "must be L1, L2, L3, L4"),
    "an attribute name that no answer can hold": (TEXT.replace("ip-theme = { kind", "ip_theme = { kind"), "dimensions.ip_theme", "lower-case letters and hyphens"),
    "an unknown kind of attribute": (TEXT.replace('ip-theme = { kind = "inherent"', 'ip-theme = { kind = "inherited"'), "dimensions.ip-theme", "'inherited' is unknown"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rulebook_is_refused_naming_the_entry(case: str, tmp_path: Path):
    text, field, reason = BROKEN[case]
    with pytest.raises(BadInput) as problem:
        load(tmp_path, text)
    assert problem.value.where == str(tmp_path / "rules.toml")
    assert field in problem.value.field and reason in problem.value.reason


@pytest.mark.parametrize("text", ["name = ", "\x00", "name = 'x'\n", "grades = 3\nname='x'\n", TEXT.replace('cm = 1,', 'cm = "one",')])
def test_what_is_no_rulebook_is_bad_input_not_a_traceback(text: str, tmp_path: Path):
    with pytest.raises(BadInput, match="rules.toml"):
        load(tmp_path, text)


def test_bytes_that_are_no_text_and_no_file(tmp_path: Path):
    (tmp_path / "rules.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(BadInput, match="not valid TOML"):
        load_rulebook(tmp_path / "rules.toml")
    with pytest.raises(Missing, match="nothing.toml"):
        load_rulebook(tmp_path / "nothing.toml")


def test_an_added_rule_holds_for_its_category_by_any_of_its_names(tmp_path: Path):
    rulebook = load(tmp_path, with_rules(rule(cap="L1", more='categories = ["Couch"]')))
    assert rulebook.grade(matches("category=sofa exact", "colour close")) == ("L1", ("X1",))
    assert rulebook.grade(matches("category=沙发 exact", "colour close")) == ("L1", ("X1",))
    assert rulebook.grade(matches("category=rug exact", "colour close")) == ("L3", ("R9",))
    assert rulebook.hash != RULEBOOK.hash


def test_an_exception_to_an_exception_restores_the_rule(tmp_path: Path):
    one = '{ dimensions = ["colour"], states = ["conflict"] }'
    chain = [rule("X1", "L1", one, 'unless = ["X2"]'), rule("X2", "L3", '{ dimensions = ["style"], states = ["exact"] }', 'unless = ["X3"]')]
    chain.append(rule("X3", "L3", '{ dimensions = ["audience"], states = ["exact"] }'))
    rulebook = load(tmp_path, with_rules(*chain))
    ids = lambda *parts: [found.id for found in rulebook.applying(matches(*parts)) if found.id.startswith("X")]  # noqa: E731
    assert ids("colour conflict") == ["X1"]
    assert ids("colour conflict", "style exact") == ["X2"]
    assert ids("colour conflict", "style exact", "audience exact") == ["X1", "X3"]


def test_bounds_count_matches(tmp_path: Path):
    rulebook = load(tmp_path, with_rules(rule(cap="L1", when='{ except = ["category"], states = ["close"], at_least = 2, at_most = 3 }')))
    names = ("colour", "material", "style", "pattern")
    grades = [rulebook.grade(matches("category exact", *(f"{name} close" for name in names[:count])))[0] for count in range(5)]
    assert grades == ["L4", "L3", "L1", "L1", "L3"]


@settings(max_examples=60)
@given(some.lists(some.sampled_from([f"{d} {s}" for d, s in itertools.product(("colour", "brand", "compatibility"), ("exact", "close", "conflict"))]), min_size=1, max_size=4))
def test_without_rules_about_them_everything_is_a_perfect_match(parts: list[str]):
    quiet = dataclasses.replace(RULEBOOK, rules=())
    assert quiet.grade(matches(*parts)) == ("L4", ())
