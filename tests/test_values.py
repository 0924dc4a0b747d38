"""Value tables and measurements: the relations of the default rulebook, and numbers with units."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lore_cli.path.knowledge import vocabulary
from lore_cli.path.measures import measures
from lore_cli.path.text import number_text, tokenise
from lore_cli.rulebook import load_rulebook
from lore_cli.values import Values, build_values, compare_listed, compare_quantity, quantities

RULEBOOK = load_rulebook()
COLOURS = RULEBOOK.table("colour")
EVERY = [(dimension, value) for dimension, table in RULEBOOK.values.items() for value in sorted(set(table.canonical.values()))]

COMPARED = [
    ("colour", "navy", "dark blue", "exact"),
    ("colour", "Navy  Blue", "藏青", "exact"),
    ("colour", "blue", "sky blue", "exact"),  # a kind of what was asked
    ("colour", "sky blue", "blue", "close"),  # the broader value
    ("colour", "lake blue", "sky blue", "conflict"),
    ("colour", "湖蓝", "天蓝", "conflict"),
    ("colour", "navy", "lake blue", "conflict"),
    ("colour", "lake blue", "teal", "close"),
    ("colour", "teal", "lake blue", "close"),  # close both ways
    ("colour", "grey", "charcoal", "exact"),
    ("colour", "red", "green", "conflict"),
    ("material", "leather", "faux leather", "conflict"),  # one name contains the other
    ("material", "metal", "stainless steel", "exact"),
    ("category", "sofa", "sleeper sofa", "exact"),
    ("category", "sofa bed", "couch", "close"),
    ("category", "loveseat", "sofa bed", "conflict"),
    ("category", "sofa", "sofa cover", "conflict"),
    ("shape-fit", "slim", "loose", "conflict"),
    ("shape-fit", "regular", "slim", "close"),
]


@pytest.mark.parametrize(("dimension", "need", "found", "state"), COMPARED)
def test_how_a_found_value_satisfies_a_needed_one(dimension: str, need: str, found: str, state: str):
    assert RULEBOOK.compare(dimension, need, found) == state


@pytest.mark.parametrize(("dimension", "value"), EVERY, ids=lambda part: part)
def test_every_value_is_exactly_itself_under_all_its_names(dimension: str, value: str):
    for form in RULEBOOK.table(dimension).surfaces(value):
        assert RULEBOOK.compare(dimension, value, form.upper()) == RULEBOOK.compare(dimension, form, value) == "exact"


@given(some.sampled_from(sorted(COLOURS.canonical)), some.sampled_from(sorted(COLOURS.canonical)))
def test_a_conflict_is_mutual_and_so_is_a_near_colour(left: str, right: str):
    there, back = RULEBOOK.compare("colour", left, right), RULEBOOK.compare("colour", right, left)
    assert (there == "conflict") == (back == "conflict")
    assert there == back or {there, back} == {"exact", "close"}  # a kind and its broader value


def test_kinds_of_kinds_count():
    table = build_values("material", {"wood": {"kinds": ["hardwood"]}, "hardwood": {"kinds": ["oak"]}, "oak": {}})
    assert compare_listed(table, "wood", "oak") == "exact"
    assert compare_listed(table, "oak", "wood") == "close"


def test_values_that_no_table_lists_compare_by_their_folded_text():
    assert compare_listed(Values(), "Mahogany ", "mahogany") == "exact"
    assert compare_listed(Values(), "mahogany", "teak") == "conflict"


MEASURED = [
    ("6 ft hose", [("length", 182.88)]),
    ("1/2 in pipe", [("length", 1.27)]),
    ("1-1/2 inch pipe", [("length", 3.81)]),
    ("500ml", [("volume", 500)]),
    ("2 l kettle", [("volume", 2000)]),
    ("12-pack", [("count", 12)]),
    ("size 8", [("", 8)]),
    ("no number", []),
    ("1/0 in", []),
    ("8 sq ft", [("area", 8)]),
]


@pytest.mark.parametrize(("text", "expected"), MEASURED)
def test_measurements_in_a_short_text(text: str, expected: list):
    assert [(kind, pytest.approx(amount)) for kind, amount in expected] == quantities(text, RULEBOOK.units)


READ = [
    ("3/4 in. x 10 ft. pipe", [("length", 1.905), ("length", 304.8)]),
    ("36x34.5x24 in cabinet", [("length", 91.44), ("length", 87.63), ("length", 60.96)]),
    ("1 1/2 in. elbow", [("length", 3.81)]),
    ("1-1/2 in. elbow", [("length", 3.81)]),
    ('5" x 7\' rug', [("length", 12.7), ("length", 213.36)]),
    ("pack of 12", [("count", 12)]),
    ("8,000 btu", [("heat", 8000)]),
    ("2 in 1", [("", 2), ("", 1)]),
    ("500毫升", [("volume", 500)]),
    ("５００毫升", [("volume", 500)]),
    ("½ in", [("length", 1.27)]),
    (".5 gal", [("volume", 1892.5)]),
    ("18 fl oz", [("volume", 532.26)]),
    ("1/0 gauge", [("gauge", math.nan)]),
]


@pytest.mark.parametrize(("text", "expected"), READ)
def test_measurements_as_the_expert_reads_them(text: str, expected: list):
    found = measures(tokenise(text), vocabulary(RULEBOOK))
    assert [(measure.kind, measure.amount) for measure in found] == [(kind, pytest.approx(amount, nan_ok=True)) for kind, amount in expected]


@given(some.integers(0, 40), some.integers(1, 15), some.sampled_from([2, 4, 8, 16]))
def test_a_mixed_fraction_is_its_sum(whole: int, top: int, bottom: int):
    assert float(number_text(f"{whole}-{top}/{bottom}")) == pytest.approx(whole + top / bottom)
    assert number_text(f"{whole} {top}/{bottom}") == number_text(f"{whole}-{top}/{bottom}")


@pytest.mark.parametrize(
    ("need", "found", "expected"),
    [
        (("length", 100.0), [("length", 100.9)], ("exact", 0)),
        (("length", 100.0), [("length", 109.0)], ("close", 0)),
        (("length", 100.0), [("length", 120.0)], ("conflict", 0)),
        (("length", 100.0), [("length", 150.0), ("length", 104.0), ("length", 100.0)], ("exact", 2)),
        (("length", 100.0), [("volume", 100.0)], None),
        (("length", 100.0), [], None),
        (("count", 0.0), [("count", 0.0)], ("exact", 0)),
        (("gauge", math.nan), [("gauge", 1.0)], ("conflict", 0)),
    ],
)
def test_the_best_state_among_found_measurements(need, found, expected):
    assert compare_quantity(need, found) == expected


@given(some.floats(0.1, 1e4), some.sampled_from([("in", "cm", 2.54), ("ft", "in", 12), ("l", "ml", 1000), ("kg", "g", 1000), ("kw", "w", 1000)]))
def test_one_measurement_in_two_units_is_exact(amount: float, units: tuple[str, str, float]):
    large, small, factor = units
    (need,), found = quantities(f"{amount:.4f} {large}", RULEBOOK.units), quantities(f"{amount * factor:.4f} {small}", RULEBOOK.units)
    assert compare_quantity(need, found) == ("exact", 0)
