"""bfloat16 arithmetic in training: where it pays all losses are computed in it, the weights stay in float32."""

import pytest
import torch
import training_toys as toys
from commands_run import lore
from safetensors.torch import load_file
from test_distill import write_soft

from lore_cli.train import common

pytestmark = pytest.mark.usefixtures("toy_size")


@pytest.fixture(params=[True, False], ids=["pays", "too small"])
def pays(request, monkeypatch):
    """A processor with bfloat16 units (emulated where there are none), and models that are large enough for them, or not."""
    monkeypatch.setattr(common, "bfloat16_units", lambda: True)
    monkeypatch.setattr(common, "_BFLOAT16_PAYS", 0 if request.param else 10**9)
    return request.param


@pytest.fixture
def computed(monkeypatch):
    """In which types linear layers gave their values while gradients were wanted."""
    seen, real = set(), torch.nn.Linear.forward

    def forward(self, values):
        found = real(self, values)
        if torch.is_grad_enabled():
            seen.add(found.dtype)
        return found

    monkeypatch.setattr(torch.nn.Linear, "forward", forward)
    return seen


def kept_types(folder):
    return {weight.dtype for weight in load_file(folder / "model.safetensors").values()}


@pytest.mark.parametrize("packing", [(), ("--packing",)], ids=["padded", "packed"])
def test_sft_computes_its_loss_in_bfloat16_where_that_pays(toy_traces, tmp_path, pays, computed, packing):
    done = lore("lore-sft", toy_traces, "--from-scratch", "tiny", "--batch-tokens", 512, "--max-steps", 3, *packing, "-o", tmp_path / "model")
    assert done.code == 0, done.err
    assert computed == {torch.bfloat16 if pays else torch.float32} and kept_types(tmp_path / "model") == {torch.float32}


def test_so_does_rl_its_own_loss_and_the_one_of_traces(tmp_path, pays, computed):
    toys.write(tmp_path / "pairs.jsonl", toys.pairs())
    toys.write(tmp_path / "traces.jsonl", toys.traces(layout="label-only"))
    settings = ("--prompts-per-step", 3, "--generations", 4, "--max-new-tokens", 6, "--max-steps", 2)
    done = lore("lore-rl", "train", tmp_path / "pairs.jsonl", "--model", toys.graded_by_label(), "--traces", tmp_path / "traces.jsonl", *settings, "-o", tmp_path / "rl")
    assert done.code == 0, done.err
    assert computed == {torch.bfloat16 if pays else torch.float32} and kept_types(tmp_path / "rl") == {torch.float32}


def test_and_distillation(tmp_path, pays, computed):
    done = lore("lore-distill", "train", write_soft(tmp_path), "--from-scratch", "tiny", "--epochs", 1, "--batch-size", 32, "-o", tmp_path / "student")
    assert done.code == 0, done.err
    assert (torch.bfloat16 in computed) == pays and kept_types(tmp_path / "student") == {torch.float32}
