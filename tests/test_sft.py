"""Fine-tuning: what is learnt, what is refused, what a run leaves behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import orjson
import pytest
import torch
import training_toys as toys
import transformers
from commands_run import lore
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lore_cli import modelcard
from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.models import directory_hash
from lore_cli.prompts import pair_prompt
from lore_cli.records import Pair, Trace, parse
from lore_cli.train import common, scratch, sft
from lore_cli.train.data import prompt_of

pytestmark = pytest.mark.usefixtures("toy_size")

SCRATCH = ("--from-scratch", "tiny", "--batch-tokens", 512)


def metrics(folder: Path) -> list[dict]:
    return toys.read(folder / "metrics.jsonl")


# ---------------------------------------------------------------- what is learnt
def test_the_loss_is_the_cross_entropy_of_completion_tokens_alone():
    row = toys.traces(1)[0]
    tokenizer = scratch.train_tokenizer([row["prompt"], row["completion"]], 400)
    model = scratch.build_model(tokenizer, scratch.SIZES["tiny"], 0)
    short, long = common.encode(tokenizer, [row["prompt"], row["prompt"] * 2], [row["completion"], "grade: L1"])
    batch = common.pad([short, long], tokenizer.pad_token_id)
    found = common.completion_loss(model, batch)

    expected = []
    for one in (short, long):
        logits = model(input_ids=torch.tensor([one.ids])).logits[0].log_softmax(-1)
        expected += [-logits[position - 1, one.ids[position]] for position in range(one.prompt, len(one.ids))]
    torch.testing.assert_close(found, torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)
    wrapped = torch.nn.Module()  # as LoRA and parallel training wrap a model: the whole forward is taken
    wrapped.forward = model.forward
    torch.testing.assert_close(found, common.completion_loss(wrapped, batch), rtol=1e-4, atol=1e-5)


def test_prompt_and_padding_carry_no_label_and_the_end_is_learnt():
    tokenizer = scratch.train_tokenizer(["query: red lamp\n", "grade: L1"], 300)
    one, two = common.encode(tokenizer, ["query: red lamp\n", "q"], ["grade: L1", "grade: L1"])
    batch = common.pad([one, two], tokenizer.pad_token_id)
    assert one.ids[-1] == tokenizer.eos_token_id
    assert batch["labels"][0].tolist() == [common.IGNORED] * one.prompt + one.ids[one.prompt :]
    width = len(one.ids)
    assert batch["labels"][1].tolist() == [common.IGNORED] * two.prompt + two.ids[two.prompt :] + [common.IGNORED] * (width - len(two.ids))
    assert batch["attention_mask"][1].sum() == len(two.ids)


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(16, 600), st.integers(0, 5))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget, seed):
    batches = common.token_batches(lengths, budget, seed)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget for batch in batches)
    assert batches == common.token_batches(lengths, budget, seed)


def test_the_rate_warms_up_and_ends_at_nothing():
    shape = common.warm_cosine()
    assert 0 < shape(0.0) < 0.1 and shape(0.03) > 0.99 and shape(0.5) == pytest.approx(0.5, abs=0.01) and shape(1.0) == pytest.approx(0)


def test_a_toy_shop_is_learnt_and_the_model_answers_in_the_form_it_was_taught():
    folder = toys.graded_by_label()
    losses = [row["loss"] for row in metrics(folder) if "loss" in row] + [row["train_loss"] for row in metrics(folder) if "train_loss" in row]
    card = modelcard.require(folder)
    assert losses[-1] < 2.5 and (card.layout, card.prompt, card.stage, card.base) == ("label-only", "short", "sft", "scratch:tiny")
    assert card.rulebook_hash == toys.RULEBOOK.hash
    verdicts = list(open_judge(f"hf:{folder}", JudgeSettings(toys.RULEBOOK))(parse(Pair, row) for row in toys.pairs()))
    right = sum(verdict.grade == row["grade"] for verdict, row in zip(verdicts, toys.pairs(), strict=True))
    assert right > len(verdicts) / 3 and sum(verdict.error is None for verdict in verdicts) > len(verdicts) * 0.9


def test_one_seed_gives_the_same_weights_and_metrics_another_seed_does_not(toy_traces, tmp_path):
    for name, seed in (("one", 4), ("two", 4), ("other", 5)):
        done = lore("lore-sft", toy_traces, *SCRATCH, "--max-steps", 3, "--seed", seed, "-o", tmp_path / name)
        assert done.code == 0, done.err
        assert done.out == b""
    one, two, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two", "other"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    timeless = [[{key: value for key, value in row.items() if key not in ("train_runtime", "train_samples_per_second", "train_steps_per_second")} for row in metrics(tmp_path / name)] for name in ("one", "two")]
    assert timeless[0] == timeless[1] and timeless[0][-1]["step"] == 3
    assert directory_hash(tmp_path / "one") == directory_hash(tmp_path / "two") != directory_hash(tmp_path / "other")


def test_more_steps_lower_the_loss(toy_traces, tmp_path):
    losses = []
    for steps in (2, 12):
        assert lore("lore-sft", toy_traces, *SCRATCH, "--max-steps", steps, "-o", tmp_path / str(steps)).code == 0
        losses.append(orjson.loads((tmp_path / f"{steps}.manifest.json").read_bytes())["counts"]["loss"])
    assert losses[1] < losses[0] * 0.8


@pytest.mark.parametrize(("epochs", "share"), [(0.5, 0.5), (1, 1), (2.25, 2.25)])
def test_a_part_of_an_epoch_is_a_part_of_its_batches(epochs, share):
    data = [common.Row([1] * 10, 2)] * 40
    batches = sft._schedule(data, sft.Settings(None, "tiny", epochs=epochs, batch_tokens=50))
    assert len(batches) == share * 8 and len(sft._schedule(data, sft.Settings(None, "tiny", max_steps=21, batch_tokens=50))) == 21


# ---------------------------------------------------------------- layouts
@pytest.mark.parametrize("layout", ["label-only", "answer-first"])
def test_the_card_tells_the_layout_of_the_traces(layout, tmp_path):
    rows = toys.write(tmp_path / "rows.jsonl", toys.traces(12, layout))
    assert lore("lore-sft", rows, *SCRATCH, "--max-steps", 1, "-o", tmp_path / "model").code == 0
    assert modelcard.require(tmp_path / "model").layout == layout


def test_a_prompt_that_no_judge_would_ask_is_refused_before_any_work(tmp_path):
    first, second = toys.traces(2)
    rows = toys.write(tmp_path / "rows.jsonl", [first, {**second, "prompt": "Is it right?\n"}])
    done = lore("lore-sft", rows, *SCRATCH, "-o", tmp_path / "model")
    assert done.code == 3 and f"row '{second['id']}': prompt: " in done.err and toys.names(tmp_path) == {"rows.jsonl"}


def test_the_card_names_the_template_that_the_traces_were_made_from(tmp_path):
    rows = [parse(Trace, {**row, "prompt": pair_prompt(parse(Trace, row), toys.RULEBOOK, "judge")}) for row in toys.traces(3)]
    assert prompt_of(rows, toys.RULEBOOK) == "judge"
    assert prompt_of([parse(Trace, row) for row in toys.traces(3)], toys.RULEBOOK) == "short"


# ---------------------------------------------------------------- given models
def test_lora_is_merged_into_an_ordinary_directory(toy_traces, tmp_path):
    base = toys.graded_by_label()
    done = lore("lore-sft", toy_traces, "--model", base, "--lora", "--lora-rank", 4, "--max-steps", 2, "--batch-tokens", 512, "-o", tmp_path / "model")
    assert done.code == 0, done.err
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    assert before.keys() == after.keys() and not any("lora" in name for name in after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("proj" in name for name in changed)
    assert modelcard.require(tmp_path / "model").base == f"sha256:{directory_hash(base)}"
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")


def test_a_base_of_another_architecture_without_a_pad_token_is_trained(toy_traces, tmp_path):
    tokenizer = scratch.train_tokenizer([row["prompt"] + row["completion"] for row in toys.traces()], 400)
    plain = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token=scratch.END)
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=256, n_embd=32, n_layer=1, n_head=2, eos_token_id=plain.eos_token_id, bos_token_id=None)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    plain.save_pretrained(tmp_path / "base")
    done = lore("lore-sft", toy_traces, "--model", tmp_path / "base", "--max-steps", 2, "--rate", 0.01, "-o", tmp_path / "model")
    assert done.code == 0, done.err
    before, after = load_file(tmp_path / "base" / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    judge = open_judge(f"hf:{tmp_path / 'model'}", JudgeSettings(toys.RULEBOOK, max_new_tokens=4))
    assert [verdict.id for verdict in judge([parse(Pair, toys.pairs(1)[0])])] == ["p0"]


def test_a_base_without_an_end_token_is_refused(toy_traces, tmp_path):
    scratch.build_model(scratch.train_tokenizer(["red lamp"], 300), scratch.SIZES["tiny"], 0).save_pretrained(tmp_path / "base")
    transformers.PreTrainedTokenizerFast(tokenizer_object=scratch.train_tokenizer(["red lamp"], 300).backend_tokenizer).save_pretrained(tmp_path / "base")
    done = lore("lore-sft", toy_traces, "--model", tmp_path / "base", "-o", tmp_path / "model")
    assert done.code == 3 and "eos_token" in done.err and toys.names(tmp_path) == {"base"}


@pytest.mark.parametrize(("files", "code"), [({}, 4), ({"config.json": "{}"}, 3), ({"config.json": "no json"}, 4)])
def test_a_directory_that_is_no_model_is_refused(toy_traces, tmp_path, files, code):
    (tmp_path / "base").mkdir()
    for name, content in files.items():
        (tmp_path / "base" / name).write_text(content)
    done = lore("lore-sft", toy_traces, "--model", tmp_path / "base", "-o", tmp_path / "model", env={"HF_HUB_OFFLINE": "1"})
    assert done.code == code and str(tmp_path / "base") in done.err and "Traceback" not in done.err and toys.names(tmp_path) == {"base"}


# ---------------------------------------------------------------- what is refused
def test_rows_over_the_limit_are_counted_and_refused(toy_traces, tmp_path):
    done = lore("lore-sft", toy_traces, *SCRATCH, "--max-length", 20, "-o", tmp_path / "model")
    assert done.code == 3 and "48 of 48 rows" in done.err and "20 tokens" in done.err and toys.names(tmp_path) == set()


def test_numbers_that_overflow_end_the_run_without_a_model(toy_traces, tmp_path):
    done = lore("lore-sft", toy_traces, *SCRATCH, "--rate", 1e36, "--max-steps", 4, "-o", tmp_path / "model")
    assert done.code == 3 and "diverged" in done.err and "learning rate" in done.err and toys.names(tmp_path) == set()


# ---------------------------------------------------------------- ending
def test_the_clock_ends_a_run_and_the_rate_has_fallen_by_then(toy_traces, tmp_path):
    done = lore("lore-sft", toy_traces, *SCRATCH, "--max-seconds", 2, "-o", tmp_path / "model")
    counts = orjson.loads((tmp_path / "model.manifest.json").read_bytes())["counts"]
    assert done.code == 0 and counts["steps"] < 400 and counts["rows_seen"] > 0


def test_ctrl_c_while_training_leaves_nothing(toy_traces, tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell starts with SIGINT ignored

    def interrupt() -> None:
        while not list(tmp_path.glob(".lore-*")):
            time.sleep(0.02)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        done = lore("lore-sft", toy_traces, *SCRATCH, "--max-steps", 100_000, "--max-seconds", 120, "-o", tmp_path / "model")
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.code == 130 and "interrupted" in done.err and "Traceback" not in done.err and toys.names(tmp_path) == set()


def test_the_log_tells_the_run_and_standard_output_stays_empty(toy_traces, tmp_path):
    done = lore("lore-sft", toy_traces, *SCRATCH, "--max-steps", 2, "--log-json", "-o", tmp_path / "model")
    said = [orjson.loads(line) for line in done.err.splitlines()]
    assert done.code == 0 and done.out == b""
    assert said[-1]["steps"] == 2 and said[-1]["rows"] == 48 and said[-1]["loss"] > 0
    assert toys.names(tmp_path) == {"model", "model.manifest.json"}
    assert toys.names(tmp_path / "model") >= {"config.json", "model.safetensors", "tokenizer.json", "lore.json", "metrics.jsonl"} and not (tmp_path / "model" / "checkpoints").exists()
