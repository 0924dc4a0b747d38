"""The house is built as ARCHITECTURE.md draws it: rooms, arrows, sizes, and what no `--help` loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands_run import COMMANDS, ROOT, verbs

PACKAGE = ROOT / "lore_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = (
    ("commands",),
    ("synth", "train", "rair", "tier"),
    ("judges",),
    ("models", "path"),
    ("theory",),
    ("ground",),
)
THEORY = ("rulebook", "values", "answer", "prompts", "modelcard")
GROUND = ("records", "schema", "stream", "files", "ledger", "manifest", "config", "progress", "images", "scale", "seen", "similar", "requirement", "errors", "__init__")
HEAVY = ("torch", "transformers", "trl", "peft", "vllm", "polars", "ray", "scipy", "sklearn", "numpy", "matplotlib", "pandas", "datasets", "accelerate")
LONGEST_FILE, LONGEST_FUNCTION = 350, 60


def room(module: str) -> str:
    """The room of a dotted module name inside the package."""
    first = module.removeprefix("lore_cli").removeprefix(".").partition(".")[0] or "__init__"
    return "theory" if first in THEORY else "ground" if first in GROUND else first


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere in a file, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "lore_cli" else [node.module]
            yield from ((name, node.lineno) for name in names)


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: not function bodies, nor what only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from at_import(child)


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def test_every_module_has_a_room():
    known = {name for floor in FLOORS for name in floor}
    assert {room(name_of(file)) for file in FILES} <= known


def test_imports_go_down_and_never_between_rooms_on_one_floor():
    floor_of = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    wrong = []
    for file in FILES:
        own = room(name_of(file))
        for imported, line in imports(tree_of(file)):
            if imported.partition(".")[0] != "lore_cli" or imported in ("lore_cli", "lore_cli.__version__"):
                continue
            other = room(imported)
            if other != own and floor_of[other] <= floor_of[own]:
                wrong.append(f"{file.relative_to(ROOT)}:{line}: {own} imports {other} ({imported})")
    assert not wrong, "\n".join(wrong)


def test_no_relative_imports_hide_an_arrow():
    assert not [file for file in FILES for node in ast.walk(tree_of(file)) if isinstance(node, ast.ImportFrom) and node.level]


def test_heavy_packages_are_imported_inside_functions():
    wrong = []
    for file in FILES:
        if room(name_of(file)) in ("train", "models"):
            continue
        for node in at_import(tree_of(file)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                wrong += [f"{file.relative_to(ROOT)}:{line}: {name}" for name, line in imports(node) if name.partition(".")[0] in HEAVY]
    assert not wrong, "\n".join(wrong)


def test_only_the_commands_know_click():
    assert not [file for file in FILES if room(name_of(file)) != "commands" for name, _ in imports(tree_of(file)) if name.partition(".")[0] == "click"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_and_functions_can_be_read_at_one_sitting(file):
    text = file.read_text("utf-8")
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= LONGEST_FUNCTION, f"{file.name}:{node.lineno}: {node.name}"


def test_the_drawing_names_every_room():
    drawing = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert {name for name in rooms if f"{name}/" not in drawing} == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_loads_a_heavy_package(name):
    script = f"""
import sys, json, contextlib, io
sys.path.insert(0, {str(ROOT)!r})
from lore_cli.commands import {name.removeprefix("lore-")} as command
for words in {[[], *(verb.split() for verb in verbs(COMMANDS[name]))]!r}:
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        try:
            command.cli.main([*words, "--help"], prog_name={name!r})
        except SystemExit as ended:
            assert ended.code == 0, words
    assert "Usage: {name}" in shown.getvalue(), words
print(json.dumps(sorted({{module.partition(".")[0] for module in sys.modules}})))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)).isdisjoint(HEAVY)


def test_a_launcher_of_the_checkout_answers_like_the_installed_command():
    for name in COMMANDS:
        done = subprocess.run([sys.executable, str(ROOT / "bin" / name), "--version"], capture_output=True, text=True, cwd="/")
        assert done.returncode == 0 and name in done.stdout, done.stderr
