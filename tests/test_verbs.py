"""A command with verbs beside its own work: what is a verb, what is a file, and where each finds its settings."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import click
import pytest

from commands_run import COMMANDS, ROOT, lore
from lore_cli.commands import common, sections, verbs

PAIRS = ROOT / "examples" / "pairs.jsonl"


@click.command(cls=sections.Command)
@common.run_options("synth mine")
@click.argument("files", nargs=-1)
@click.option("--least", default=0)
def mine(run: common.Run, files: tuple[str, ...], least: int) -> int:
    """A verb for these tests."""
    click.echo(json.dumps({"command": run.name, "seed": run.seed, "files": files, "least": least}))
    return 5


@pytest.fixture(autouse=True)
def with_a_verb(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(COMMANDS["lore-synth"], "verbs", {"mine": verbs.Verb("mine_for_tests", "What a list of verbs shows.")})
    monkeypatch.setitem(sys.modules, "lore_cli.commands.mine_for_tests", SimpleNamespace(cli=mine))


def test_a_verb_is_the_first_word_and_gives_its_own_exit_code():
    done = lore("lore-synth", "mine", "log.jsonl", "--least", 3)
    assert done.code == 5 and json.loads(done.out) == {"command": "lore-synth mine", "seed": 0, "files": ["log.jsonl"], "least": 3}


def test_without_a_verb_the_command_does_its_own_work_from_files_and_stdin(tmp_path):
    named, piped = lore("lore-synth", PAIRS, "--images", ROOT / "examples"), lore("lore-synth", "--images", ROOT / "examples", stdin=PAIRS.read_bytes())
    assert named.code == piped.code == 0 and named.out == piped.out and named.lines


def test_a_file_named_like_a_verb_is_given_with_its_folder(tmp_path, monkeypatch):
    shutil.copy(PAIRS, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    done = lore("lore-synth", "./mine", "--stages", "knowledge", "--limit", 2)
    assert done.code == 0 and len(done.lines) == 2, done.err


def test_settings_of_a_verb_come_from_variables_and_its_own_table(tmp_path):
    file = tmp_path / "lore.toml"
    file.write_text("seed = 4\n[synth]\nattempts = 2\n[synth.mine]\nleast = 7\n")
    assert json.loads(lore("lore-synth", "mine", "--config", file).out) | {"files": []} == {"command": "lore-synth mine", "seed": 4, "files": [], "least": 7}
    assert json.loads(lore("lore-synth", "mine", env={"LORE_SEED": "9"}).out)["seed"] == 9
    assert lore("lore-synth", PAIRS, "--stages", "knowledge", "--limit", 1, "--config", file).code == 0
    file.write_text("[synth.mine]\nstages = 1\n")
    wrong = lore("lore-synth", "mine", "--config", file)
    assert wrong.code == 3 and "synth.mine: 'stages' is not an option of lore-synth mine" in wrong.err


def test_help_of_the_command_shows_its_options_and_lists_its_verbs():
    text = lore("lore-synth", "--help").out.decode()
    assert "--stages" in text and "mine  What a list of verbs shows." in text and "./NAME" in text
    assert lore("lore-synth", "mine", "--help").out.decode().startswith("Usage: lore-synth mine [OPTIONS]")
    wrong = lore("lore-synth", "mine", "--no-such-option")
    assert wrong.code == 2 and "lore-synth mine --help" in wrong.err


def test_verbs_are_walked_to_the_leaves():
    group = verbs.Verbs("cache", commands={"stat": mine}, verbs={"mine": verbs.Verb("mine_for_tests", "Imported when asked for.")})
    outer = verbs.CommandWithVerbs("outer", verbs={})
    outer.commands = {"cache": group}
    assert [words for words, _ in verbs.walk(outer, "outer")] == [("outer",), ("outer", "cache"), ("outer", "cache", "mine"), ("outer", "cache", "stat")]


def test_a_group_runs_its_verbs_and_lists_them_in_the_tables_order(monkeypatch):
    lines = {"mine": verbs.Verb("mine_for_tests", "What a list of verbs shows."), "first": verbs.Verb("not_there", "Never imported.")}
    monkeypatch.setattr(COMMANDS["lore-rl"], "verbs", lines)
    assert json.loads(lore("lore-rl", "mine", "a", "--least", 2).out)["least"] == 2
    text = lore("lore-rl", "--help").out.decode()
    assert 0 < text.index("mine   What a list of verbs shows.") < text.index("first  Never imported.")
    wrong = lore("lore-rl", "fist")
    assert wrong.code == 2 and "fist" in wrong.err


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if getattr(command, "verbs", None)])
def test_no_verb_is_imported_before_it_is_asked_for(name):
    loaded = f"""
import sys
from lore_cli.commands import {name.removeprefix("lore-")} as command
try:
    command.cli.main(["--help"])
except SystemExit:
    print([verb.module for verb in command.VERBS.values() if f"lore_cli.commands.{{verb.module}}" in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=ROOT).stdout.endswith("[]\n")
