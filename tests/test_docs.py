"""Schemas and docs are generated from the code, and what the commands write holds to them."""

from __future__ import annotations

import json
import subprocess
import sys

import jsonschema
import pytest

from commands_run import COMMANDS, ROOT, lore, verbs
from lore_cli import answer, records, schema
from lore_cli.commands import teaching
from lore_cli.synth import rules, teacher

SCHEMAS = {path.name.removesuffix(".schema.json"): json.loads(path.read_text("utf-8")) for path in sorted((ROOT / "schemas").glob("*.schema.json"))}


def valid(name: str, document: object) -> None:
    jsonschema.validate(document, SCHEMAS[name], cls=jsonschema.Draft202012Validator)


def rows(data: bytes) -> list[dict]:
    return [json.loads(line) for line in data.splitlines()]


def test_what_is_in_the_repository_is_what_would_be_generated():
    done = subprocess.run([sys.executable, "-m", "lore_cli.schema", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"run `make docs`\n{done.stderr}"


def test_a_changed_file_is_named_and_written_anew(tmp_path):
    def generate(*arguments):
        return subprocess.run([sys.executable, "-m", "lore_cli.schema", "--root", str(tmp_path), *arguments], cwd=ROOT, capture_output=True, text=True)

    assert generate().returncode == 0
    page, schema_file = tmp_path / "docs/commands/lore-tier.md", tmp_path / "schemas/pair.schema.json"
    page.write_text(page.read_text("utf-8") + "by hand\n", "utf-8")
    schema_file.unlink()
    checked = generate("--check")
    assert checked.returncode == 1 and "docs/commands/lore-tier.md" in checked.stderr and "schemas/pair.schema.json" in checked.stderr
    assert "records.md" not in checked.stderr and not schema_file.exists()
    assert generate().returncode == 0 and generate("--check").returncode == 0


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_schemas_that_let_unknown_fields_through(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    for part in (SCHEMAS[name], *SCHEMAS[name].get("$defs", {}).values()):
        assert part["description"] and part.get("additionalProperties") is not False


@pytest.mark.parametrize("kind", [records.Pair, records.Trace, records.Verdict, records.QueryCount], ids=lambda kind: kind.__name__)
def test_a_schema_requires_what_reading_requires(kind):
    for field in schema.schema_of(kind)["required"]:
        row = {"id": "1", "query": "q", "item": {"id": "i", "title": "t"}, "item_id": "i", "judge": "j", "count": 1}
        row = {name: value for name, value in row.items() if name in kind.__struct_fields__}
        records.parse(kind, row)
        with pytest.raises(Exception, match=field):
            records.parse(kind, {name: value for name, value in row.items() if name != field})


def test_every_verb_is_documented():
    for name, command in COMMANDS.items():
        page = (ROOT / "docs" / "commands" / f"{name}.md").read_text("utf-8")
        assert all(f"{name} {verb} --help" in page for verb in verbs(command))


def test_what_the_commands_write_holds_to_the_schemas(tmp_path):
    pairs = ROOT / "examples" / "pairs.jsonl"
    for row in rows(pairs.read_bytes()):
        valid("pair", row)
    for row in rows((ROOT / "examples" / "log.jsonl").read_bytes()):
        valid("query-count", row)
    verdicts, report, plan = tmp_path / "verdicts.jsonl", tmp_path / "report.json", tmp_path / "plan.json"
    assert lore("lore-rair", "run", pairs, "--judge", "lexical:" + str(pairs), "--soft", "--samples", 2, "-o", verdicts).code == 0
    for row in rows(verdicts.read_bytes()):
        valid("verdict", row)
    assert lore("lore-rair", "score", verdicts, "--gold", pairs, "--draws", 100, "--json", report).code == 0
    valid("report", json.loads(report.read_bytes()))
    comparison = lore("lore-rair", "compare", verdicts, verdicts, "--gold", pairs, "--draws", 100, "--json", "-")
    valid("comparison", json.loads(comparison.out))
    assert lore("lore-tier", "plan", ROOT / "examples" / "log.jsonl", "--tail", "rulebook:", "-o", plan).code == 0
    valid("plan", json.loads(plan.read_bytes()))
    for row in rows(lore("lore-synth", pairs).out):
        valid("trace", row)
    for output in (verdicts, report, plan):
        valid("manifest", json.loads(output.with_name(output.name + ".manifest.json").read_bytes()))


def test_what_a_help_says_without_loading_the_expert_is_what_the_expert_has():
    assert (*teaching.LAYOUTS, "free") == answer.LAYOUTS and len(rules.READINGS) == teaching.READINGS and teaching.HINTS == teacher.HINTS
    choices = {option.name: option.type for option in verbs(COMMANDS["lore-rl"])["reward"].params}
    assert tuple(choices["layout"].choices) == answer.LAYOUTS
