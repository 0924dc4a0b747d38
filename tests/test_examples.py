"""Every example of every `--help`, and every shell block of the README and the guides, runs as it stands from the repository root."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from commands_run import COMMANDS, ROOT, verbs

README_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(name: str, verb: str | None) -> list[str]:
    """The lines of a help's example, without their `$ `."""
    target = verbs(COMMANDS[name])[verb] if verb else COMMANDS[name]
    return re.findall(r"^\s*\$ (.+)$", target.help or "", re.MULTILINE)


def every() -> list[tuple[str, str | None]]:
    return [(name, verb) for name, command in COMMANDS.items() for verb in (None, *verbs(command))]


def run_lines(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A script as typed at the repository root, but that what it writes to /tmp goes to the test's own folder."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LORE_")},
        "PATH": f"{ROOT / 'bin'}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    script = script.replace("/tmp/", f"{tmp_path}/")
    return subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)


def fixtures() -> list[Path]:
    """What lies among the fixtures, where no example may write."""
    return sorted([*(ROOT / "examples").glob("*"), *(ROOT / "examples" / "images").glob("*")])


@pytest.mark.parametrize(("name", "verb"), every())
def test_the_example_of_a_help_runs_as_it_stands(name, verb, tmp_path):
    lines = examples(name, verb)
    if not lines and isinstance(verbs(COMMANDS[name])[verb] if verb else COMMANDS[name], click.Group):
        pytest.skip("a group whose verbs hold the examples")
    assert lines, f"{name} {verb or ''} --help shows no example that starts with `$ `"
    assert any(re.search(rf"\b{name}\b", line) and (verb is None or re.search(rf"\b{name} {verb}\b", line)) for line in lines)
    before = fixtures()
    done = run_lines("\n".join(lines), tmp_path)
    assert done.returncode == 0, f"{lines}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr
    assert fixtures() == before


def test_the_guide_to_benchmarks_runs_from_start_to_end(tmp_path):
    blocks = README_BLOCK.findall((ROOT / "docs" / "benchmark.md").read_text("utf-8"))
    before = fixtures()
    done = run_lines("\n".join(blocks), tmp_path)
    assert done.returncode == 0, f"{done.stdout[-500:]}\n{done.stderr[-2000:]}"
    assert all((tmp_path / name).is_file() for name in ("bench/card.json", "labelled.jsonl", "runs/expert/report.html", "changed.html", "summary.md", "board.html"))
    assert fixtures() == before


@pytest.mark.parametrize("number", range(len(README_BLOCK.findall((ROOT / "README.md").read_text("utf-8")))))
def test_every_shell_block_of_the_readme_runs(number, tmp_path):
    block = README_BLOCK.findall((ROOT / "README.md").read_text("utf-8"))[number]
    lines = [line for line in block.splitlines() if line.strip() and not line.lstrip().startswith(("pip install", "make ", "git clone", "cd "))]
    if any("jq" in line for line in lines) and shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    done = run_lines("\n".join(lines), tmp_path)
    assert done.returncode == 0, f"{block}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr


def test_the_traces_among_the_examples_are_what_lore_synth_makes_of_the_pairs(tmp_path):
    described = importlib.util.spec_from_file_location("make_fixtures", ROOT / "examples" / "make_fixtures.py")
    assert described is not None and described.loader is not None
    made_by = importlib.util.module_from_spec(described)
    described.loader.exec_module(made_by)
    made_by.make_traces(tmp_path / "traces.jsonl")
    made, kept = (path.read_bytes() for path in (tmp_path / "traces.jsonl", ROOT / "examples" / "traces.jsonl"))
    assert made == kept, "run `python examples/make_fixtures.py`"
