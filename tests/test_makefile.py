"""The graph of files: one command builds everything, nothing is built twice, a changed rulebook reaches what depends on it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ("lexical", "rulebook", "label-only", "cot-sft", "rl", "student", "tiered")

pytestmark = pytest.mark.skipif(not (ROOT / ".venv" / "ready").exists(), reason="needs the environment that `make install` creates")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    environment |= {"OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True, env=environment)


def commands(output: str) -> set[str]:
    """The commands that make would run, `lore-VERB` and its verb."""
    words = [line.split("lore-", 1)[1].split() for line in output.splitlines() if ".venv/bin/lore-" in line]
    return {" ".join(part for part in line[:2] if part.isalpha()) for line in words}


@pytest.fixture(scope="module")
def lifecycle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """The smoke profile, run once with a rulebook of its own."""
    folder = tmp_path_factory.mktemp("lifecycle")
    rulebook = folder / "rulebook.toml"
    rulebook.write_bytes((ROOT / "lore_cli" / "rulebook.toml").read_bytes())
    done = make("lifecycle", "PROFILE=smoke", f"R={folder / 'run'}", f"RULEBOOK={rulebook}")
    return folder / "run", rulebook, done


def test_make_alone_prints_help():
    done = make()
    assert done.returncode == 0 and "make lifecycle" in done.stdout and "make test" in done.stdout


def test_one_command_ends_in_a_report_of_every_system_on_every_subset(lifecycle):
    run, _, done = lifecycle
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    page = (run / "report.html").read_text()
    for system in SYSTEMS:
        report = json.loads((run / "reports" / f"{system}.json").read_text())
        assert {entry["slice"].get("subset") for entry in report["slices"]} >= {"general", "hard", "visual"}
        assert system in page and system in done.stdout
    assert "simulated" in page and "simulated" in done.stdout and "GoodRate" in done.stdout
    assert json.loads((run / "replay.json").read_text())["replayed"]["pairs"] > 0


def test_every_output_has_a_manifest_of_what_made_it(lifecycle):
    run, _, _ = lifecycle
    for name in ("pairs.jsonl", "traces.jsonl", "train.jsonl", "held-out.jsonl", "rl-pairs.jsonl", "soft.jsonl", "bench", "cot-sft", "rl", "student", "plan.json", "cache"):
        manifest = json.loads((run / f"{name}.manifest.json").read_text())
        assert manifest["command"].startswith("lore-") and manifest["settings"]["seed"] == 7


def test_training_and_benchmark_share_no_query(lifecycle):
    run, _, _ = lifecycle
    queries = {name: {json.loads(line)["query"] for line in (run / name).read_text().splitlines()} for name in ("train.jsonl", "held-out.jsonl", "bench/all.jsonl")}
    assert queries["bench/all.jsonl"] <= queries["held-out.jsonl"] and not queries["train.jsonl"] & queries["held-out.jsonl"]


def test_a_second_run_builds_nothing(lifecycle):
    run, rulebook, _ = lifecycle
    again = make("-n", "lifecycle", "PROFILE=smoke", f"R={run}", f"RULEBOOK={rulebook}")
    assert again.returncode == 0 and commands(again.stdout) == {"rair board"}  # the table that it prints


def test_a_changed_rulebook_reaches_what_depends_on_it(lifecycle):
    run, rulebook, _ = lifecycle
    rulebook.write_text(rulebook.read_text() + "\n# changed\n")
    planned = commands(make("-n", "lifecycle", "PROFILE=smoke", f"R={run}", f"RULEBOOK={rulebook}").stdout)
    assert planned >= {"rair build", "synth", "rair run", "rair score", "tier refresh", "tier replay", "rl select"}


def test_one_seed_gives_the_same_bytes(tmp_path: Path):
    digests = []
    for name in ("one", "two"):
        run = tmp_path / name
        targets = [str(run / target) for target in ("traces.jsonl.manifest.json", "labels.jsonl.manifest.json", "verdicts/lexical.jsonl.manifest.json")]
        done = make(*targets, "PROFILE=smoke", f"R={run}")
        assert done.returncode == 0, done.stderr[-2000:]
        files = [file for file in sorted(run.rglob("*")) if file.is_file() and not file.name.endswith("manifest.json") and file.name != "card.json"]
        digests.append({str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files})
    assert digests[0] == digests[1] and len(digests[0]) > 80


def test_own_pairs_go_through_the_same_graph():
    planned = make("-n", "lifecycle", "PROFILE=smoke", "PAIRS=examples/pairs.jsonl", "R=runs/own")
    assert planned.returncode == 0 and "examples/market/generate.py" not in planned.stdout
    assert commands(planned.stdout) >= {"synth", "sft", "rl train", "rair run", "distill train", "tier replay", "rair board"}
