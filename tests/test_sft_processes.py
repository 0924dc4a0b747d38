"""Several processes train one model, as on several GPUs; here on the CPU, over gloo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import orjson
import pytest
import training_toys as toys
from commands_run import ROOT
from safetensors.torch import load_file

pytest.importorskip("accelerate", reason="accelerate is not installed")


def launched(*arguments: object) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ("torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1", "--master_port", str(port))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", *launcher, *map(str, arguments)], capture_output=True, text=True, env=environment)


def test_two_processes_train_together_and_one_of_them_writes(tmp_path):
    rows = toys.write(tmp_path / "traces.jsonl", toys.traces(24))
    held_out = toys.write(tmp_path / "pairs.jsonl", toys.pairs(2))
    base = toys.graded_by_label()
    done = launched(ROOT / "bin" / "lore-sft", rows, "--model", base, "--batch-tokens", 16, "--max-steps", 3, "--save-steps", 1, "--evaluate", held_out, "-o", tmp_path / "model")
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path.name for path in tmp_path.iterdir()} == {"traces.jsonl", "pairs.jsonl", "model", "model.manifest.json"}
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "model"))
    assert before.keys() == after.keys() and any(not (before[name] == after[name]).all() for name in before)
    counts = orjson.loads((tmp_path / "model.manifest.json").read_bytes())["counts"]
    assert counts["steps"] == 3 and counts["rows_seen"] == 6  # a row is a batch, and each step takes one for each process
    assert done.stderr.count("rows_seen") == 1  # the summary, once
