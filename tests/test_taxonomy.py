"""A shop's taxonomy: what the expert and a teacher know by it, bad rows, and Shopify's through the importer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commands_run import ROOT, lore
from lore_cli.errors import BadInput
from lore_cli.path.follow import follow
from lore_cli.path.knowledge import EMPTY, Glossary, load_glossary, vocabulary
from lore_cli.path.needs import construct
from lore_cli.path.taxonomy import names_in
from lore_cli.records import Item, Need
from lore_cli.rulebook import load_rulebook
from lore_cli.synth.knowledge import TaughtKnowledge, taxonomy_lines
from lore_cli.synth.teacher import Teacher

RULEBOOK = load_rulebook()
SHOP = ROOT / "examples" / "taxonomy.jsonl"
SHOPIFY = ROOT.parent / "shared" / "data" / "taxonomy"
ROWS = [
    {"category": "Furniture", "attributes": {"Color": ["Navy", "Clear"], "fabric": ["Bouclé", "Velvet"], "voltage": ["12"], "smell": ["Rose"]}},
    {"category": "Wardrobes", "path": ["Furniture"], "names": {"en": "armoires", "zh": ["衣柜", "衣橱"]}},
    {"category": "Corner Wardrobes", "path": ["Furniture", "Wardrobes"]},
    {"category": "Daybeds & Chaises", "path": ["Furniture", "Sofas"], "names": {"zh": "贵妃榻"}},
    {"category": "Chairs", "path": ["Furniture"]},
    {"category": "Office Chairs", "path": ["Furniture", "Office Furniture"]},
    {"category": "Toy Chairs", "path": ["Toys"]},
    {"category": "Sets", "path": ["Furniture"]},
]


def knowledge(tmp_path: Path, *rows: object) -> Glossary:
    file = tmp_path / "knowledge.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8")
    return load_glossary([file])


def needs(query: str, glossary: Glossary) -> list[str]:
    return [f"{need.attribute} = {need.value}" for need in construct(query, RULEBOOK, glossary)]


def state(need: str, title: str, glossary: Glossary, attribute: str = "category") -> str:
    (match,) = follow([Need(attribute, need)], Item("1", title), RULEBOOK, glossary)
    return match.state


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("clear corner wardrobe", ["category = corner wardrobes", "colour = clear"]),  # longest match, colour that no table lists
        ("bouclé armoires", ["category = wardrobes", "material = bouclé"]),
        ("oak wardrobe for bedroom", ["category = wardrobes", "material = oak", "occasion-scene = bedroom"]),
        ("藏青 衣橱", ["category = wardrobes", "colour = navy"]),
        ("贵妃榻", ["category = daybeds"]),
        ("couch", ["category = sofa"]),  # the rulebook's own value keeps its name
    ],
)
def test_the_expert_recognises_what_no_table_of_the_rulebook_lists(tmp_path, query, expected):
    glossary = knowledge(tmp_path, *ROWS)
    assert needs(query, glossary) == expected
    assert query == "couch" or needs(query, EMPTY) != expected


@pytest.mark.parametrize(
    ("need", "title", "expected"),
    [
        ("furniture", "Corner wardrobe in oak", "exact"),  # a child satisfies a need for any category above it
        ("wardrobes", "Corner wardrobe", "exact"),
        ("corner wardrobes", "White wardrobe", "close"),  # the broader one only comes near
        ("sofa", "Velvet daybed", "exact"),  # also where the one above is the rulebook's
        ("daybeds", "Chaise", "close"),  # two names of one category
        ("wardrobes", "Office chair", "conflict"),
        ("chairs", "Office chair", "exact"),  # by its head noun, under the same root
        ("chairs", "Toy chair", "conflict"),  # not across roots
        ("sofa bed", "Loveseat", "conflict"),  # what the rulebook says of its own values stands
    ],
)
def test_the_path_relates_categories(tmp_path, need, title, expected):
    assert state(need, title, knowledge(tmp_path, *ROWS)) == expected


def test_values_of_attributes_join_their_dimension_and_others_are_counted(tmp_path):
    glossary = knowledge(tmp_path, *ROWS)
    assert state("clear", "Clear wardrobe", glossary, "colour") == "exact" and state("clear", "Navy wardrobe", glossary, "colour") == "conflict"
    assert state("velvet", "Bouclé wardrobe", glossary, "material") == "conflict" and state("velvet", "Bouclé wardrobe", EMPTY, "material") == "unknown"
    branches = vocabulary(RULEBOOK, glossary).branches
    assert dict(branches.left_out) == {"voltage": 1, "smell": 1} and "voltage" in branches.note()


def test_words_of_the_logic_name_nothing_and_words_of_a_taxonomy_are_no_brand(tmp_path):
    glossary = knowledge(tmp_path, *ROWS)
    assert needs("sofa set", glossary) == needs("sofa set", EMPTY)
    assert needs("zelmo chair", glossary) == ["category = chairs", "brand = zelmo"] and needs("office chair", glossary) == ["category = office chairs"]
    assert "function-effect = corner" in needs("corner chair", glossary)


def test_without_a_taxonomy_nothing_changes():
    assert vocabulary(RULEBOOK, EMPTY).rulebook.values == RULEBOOK.values


def test_glossary_and_taxonomy_rows_share_a_file(tmp_path):
    glossary = knowledge(tmp_path, {"term": "zed", "needs": [{"attribute": "brand", "value": "zed"}]}, "", *ROWS)
    assert needs("zed armoire", glossary) == ["category = wardrobes", "brand = zed"]
    assert len(list(glossary.rows())) == 1 + len(ROWS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"category": "A", "path": "B"}', "knowledge.jsonl:2: Expected `array`, got `str` - at `$.path`"),
        ('{"category": " "}', "knowledge.jsonl:2: category and path must not be empty"),
        ('{"category": "A", "term": "b"}', "knowledge.jsonl:2: has both"),
        ('{"name": "A"}', "knowledge.jsonl:2: has neither 'term' nor 'category'"),
        ('["A"]', "knowledge.jsonl:2: has neither"),
        ('{"category": "A"', "knowledge.jsonl:2: "),
        ('{"category": "A", "attributes": {"colour": "red"}}', "attributes"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row, message):
    with pytest.raises(BadInput) as problem:
        knowledge(tmp_path, ROWS[0], row)
    assert message in str(problem.value) and '"category"' in str(problem.value)


def test_a_teacher_is_shown_what_the_query_mentions(tmp_path):
    class Script:
        def generate(self, prompts, **settings):
            self.prompts = prompts
            return [["category = wardrobes"]] * len(prompts)

    glossary, script = knowledge(tmp_path, *ROWS), Script()
    stage = TaughtKnowledge(RULEBOOK, glossary, Teacher(script, "script"))  # type: ignore[arg-type]
    from lore_cli.records import Trace, parse

    stage([parse(Trace, {"id": "1", "query": "clear corner wardrobes", "item": {"id": "1", "title": "x"}})])
    assert "- corner wardrobes: category, Furniture > Wardrobes > Corner Wardrobes; its attributes: colour, material\n- clear: colour = clear\n" in script.prompts[0]
    assert taxonomy_lines("lamp", RULEBOOK, glossary) == [] and taxonomy_lines("clear", RULEBOOK, EMPTY) == []


def test_the_teacher_sees_a_dozen_lines_at_most(tmp_path):
    glossary = knowledge(tmp_path, *({"category": f"Zorb{letter}", "path": ["Furniture"]} for letter in "abcdefghijklmnopq"))
    stage = TaughtKnowledge(RULEBOOK, glossary, Teacher(None, "script"))  # type: ignore[arg-type]
    prompt = stage._prompt(" ".join(f"zorb{letter}" for letter in "abcdefghijklmnopq"))
    assert prompt.count("- zorb") == 12


def test_lore_synth_says_what_it_left_out_and_runs_on_both_files():
    row = json.dumps({"id": "1", "query": "clear 贵妃榻", "item": {"id": "1", "title": "Daybed"}}).encode()
    done = lore("lore-synth", "-", "--stages", "knowledge", "--knowledge", SHOP, "--knowledge", ROOT / "examples" / "glossary.jsonl", stdin=row)
    assert done.code == 0 and "1 attributes belong to no dimension" in done.err and "assembly time" in done.err
    assert [need["value"] for need in json.loads(done.out)["needs"]] == ["daybeds", "clear"]


def test_names_in_one_name():
    assert names_in("Pots, Pans & Lids") == (["Pots", "Pans", "Lids"], "") and names_in("Retro/Vintage") == (["Retro", "Vintage"], "")


def imported(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, str(ROOT / "examples" / "importers" / "shopify_taxonomy.py"), *map(str, arguments)], capture_output=True)


def test_the_importer_writes_rows_that_knowledge_reads(tmp_path):
    (tmp_path / "categories.jsonl").write_text(
        '{"id": "f", "path": "Furniture", "name": "Furniture", "attributes": ["color", "voltage"]}\n'
        '{"id": "f-1", "path": "Furniture > Divans", "name": "Divans", "attributes": ["color", "upholstery_color", "toy/game_material"]}\n'
    )
    (tmp_path / "attributes.jsonl").write_text(
        '{"handle": "color", "name": "Color", "values": ["Teal", "Other"]}\n{"handle": "toy-game-material", "name": "x", "values": ["Felt"]}\n{"handle": "voltage", "name": "v", "values": ["1"]}\n'
    )
    (tmp_path / "zh.jsonl").write_text('{"handle": "color", "name": "颜色", "values": ["蓝绿", "其他"]}\n')
    done = imported(tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows == [
        {"category": "Furniture", "path": [], "attributes": {"colour": ["Teal"]}},
        {"category": "Divans", "path": ["Furniture"], "attributes": {"material": ["Felt"]}},
    ]
    assert b"left out 1 attributes" in done.stderr
    assert json.loads(imported(tmp_path, "--values", "zh.jsonl").stdout.splitlines()[0])["attributes"] == {"colour": ["蓝绿"]}
    (tmp_path / "categories.jsonl").write_text('{"path": "Furniture", "name": 3, "attributes": []}\n')
    assert imported(tmp_path).returncode == 3 and b"categories.jsonl:1: name: a str is needed" in imported(tmp_path).stderr
    assert imported(tmp_path / "nothing").returncode == 4


@pytest.mark.skipif(not SHOPIFY.is_dir(), reason="needs ../shared/data/taxonomy")
def test_shopifys_taxonomy_as_a_whole(tmp_path):
    done = imported(SHOPIFY, "-o", tmp_path / "shopify.jsonl")
    assert done.returncode == 0 and b"10595 categories" in done.stderr
    start = time.process_time()
    glossary = load_glossary([tmp_path / "shopify.jsonl"])
    known = vocabulary(RULEBOOK, glossary)
    assert time.process_time() - start < 20  # seconds; it takes 1 to 2, this only catches what grows with the square
    assert known is vocabulary(RULEBOOK, load_glossary([tmp_path / "shopify.jsonl"]))
    assert needs("mens cargo shorts", glossary) == ["category = cargo shorts", "audience = men"] and state("shorts", "Cargo shorts", glossary) == "exact"
    assert not known.branches.left_out
