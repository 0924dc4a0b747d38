"""lore-distill export: the ONNX student answers like the one it was made of, runs without torch, and is refused where it would not."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import orjson
import pytest
import training_toys as toys
from commands_run import ROOT, lore
from test_distill import judge_of, judged, soft_rows, student, write_soft

from lore_cli.errors import BadInput

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

pytestmark = pytest.mark.usefixtures("toy_size")


@lru_cache(maxsize=1)
def exported() -> Path:
    """The toy student in int8."""
    folder = student().parent
    done = lore("lore-distill", "export", student(), "--pairs", write_soft(folder), "--max-flips", 0.05, "-o", folder / "int8")
    assert done.code == 0, done.err
    assert done.out == b"" and "onnx int8" in done.err
    return folder / "int8"


def test_the_report_holds_each_runtime_against_the_student():
    report = orjson.loads((exported() / "parity.json").read_bytes())
    own, fp32, int8, *quick = report["runtimes"]
    assert all((one["runtime"], one["flips"]) == ("torch bf16", 0) and one["difference"] < 0.05 for one in quick), "where the processor computes in bfloat16"
    assert (report["precision"], report["pairs"], own["difference"], own["flips"]) == ("int8", 240, 0, 0)
    assert 0 < fp32["difference"] < 1e-4 < int8["difference"] < 0.2 and fp32["flips"] == 0
    given = zip(judged(exported(), soft_rows()), judged(student(), soft_rows()), strict=True)
    assert sum(one.grade != other.grade for one, other in given) / 240 == pytest.approx(int8["flips"])
    assert all(one["pairs_per_s"] > 0 and one["alone_p95_ms"] >= one["alone_p50_ms"] > 0 for one in report["runtimes"])
    assert (exported() / "model.onnx").stat().st_size < (student() / "model.safetensors").stat().st_size / 2


def test_fp32_needs_no_pairs_and_gives_the_same_scores_in_order(float32, tmp_path):
    done = lore("lore-distill", "export", student(), "-o", tmp_path / "fp32")
    assert done.code == 0 and "nothing was held against" in done.err
    rows = [*soft_rows()[::9], {**soft_rows()[0], "id": "long", "query": "红色 台灯 " * 60}]
    for one, other in zip(judged(tmp_path / "fp32", rows, batch_size=4), judged(student(), rows), strict=True):
        assert (one.id, one.grade) == (other.id, other.grade) and [*one.scores.values()] == pytest.approx([*other.scores.values()], abs=1e-5)
    assert judge_of(tmp_path / "fp32").identity() != judge_of(student()).identity()


def test_it_runs_where_neither_torch_nor_transformers_is(tmp_path):
    rows = toys.write(tmp_path / "pairs.jsonl", soft_rows()[:5])
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("torch", "transformers", "sentence_transformers", "onnx")))
from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.records import Pair
from lore_cli.rulebook import load_rulebook
from lore_cli.stream import read
print(*(verdict.grade for verdict in open_judge("student:{exported()}", JudgeSettings(load_rulebook()))(read(Pair, ["{rows}"]))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [verdict.grade for verdict in judged(exported(), soft_rows()[:5])]


def test_too_many_flips_are_a_gate_and_nothing_is_written(tmp_path):
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(student(), tmp_path / "close")
    weights = load_file(tmp_path / "close" / "model.safetensors")
    drawn = torch.Generator().manual_seed(0)
    for name in ("classifier.weight", "classifier.bias"):  # four grades that differ by less than eight bits can tell
        weights[name] = weights[name][:1] + 1e-4 * torch.randn(weights[name].shape, generator=drawn)
    save_file(weights, tmp_path / "close" / "model.safetensors", {"format": "pt"})
    done = lore("lore-distill", "export", tmp_path / "close", "--pairs", write_soft(tmp_path), "-o", tmp_path / "int8")
    assert done.code == 1 and "0.50% are allowed" in done.err and "--precision fp32" in done.err and not (tmp_path / "int8").exists()
    assert lore("lore-distill", "export", tmp_path / "close", "--pairs", tmp_path / "soft.jsonl", "--precision", "fp32", "-o", tmp_path / "fp32").code == 0


def test_what_cannot_be_exported_is_refused(tmp_path):
    empty = toys.write(tmp_path / "empty.jsonl", [])
    for arguments, code, said in (
        ([student(), "--precision", "int8"], 2, "--pairs"),
        ([student(), "--pairs", empty], 3, "no pairs"),
        ([exported()], 3, "ONNX student already"),
        ([tmp_path / "none"], 4, "no such student"),
    ):
        done = lore("lore-distill", "export", *arguments, "-o", tmp_path / "out")
        assert done.code == code and said in done.err and not (tmp_path / "out").exists(), arguments


def test_a_broken_file_is_bad_input(tmp_path):
    import shutil

    shutil.copytree(exported(), tmp_path / "broken")
    (tmp_path / "broken" / "model.onnx").write_bytes((exported() / "model.onnx").read_bytes()[:1000])
    with pytest.raises(BadInput, match="cannot be loaded"):
        judge_of(tmp_path / "broken")


def test_an_encoder_of_another_kind_is_trained_and_exported(float32, tmp_path):
    import transformers

    from lore_cli.train import encoder

    tokenizer = encoder.train_tokenizer([row["query"] for row in soft_rows()], 500, [], 128)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config = transformers.DistilBertConfig(vocab_size=len(tokenizer), dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=128)
    transformers.DistilBertModel(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    soft = write_soft(tmp_path)
    assert lore("lore-distill", "train", soft, "--model", tmp_path / "base", "--epochs", 1, "-o", tmp_path / "student").code == 0
    done = lore("lore-distill", "export", tmp_path / "student", "--pairs", soft, "--precision", "fp32", "-o", tmp_path / "fp32")
    assert done.code == 0, done.err
    for one, other in zip(judged(tmp_path / "fp32", soft_rows()[:9]), judged(tmp_path / "student", soft_rows()[:9]), strict=True):
        assert [*one.scores.values()] == pytest.approx([*other.scores.values()], abs=1e-5)
