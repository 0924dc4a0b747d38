"""The files of examples/deploy: what systemd and a container builder can read, and options that the commands have."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib

import pytest

from commands_run import COMMANDS, ROOT, verbs
from lore_cli.config import load_config

DEPLOY = ROOT / "examples" / "deploy"
UNITS = ("lore-tier.service", "lore-tier-refresh.service", "lore-tier-refresh.timer")
PROGRAM = "/opt/lore/bin/lore-tier"


def settings(name: str) -> dict[str, str]:
    """KEY=VALUE of a unit, the last of each key."""
    lines = (DEPLOY / name).read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]\w+=", line))


def known_options(verb: str) -> set[str]:
    return {option for parameter in verbs(COMMANDS["lore-tier"])[verb].params for option in parameter.opts}


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_no_fault(tmp_path, name):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS:
        text = (DEPLOY / unit).read_text("utf-8")
        (tmp_path / unit).write_text(text.replace(PROGRAM, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True)
    assert done.returncode == 0 and name not in done.stderr, done.stderr


@pytest.mark.parametrize(("name", "verb"), [("lore-tier.service", "serve"), ("lore-tier-refresh.service", "refresh")])
def test_units_run_what_there_is(name, verb):
    program, given, *words = shlex.split(settings(name)["ExecStart"])
    assert (program, given) == (PROGRAM, verb)
    assert {word for word in words if word.startswith("--")} <= known_options(verb)


def test_the_server_is_stopped_in_order():
    unit = settings("lore-tier.service")
    assert unit["KillSignal"] == "SIGTERM" and int(unit["TimeoutStopSec"]) > 30 and "-HUP" in unit["ExecReload"]
    assert "--token-file" in unit["ExecStart"] and unit["User"] == settings("lore-tier-refresh.service")["User"]
    assert settings("lore-tier-refresh.timer")["Persistent"] == "true"


def test_the_settings_are_options_of_the_server():
    serve = verbs(COMMANDS["lore-tier"])["serve"]
    names = frozenset(parameter.name for parameter in serve.params)
    found = load_config(str(DEPLOY / "serve.toml"), ("tier", "serve"), names)
    assert found["host"] == "0.0.0.0" and found["deadline_s"] == 0.8


def test_the_container_copies_and_runs_what_there_is():
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if re.match(r"[A-Z]+ ", line)]
    assert {word for word, _ in lines} <= {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    for _, what in (line for line in lines if line[0] == "COPY" and "--from" not in line[1]):
        assert all((ROOT / source).exists() for source in what.split()[:-1])
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.search(r"ARG EXTRAS=(\S+)", text)[1].split(",")) <= set(extras)
    entry, options = (json.loads(what) for word, what in lines if word in ("ENTRYPOINT", "CMD"))
    assert entry[:2] == ["lore-tier", "serve"]
    assert {word for word in entry + options if word.startswith("--")} <= known_options("serve")
    assert "--token-file" in options and dict(map(tuple, lines))["USER"] == "10001"
