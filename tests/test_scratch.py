"""A model and its tokenizer from nothing but text."""

from __future__ import annotations

import pytest
import torch
import training_toys as toys
from hypothesis import given
from hypothesis import strategies as st

from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.records import Pair, parse
from lore_cli.train import scratch

TEXTS = [text for row in toys.traces() for text in (row["prompt"], row["completion"])]
TOKENIZER = scratch.train_tokenizer(TEXTS, 600)


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=60))
def test_any_text_comes_back_from_its_tokens(text: str):
    if any(mark in text for mark in (scratch.END, scratch.PAD)):
        return
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.eos_token_id not in ids and TOKENIZER.pad_token_id not in ids


@pytest.mark.parametrize("text", ["深蓝色 沙发床\n", "🛋️ navy 👩‍👩‍👧", "a\u2028b\u0085c\r\n\td", "query: 3.5 inch <tv>  stand \n", "colour = navy ; found dark blue [caption] ; close\nrules: R9\ngrade: L3"])
def test_odd_texts_come_back_from_their_tokens(text: str):
    assert TOKENIZER.decode(TOKENIZER(text, add_special_tokens=False)["input_ids"]) == text


def test_a_grade_line_differs_from_another_in_one_token():
    lines = [TOKENIZER(f"grade: {grade}", add_special_tokens=False)["input_ids"] for grade in ("L1", "L4")]
    assert lines[0][:-1] == lines[1][:-1] and lines[0][-1] != lines[1][-1]


@pytest.mark.parametrize(("size", "least", "most"), [("tiny", 0.95e6, 1.2e6), ("small", 3.3e6, 4.0e6)])
def test_a_size_has_about_the_weights_its_help_tells(size: str, least: float, most: float):
    shape = scratch.SIZES[size]
    words = [f"{left}{right}{end}" for left in "bcdfghjklm" for right in ("al", "em", "in", "or", "us") for end in "abcdefghijklmnopqrstuvwxyzäöüßéèêçñ"]
    tokenizer = scratch.train_tokenizer(words * 2, shape.vocabulary)
    assert len(tokenizer) <= shape.vocabulary
    weights = scratch.build_model(tokenizer, shape, seed=0).num_parameters() + (shape.vocabulary - len(tokenizer)) * shape.width
    assert least < weights < most


def test_one_seed_gives_one_model_and_leaves_the_callers_randomness_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = (scratch.build_model(TOKENIZER, scratch.SIZES["tiny"], seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    weights = [dict(model.named_parameters())["model.layers.0.mlp.up_proj.weight"] for model in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_what_writes_to_the_residual_stream_starts_smaller():
    weights = {name: float(weight.detach().std()) for name, weight in scratch.build_model(TOKENIZER, scratch.SIZES["tiny"], 0).named_parameters() if weight.ndim == 2}
    assert weights["model.layers.0.self_attn.o_proj.weight"] == pytest.approx(weights["model.layers.0.self_attn.q_proj.weight"] / 2, rel=0.05)
    assert weights["model.layers.0.self_attn.q_proj.weight"] == pytest.approx(192**-0.5, rel=0.05)


def test_a_fresh_directory_loads_as_a_judge_and_its_gibberish_is_an_error_not_a_grade(tmp_path):
    scratch.build_model(TOKENIZER, scratch.SIZES["tiny"], 0).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    judge = open_judge(f"hf:{tmp_path}", JudgeSettings(toys.RULEBOOK, max_new_tokens=8, prompt="short"))
    verdicts = list(judge(parse(Pair, row) for row in toys.pairs(3)))
    assert [verdict.id for verdict in verdicts] == ["p0", "p1", "p2"]
    assert all(verdict.error and verdict.grade is None for verdict in verdicts)
