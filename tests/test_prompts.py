"""Prompts: one pass, declared placeholders, hostile values stay text."""

from __future__ import annotations

import pytest

from lore_cli.errors import UsageError
from lore_cli.models import directory_hash
from lore_cli.prompts import load_prompt, pair_prompt
from lore_cli.records import Pair, parse
from lore_cli.rulebook import load_rulebook

ROW = {"id": "1", "query": "Navy {{item}}\nSofa", "item": {"id": "2", "title": "X {{query}}", "price": 3.5, "attributes": {"colour": "Dark\u2028Blue"}}}


def test_short_prompt_is_lower_case_lines_and_ends_with_a_newline():
    text = pair_prompt(parse(Pair, ROW), load_rulebook())
    assert text == "query: navy {{item}} sofa\ntitle: x {{query}}\ncolour: dark blue\nprice: 3.5\n"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_full_prompt_holds_every_dimension_rule_and_grade(language: str):
    rulebook = load_rulebook()
    text = pair_prompt(parse(Pair, ROW), rulebook, "judge", language)
    for rule in rulebook.rules:
        assert f"- {rule.id} " in text and rule.text[language] in text
    for name in (*rulebook.dimensions, *rulebook.grades):
        assert f"- {name}: " in text
    assert "query: Navy {{item}} Sofa\n" in text and "title: X {{query}}\n" in text


def test_a_value_is_never_scanned_again():
    prompt = load_prompt("short")
    assert prompt.render(query="{{item}}", item="{{query}}") == "query: {{item}}\n{{query}}\n"


def test_fields_must_be_the_declared_ones():
    with pytest.raises(TypeError, match="takes"):
        load_prompt("short").render(query="x")


@pytest.mark.parametrize("name", ["nothing", "../judge", "judge.en"])
def test_an_unknown_template_lists_the_known_ones(name: str):
    with pytest.raises(UsageError, match="judge.en"):
        load_prompt(name)


def test_directory_hash_sees_content_and_names_but_not_logs(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    first = directory_hash(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{}")
    assert directory_hash(tmp_path) == first
    (tmp_path / "config.json").write_text("[]")
    assert directory_hash(tmp_path) != first
