"""Console scripts: every command starts, and an interruption while it imports ends like any other."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from commands_run import COMMANDS, ROOT
from lore_cli import errors
from lore_cli.commands import start


def test_every_command_has_a_script_and_a_launcher():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == set(COMMANDS) == {path.name for path in (ROOT / "bin").iterdir()}
    for target in scripts.values():
        module, _, name = target.partition(":")
        assert module == start.__name__ and callable(getattr(start, name))


def test_an_interruption_while_importing_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "import_module", interrupted)
    with pytest.raises(SystemExit) as ended:
        start.synth()
    assert ended.value.code == start.EXIT_INTERRUPTED == errors.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "lore-synth: interrupted; nothing had begun\n"


def test_a_launcher_without_the_packages_says_how_to_get_them():
    done = subprocess.run([sys.executable, "-S", "-E", str(ROOT / "bin" / "lore-rair"), "--help"], capture_output=True, text=True)
    assert done.returncode == start.EXIT_MISSING == errors.EXIT_MISSING
    assert "make install" in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
