"""Documentation is executed: README's shell blocks and the example of every --help run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from lore_cli.schema import command_tree

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
EXAMPLES = {
    name: re.findall(r"^\s*\$ (.+(?:\n\s+.+\\)*)$", command.help or "", re.MULTILINE)
    for name, command in command_tree()
    if not isinstance(command, click.Group)
}


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a copy-free checkout: outputs under /tmp/lore-docs are redirected to the test's folder."""
    script = script.replace("/tmp/", f"{folder}/")
    path = f"{Path(sys.executable).parent}:{ROOT / 'bin'}:/usr/bin:/bin:/usr/local/bin"
    environment = {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_verb_has_a_runnable_example(name: str, tmp_path: Path) -> None:
    assert EXAMPLES[name], f"{name} --help has no line that begins with '$ '"
    done = run("\n".join(EXAMPLES[name]), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("block", [block for block in BLOCKS if "pip install" not in block], ids=lambda block: block.split("\n")[0][:40])
def test_readme_blocks_run(block: str, tmp_path: Path) -> None:
    done = run(block, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
