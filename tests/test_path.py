"""The deterministic expert: what a query asks for, what an item says and where, how the two are held against each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lore_cli.answer import implied, need_text, parse, render
from lore_cli.errors import BadInput, Missing
from lore_cli.path.evidence import gather
from lore_cli.path.follow import Reading, follow
from lore_cli.path.knowledge import Entry, Glossary, load_glossary, vocabulary
from lore_cli.path.lexical import overlap
from lore_cli.path.needs import construct
from lore_cli.path.text import edits, near
from lore_cli.records import Item, Need
from lore_cli.rulebook import load_rulebook

RULEBOOK = load_rulebook()
GLOSSARY = Glossary(
    (
        Entry("morning C evening A", (Need("category", "serum"), Need("ingredient-component", "vitamin c"), Need("ingredient-component", "retinol"))),
        Entry("早C晚A", (Need("category", "serum"), Need("ingredient-component", "vitamin c"))),
        Entry("zelmaro", (Need("brand", "zelmaro"),)),
        Entry("midnight", (Need("colour", "navy"),)),
    ),
    "test-glossary",
)


def needs(query: str, glossary: Glossary = GLOSSARY) -> list[str]:
    return [f"{need.attribute} = {need_text(need)}" for need in construct(query, RULEBOOK, glossary)]


QUERIES = {
    # negation
    "not leather sofa": ["category = sofa", "material = not leather"],
    "sofa no leather or velvet": ["category = sofa", "material = not leather", "material = not velvet"],
    "vitamin c free serum": ["category = serum", "ingredient-component = not vitamin c"],
    "mug without lid": ["category = mug", "ingredient-component = not lid"],
    "不要皮革的沙发": ["category = sofa", "material = not leather"],
    "sofa bed without arms": ["category = sofa bed", "shape-fit = armless"],  # its own listed value
    # units and numbers
    "3/4 in hose": ["category = hose", "size-specification = 3/4 in"],
    "1-1/2 inch pipe": ["category = pipe", "size-specification = 1-1/2 inch"],
    "6 ft x 8 ft rug": ["category = rug", "size-specification = 6 ft", "size-specification = 8 ft"],
    "pack of 12 mugs": ["category = mug", "quantity-package = pack of 12"],
    "500毫升 精华": ["category = serum", "size-specification = 500毫升"],
    # price
    "sofa under 300": ["category = sofa", "price-condition = under 300"],
    "desk lamp over $20": ["category = desk lamp", "price-condition = over 20"],
    "低于40元马克杯": ["category = mug", "price-condition = under 40"],
    "40元以下马克杯": ["category = mug", "price-condition = under 40"],
    "dress under 40 in": ["category = dress", "size-specification = 40 in"],  # a number with a unit is no price
    # misspelling
    "shrit for men": ["category = shirt", "audience = men"],
    "lether sofa": ["category = sofa", "material = leather"],
    "headphnoes": ["category = headphones"],
    "pillow covr": ["category = cushion cover"],
    "short skirt": ["category = skirt", "function-effect = short"],  # a real word is left alone
    # glossary
    "morning c evening a": ["category = serum", "ingredient-component = vitamin c", "ingredient-component = retinol"],
    "早C晚A": ["category = serum", "ingredient-component = vitamin c"],
    "zelmaro sneakers": ["category = sneakers", "brand = zelmaro"],
    "midnight rug": ["category = rug", "colour = navy"],
    # Chinese
    "红色连衣裙": ["category = dress", "colour = red"],
    "手机壳": ["category = phone case"],
    "适用于手机的充电器": ["category = charger", "compatibility = phone"],
    # the product and what it is for
    "cover for sofa bed": ["category = sofa cover", "compatibility = sofa bed"],
    "sofa cover": ["category = sofa cover"],
    "curtain rod": ["category = curtain rod"],
    "oven combo": ["category = oven"],
    "oven combo 30 in": ["category = oven", "size-specification = 30 in"],
    "combo": ["category = combo"],
    "heavy duty hinge": ["category = hinge", "function-effect = heavy duty"],
    "iphone 14 case": ["category = case", "series-model = iphone 14"],
    "phone case for iphone 14": ["category = phone case", "compatibility = iphone 14"],
    "bosch printer ink": ["category = ink cartridge", "brand = bosch"],
    "women's running shoes": ["category = sneakers", "audience = women"],
    # values by their longest name
    "sky blue rug": ["category = rug", "colour = sky blue"],
    "dark blue faux leather sofa": ["category = sofa", "colour = navy", "material = faux leather"],
    "ＮＡＶＹ　ｓｏｆａ": ["category = sofa", "colour = navy"],
    "navy navy sofa": ["category = sofa", "colour = navy"],
}


@pytest.mark.parametrize("query", QUERIES)
def test_what_a_query_asks_for(query: str):
    assert needs(query) == QUERIES[query]


@pytest.mark.parametrize("query", ["the", "a of", "!!!", "🙂", "without", "no", "40", "'s", "x;y=[z]"])
def test_a_query_of_nothing_in_particular_still_has_a_need(query: str):
    assert needs(query)


def judged(query: str, **item: object) -> tuple[str, list[str]]:
    """(grade, matches as text) of a query and an item."""
    matches = follow(construct(query, RULEBOOK, GLOSSARY), Item("1", **item), RULEBOOK, GLOSSARY)  # type: ignore[arg-type]
    lines = [f"{m.attribute}: {m.state}" + (f" {m.found} [{m.source}]" if m.found else "") for m in matches]
    return RULEBOOK.grade(matches)[0], lines


FOLLOWED = [
    # exact by synonym, kind, another language
    ("navy sofa bed", {"title": "Sleeper Sofa, dark blue"}, "L4", ["category: exact sleeper sofa [title]", "colour: exact dark blue [title]"]),
    ("blue sofa", {"title": "Loveseat", "attributes": {"Color": "Navy"}}, "L4", ["category: exact loveseat [title]", "colour: exact navy [attributes]"]),
    ("红色连衣裙 棉", {"title": "red cotton frock"}, "L4", ["category: exact frock [title]", "colour: exact red [title]", "material: exact cotton [title]"]),
    # near, distinct, silent
    ("lake blue rug", {"title": "teal rug"}, "L3", ["category: exact rug [title]", "colour: close teal [title]"]),
    ("sky blue rug", {"title": "lake blue rug"}, "L2", ["category: exact rug [title]", "colour: conflict lake blue [title]"]),
    ("sky blue rug", {"title": "rug"}, "L3", ["category: exact rug [title]", "colour: unknown"]),
    ("rose lipstick", {"title": "Lipstick", "attributes": {"color": "pink"}}, "L2", ["category: exact lipstick [title]", "colour: close pink [attributes]"]),
    # where it is said: the item's own fields before the caption, that before the description
    ("striped rug", {"title": "rug", "caption": "striped navy"}, "L4", ["category: exact rug [title]", "pattern: exact striped [caption]"]),
    ("striped rug", {"title": "rug", "attributes": {"pattern": "plain"}, "caption": "striped navy"}, "L2", ["category: exact rug [title]", "pattern: conflict plain [attributes]"]),
    ("navy rug", {"title": "rug", "caption": "plain red", "description": "navy"}, "L2", ["category: exact rug [title]", "colour: conflict red [caption]"]),
    ("rug for bedroom", {"title": "rug", "description": "for your bedroom"}, "L4", ["category: exact rug [title]", "occasion-scene: exact bedroom [description]"]),
    # negated
    ("not leather sofa", {"title": "Genuine leather sofa"}, "L2", ["category: exact sofa [title]", "material: conflict genuine leather [title]"]),
    ("not leather sofa", {"title": "Faux leather sofa"}, "L4", ["category: exact sofa [title]", "material: exact faux leather [title]"]),
    ("not leather sofa", {"title": "Sofa"}, "L3", ["category: exact sofa [title]", "material: unknown"]),
    ("leather sofa", {"title": "Sofa, not leather"}, "L3", ["category: exact sofa [title]", "material: unknown"]),  # the text denies it
    # accessory against main item, both ways
    ("sofa", {"title": "Velvet cover for sofa"}, "L1", ["category: conflict cover [title]"]),
    ("sofa cover", {"title": "Velvet sofa"}, "L1", ["category: conflict sofa [title]"]),
    ("phone", {"title": "Phone case"}, "L1", ["category: conflict phone case [title]"]),
    ("cover for sofa bed", {"title": "Slipcover for sofa beds"}, "L4", ["category: exact slipcover [title]", "compatibility: exact sofa beds [title]"]),
    # brands and substitutes
    ("bosch vacuum cleaner", {"title": "Vacuum cleaner", "brand": "Dyson"}, "L2", ["category: exact vacuum cleaner [title]", "brand: conflict dyson [brand]"]),
    ("bosch vacuum cleaner", {"title": "Hoover", "brand": "Bosch Professional"}, "L4", ["category: exact hoover [title]", "brand: exact bosch professional [brand]"]),
    ("bosch vacuum cleaner", {"title": "Vacuum cleaner"}, "L3", ["category: exact vacuum cleaner [title]", "brand: unknown"]),
    # what it fits
    ("phone case for iphone 14", {"title": "Phone case for iPhone 14"}, "L4", ["category: exact phone case [title]", "compatibility: exact iphone 14 [title]"]),
    ("phone case for iphone 14", {"title": "Phone case for Galaxy S22"}, "L1", ["category: exact phone case [title]", "compatibility: conflict galaxy s22 [title]"]),
    ("phone case for iphone 14", {"title": "Phone case", "attributes": {"fits": "all models"}}, "L4", ["category: exact phone case [title]", "compatibility: exact all models [attributes]"]),
    # measurements and price
    ("10 ft garden hose", {"title": "Garden hose 120 in"}, "L4", ["category: exact hose [title]", "size-specification: exact 120 in [title]", "occasion-scene: exact garden [title]"]),
    ("10 ft rug", {"title": "Rug 3 m"}, "L3", ["category: exact rug [title]", "size-specification: close 3 m [title]"]),
    ("10 ft rug", {"title": "Rug 25 ft."}, "L2", ["category: exact rug [title]", "size-specification: conflict 25 ft [title]"]),
    ("10 ft rug", {"title": "Rug 25 ft. x 2 ft."}, "L3", ["category: exact rug [title]", "size-specification: unknown"]),  # a title names few of an item's lengths
    ("10 ft rug", {"title": "Rug", "attributes": {"size": "25 ft x 2 ft"}}, "L2", ["category: exact rug [title]", "size-specification: conflict 25 ft [attributes]"]),
    ("sofa under 300", {"title": "Sofa", "price": 300.0}, "L4", ["category: exact sofa [title]", "price-condition: exact 300 [price]"]),
    ("sofa under 300", {"title": "Sofa", "price": 300.5}, "L2", ["category: exact sofa [title]", "price-condition: conflict 300.5 [price]"]),
    ("sofa under 300", {"title": "Sofa"}, "L3", ["category: exact sofa [title]", "price-condition: unknown"]),
    # glossary terms in the item
    ("navy rug", {"title": "midnight rug"}, "L4", ["category: exact rug [title]", "colour: exact midnight [title]"]),
    # words in other forms: inflected, compounds, misspelt
    ("fence railing", {"title": "fence rail"}, "L4", ["category: exact fence rail [title]"]),
    ("oak book case", {"title": "Oak Bookcase"}, "L4", ["category: exact bookcase [title]", "material: exact oak [title]"]),
    ("stubby driver", {"title": "Screwdriver"}, "L4", ["category: exact screwdriver [title]"]),
    ("lawnmower", {"title": "21 in. Gas Mower"}, "L4", ["category: exact mower [title]"]),
    ("yard door", {"title": "Outdoor Bench"}, "L1", ["category: conflict bench [title]"]),
    ("unbralla", {"title": "9 ft. Umbrella"}, "L4", ["category: exact umbrella [title]"]),
    ("unbralla", {"title": "Unbreakable Bowl"}, "L1", ["category: conflict bowl [title]"]),
    # what the title calls the product, and what it merely mentions
    ("storage bench", {"title": "Cedar Bench"}, "L4", ["category: exact bench [title]"]),
    ("storage bench", {"title": "Bench Vise"}, "L3", ["category: close bench [title]"]),
    ("shelf organizer", {"title": "Organizer Set (3-Piece)"}, "L4", ["category: exact organizer [title]"]),
    ("garage grinder", {"title": "Drill/Grinder Combo with Case"}, "L4", ["category: exact grinder [title]"]),
    ("bench sawdust", {"title": "Oak Bench"}, "L3", ["category: close bench [title]"]),
    ("brass mortise lever knob", {"title": "Mortise Lever"}, "L3", ["category: close lever [title]", "material: unknown", "series-model: exact mortise [title]"]),
]


@pytest.mark.parametrize(("query", "item", "grade", "lines"), FOLLOWED, ids=[f"{query} | {item['title']}" for query, item, _, _ in FOLLOWED])
def test_the_path_is_followed(query: str, item: dict, grade: str, lines: list[str]):
    assert judged(query, **item) == (grade, lines)


def test_two_words_of_an_item_may_be_one_of_the_query():
    grade, (line,) = judged("doorknob", title="brass door knob")
    assert grade == "L4" and line.startswith("category: exact door")


def test_an_item_that_answers_to_nothing_is_another_product_unless_read_with_caution():
    asked, item = construct("garden gnome", RULEBOOK), Item("1", "Ceiling fan 52 in")
    assert [match.state for match in follow(asked, item, RULEBOOK)][0] == "conflict"
    assert follow(asked, item, RULEBOOK, reading=Reading(other="never"))[0].state == "unknown"


def test_evidence_names_its_sources_in_the_order_of_trust():
    item = Item("1", "Striped sofa", brand="Acme", attributes={"colour": "navy"}, caption="checked blue", description="made of oak", price=20.0)
    found = [(piece.attribute, piece.value, piece.source) for piece in gather(item, RULEBOOK)]
    assert ("colour", "navy", "attributes") in found and ("colour", "blue", "caption") in found and ("material", "oak", "description") in found
    assert ("category", "sofa", "title") in found and ("brand", "Acme", "brand") in found and ("price-condition", "20", "price") in found
    assert [piece for piece in found if piece[0] == "pattern"] == [("pattern", "striped", "title"), ("pattern", "checked", "caption")]


def test_evidence_can_be_limited_to_what_was_asked():
    item = Item("1", "Striped navy sofa")
    assert {piece.attribute for piece in gather(item, RULEBOOK, construct("navy sofa", RULEBOOK))} == {"category", "colour"}


QUERY_WORDS = some.sampled_from(["navy", "sofa", "not", "without", "for", "under", "40", "1/2", "in", "with", "x", "of", "pack", "红色", "不要", "用", "的", "沙发", "iphone", "free", ";", "grade: L4", "cover", "'s", "zelmaro", "1/0"])
TEXTS = some.one_of(some.lists(QUERY_WORDS, min_size=1, max_size=7).map(" ".join), some.text(min_size=1, max_size=25))


@given(TEXTS, TEXTS, some.dictionaries(some.sampled_from(["color", "fits", "type", "size", "x"]), TEXTS, max_size=3), some.none() | TEXTS)
def test_any_query_and_item_give_an_answer_that_can_be_written_and_read(query: str, title: str, attributes: dict, brand: str | None):
    asked = construct(query, RULEBOOK, GLOSSARY)
    item = Item("1", title, brand=brand, attributes=attributes, description=query, price=3.0)
    matches = follow(asked, item, RULEBOOK, GLOSSARY)
    assert [(match.attribute, match.need) for match in matches] == [(need.attribute, need_text(need)) for need in asked]
    assert all((match.state == "unknown") == (match.found is None) for match in matches)
    answer = implied(matches, RULEBOOK)
    assert parse(render(answer), RULEBOOK) == answer


@given(some.text("abcde", min_size=1, max_size=6), some.text("abcde", min_size=1, max_size=6))
def test_near_is_mutual_and_means_one_edit(left: str, right: str):
    assert near(left, right) == near(right, left)
    assert near(left, left) and near(left, left + "z") and near("x" + left, left)


@given(some.text("abc", max_size=5), some.text("abc", max_size=5))
def test_edits_are_counted_alike_both_ways_and_agree_with_near(left: str, right: str):
    assert edits(left, right, 2) == edits(right, left, 2)
    assert (edits(left, right, 1) <= 1) == near(left, right)
    assert edits(left + "xy", left, 2) == 2 and edits(left + "xyz", left, 2) == 3


def test_overlap_is_the_share_of_query_words():
    item = Item("1", "Navy sofas", attributes={"material": "velvet"})
    assert overlap("navy velvet sofa", item) == 1.0 and overlap("navy rug", item) == 0.5 and overlap("!!!", item) == 0.0


def test_a_glossary_file_is_checked_line_by_line(tmp_path):
    file = tmp_path / "glossary.jsonl"
    file.write_text('{"term": "zed", "needs": [{"attribute": "brand", "value": "zed"}]}\n\n{"term": "", "needs": []}\n')
    with pytest.raises(BadInput, match=r"glossary.jsonl:3: .*required"):
        load_glossary([file])
    file.write_text('{"term": 3}')
    with pytest.raises(BadInput, match="glossary.jsonl:1: "):
        load_glossary([file])
    with pytest.raises(Missing, match="nothing.jsonl"):
        load_glossary([tmp_path / "nothing.jsonl"])
    file.write_text('{"term": "zed", "needs": [{"attribute": "smell", "value": "rose"}]}')
    with pytest.raises(BadInput, match="glossary term 'zed'.*'smell' is not an attribute dimension"):
        vocabulary(RULEBOOK, load_glossary([file]))


def test_a_glossary_is_known_by_its_content(tmp_path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    for file, value in ((one, "zed"), (other, "zod")):
        file.write_text('{"term": "zed", "needs": [{"attribute": "brand", "value": "%s"}]}\n' % value)
    assert load_glossary([one]).hash != load_glossary([other]).hash
    assert load_glossary([]).hash == "none"
