"""Packed rows are read as they are read alone: the same loss for every token."""

from __future__ import annotations

import pytest
import torch
import training_toys as toys
import transformers
from commands_run import lore
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lore_cli.errors import BadInput
from lore_cli.train import common, packing, scratch

ROWS = toys.traces(5)
TOKENIZER = scratch.train_tokenizer([row["prompt"] + row["completion"] for row in ROWS], 400)
ENCODED = common.encode(TOKENIZER, [row["prompt"] for row in ROWS], [row["completion"] for row in ROWS])


def qwen(attention: str) -> torch.nn.Module:
    model = scratch.build_model(TOKENIZER, scratch.Size(64, 2, 2, 128, 400), seed=3)
    model.set_attn_implementation(attention)
    return model


def gpt2() -> torch.nn.Module:
    torch.manual_seed(3)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=len(TOKENIZER), n_positions=256, n_embd=32, n_layer=2, n_head=2)).eval()


def llama() -> torch.nn.Module:
    torch.manual_seed(3)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=len(TOKENIZER), **shape))


MODELS = {"qwen3 eager": lambda: qwen("eager"), "qwen3 sdpa": lambda: qwen("sdpa"), "gpt2": gpt2, "llama": llama}


def token_losses(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Losses of the labelled tokens, row after row."""
    labels = batch["labels"][:, 1:]
    read = {name: values for name, values in batch.items() if name != "labels"}
    logits = model(**read, use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=common.IGNORED, reduction="none")
    return losses[labels.flatten() != common.IGNORED]


@pytest.mark.parametrize("name", MODELS)
def test_every_token_has_the_loss_that_it_has_unpacked(name):
    model = MODELS[name]()
    with torch.no_grad():
        padded = token_losses(model, common.pad(ENCODED, TOKENIZER.pad_token_id))
        packed = token_losses(model, packing.pack(ENCODED))
        torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(common.completion_loss(model, packing.pack(ENCODED)), padded.mean(), rtol=1e-4, atol=1e-5)
    packing.require_separation(model, ENCODED)


def test_gradients_are_the_same_too():
    model = qwen("eager")
    found = []
    for batch in (common.pad(ENCODED, TOKENIZER.pad_token_id), packing.pack(ENCODED)):
        model.zero_grad()
        common.completion_loss(model, batch).backward()
        found.append([weight.grad.clone() for weight in model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_rows_that_see_each_other_would_have_other_losses_and_such_a_model_is_refused():
    model = qwen("eager")
    batch = packing.pack(ENCODED)
    one_text = {**batch, "position_ids": torch.arange(batch["input_ids"].shape[1])[None]}
    with torch.no_grad():
        assert not torch.allclose(token_losses(model, one_text), token_losses(model, batch), rtol=0.05)
    whole = model.forward
    model.forward = lambda position_ids=None, **rest: whole(**rest)  # an architecture that reads no positions
    with pytest.raises(BadInput, match="keep packed rows apart"):
        packing.require_separation(model, ENCODED)


def test_an_empty_prompt_does_not_make_a_row_the_prediction_of_the_one_before():
    rows = [common.Row([5, 6, 7], 1), common.Row([8, 9], 0)]
    assert packing.pack(rows)["labels"].tolist() == [[common.IGNORED, 6, 7, common.IGNORED, 9]]
    assert packing.pack(rows)["position_ids"].tolist() == [[0, 1, 2, 0, 1]]


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(16, 600), st.integers(0, 5))
def test_packed_batches_hold_every_row_once_within_the_budget(lengths, budget, seed):
    batches = packing.packed_batches(lengths, budget, seed)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or sum(lengths[row] for row in batch) <= budget for batch in batches)
    assert batches == packing.packed_batches(lengths, budget, seed)


def test_a_run_with_packing_learns(tmp_path):
    rows = toys.write(tmp_path / "traces.jsonl", toys.traces())
    with toys.at_toy_size():
        for name, steps in (("short", 1), ("long", 12)):
            done = lore("lore-sft", rows, "--from-scratch", "tiny", "--batch-tokens", 512, "--packing", "--max-steps", steps, "-o", tmp_path / name)
            assert done.code == 0, done.err
    losses = [next(row["train_loss"] for row in toys.read(tmp_path / name / "metrics.jsonl") if "train_loss" in row) for name in ("short", "long")]
    assert losses[1] < 0.8 * losses[0]
    assert load_file(tmp_path / "long" / "model.safetensors")
