"""The settings shipped for GPUs are parsed by what will parse them; the table of memory is what its formula gives."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click
import pytest
from commands_run import COMMANDS, ROOT, lore, verbs

from lore_cli.train import memory

FOLDER = ROOT / "examples" / "configs" / "gpu"
SETTINGS = sorted(FOLDER.glob("*.toml"))
LAUNCHES = sorted(FOLDER.glob("*.yaml"))


def parsed(command: click.Command, name: str, arguments: list[str]) -> dict:
    """What a command line comes to: the config file is read by the command itself."""
    with command.make_context(name, arguments) as context:
        return dict(context.params)


def test_there_are_settings_for_every_size():
    assert [path.stem for path in SETTINGS] == ["0.6b", "32b", "4b", "8b"] and LAUNCHES


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.stem)
def test_the_commands_take_every_setting(path: Path):
    written = tomllib.loads(path.read_text("utf-8"))
    tables = {"sft": COMMANDS["lore-sft"], "rl.train": verbs(COMMANDS["lore-rl"])["train"]}
    required = {"sft": ["-o", "x"], "rl.train": ["-o", "x", "--model", "m"]}
    for name, command in tables.items():
        table = written
        for part in name.split("."):
            table = table[part]
        found = parsed(command, f"lore-{name}", ["--config", str(path), *required[name], "rows.jsonl"])
        assert {key: found[key.replace("-", "_")] for key in table} == table


def test_a_setting_that_is_none_would_be_noticed(tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(SETTINGS[0].read_text("utf-8").replace("batch-tokens", "batch-token"), "utf-8")
    done = lore("lore-sft", "rows.jsonl", "--config", wrong, "-o", tmp_path / "model")
    assert done.code == 3 and "batch-token" in done.err


@pytest.mark.parametrize("path", LAUNCHES, ids=lambda path: path.stem)
def test_accelerate_reads_every_launch_configuration(path: Path):
    config = pytest.importorskip("accelerate.commands.config.config_args", reason="accelerate is not installed").load_config_from_file(str(path))
    assert config.mixed_precision == "bf16" and config.num_processes in (1, 8)
    if path.stem == "fsdp":
        assert config.fsdp_config["fsdp_version"] == 2


def test_the_readme_names_files_that_are_there():
    text = (FOLDER / "README.md").read_text("utf-8")
    named = {word.strip("\"'`.,") for word in text.split() if word.startswith("examples/configs/gpu/")}
    assert len(named) > 2 and all((ROOT / name).is_file() for name in named)


def test_the_table_of_memory_is_what_the_formula_gives():
    table = (ROOT / "docs" / "training.md").read_text("utf-8").partition("<!-- memory -->")[2].partition("<!-- end -->")[0]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]] == memory.table(8192)


def test_drawing_with_vllm_without_vllm_is_refused(tmp_path, monkeypatch):
    import sys

    import training_toys as toys

    monkeypatch.setitem(sys.modules, "vllm", None)
    pairs = toys.write(tmp_path / "pairs.jsonl", toys.pairs(2))
    done = lore("lore-rl train", pairs, "--model", toys.graded_by_label(), "--vllm", "colocate", "-o", tmp_path / "model")
    assert done.code == 4 and "lore-cli[vllm]" in done.err and not (tmp_path / "model").exists()
