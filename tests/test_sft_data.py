"""What may be learnt and how it is asked for: mixed layouts, rulebooks, benchmarks, contexts, templates; what is told of a model."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import orjson
import pytest
import torch
import training_toys as toys
from commands_run import ROOT, lore
from safetensors.torch import load_file

from lore_cli import modelcard
from lore_cli.errors import Missing
from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.prompts import load_prompt, pair_prompt
from lore_cli.records import Pair, Trace, parse
from lore_cli.train import bases, common, sft
from lore_cli.train.data import lesson_of

pytestmark = pytest.mark.usefixtures("toy_size")

SCRATCH = ("--from-scratch", "tiny", "--batch-tokens", 512)


# ---------------------------------------------------------------- mixed layouts
def test_rows_of_one_layout_keep_their_prompts_and_mixed_ones_say_which_is_wanted():
    reasoned, bare = ([parse(Trace, row) for row in toys.traces(3, layout)] for layout in ("answer-last", "label-only"))
    assert [row.prompt for row in lesson_of(bare, toys.RULEBOOK).traces] == [row.prompt for row in bare]
    lesson = lesson_of([*bare, *reasoned], toys.RULEBOOK)
    assert (lesson.layout, lesson.prompt) == ("answer-last", "short+answer-last")
    assert lesson.traces[0].prompt == f"{bare[0].prompt}answer: label-only\n" == pair_prompt(bare[0], toys.RULEBOOK, "short+label-only")
    assert lesson.traces[3].prompt == pair_prompt(reasoned[0], toys.RULEBOOK, "short+answer-last")
    assert len({load_prompt(name).hash for name in ("short", "short+label-only", "short+answer-last")}) == 3


def test_a_model_of_mixed_rows_reasons_by_itself_and_gives_the_bare_grade_when_asked_for_it(tmp_path):
    mixed = [row | {"id": f"{layout}{row['id']}"} for layout in ("answer-last", "label-only") for row in toys.traces(24, layout)]
    rows = toys.write(tmp_path / "rows.jsonl", mixed)
    done = lore("lore-sft", rows, *SCRATCH, "--max-steps", 150, "-o", tmp_path / "model")
    assert done.code == 0, done.err
    assert modelcard.require(tmp_path / "model").prompt == "short+answer-last"
    pairs = [parse(Pair, row) for row in toys.pairs(24)]
    reasoned = list(open_judge(f"hf:{tmp_path / 'model'}", JudgeSettings(toys.RULEBOOK, max_new_tokens=80))(pairs))
    bare = list(open_judge(f"hf:{tmp_path / 'model'}", JudgeSettings(toys.RULEBOOK, prompt="short+label-only"))(pairs))
    assert sum(bool(verdict.grade and verdict.matches) for verdict in reasoned) > 18
    assert sum(bool(verdict.grade and not verdict.matches) for verdict in bare) > 18


def test_a_layout_that_is_none_cannot_be_asked_for(tmp_path):
    pairs = toys.write(tmp_path / "pairs.jsonl", toys.pairs(1))
    done = lore("lore-rair run", pairs, "--judge", f"hf:{toys.graded_by_label()}", "--prompt", "short+briefly")
    assert done.code == 2 and "briefly" in done.err and "label-only" in done.err


# ---------------------------------------------------------------- another rulebook
def test_a_row_that_does_not_follow_from_its_matches_is_of_another_rulebook(tmp_path):
    first, second = toys.traces(2)
    wrong = second["completion"].replace(second["grade"], "L1" if second["grade"] != "L1" else "L2")
    rows = toys.write(tmp_path / "rows.jsonl", [first, {**second, "completion": wrong}])
    asked = ("lore-sft", rows, *SCRATCH, "--max-steps", 1, "-o", tmp_path / "model")
    done = lore(*asked)
    assert done.code == 3 and f"row '{second['id']}'" in done.err and "under this rulebook" in done.err and "--allow-rulebook-change" in done.err
    assert toys.names(tmp_path) == {"rows.jsonl"}
    assert lore(*asked, "--allow-rulebook-change").code == 0


def test_the_manifest_of_the_traces_tells_their_rulebook(tmp_path):
    traces = tmp_path / "traces.jsonl"
    assert lore("lore-synth", ROOT / "examples" / "pairs.jsonl", "--stages", "knowledge,rules", "-o", traces).code == 0
    book = tmp_path / "book.toml"
    book.write_text((ROOT / "lore_cli" / "rulebook.toml").read_text("utf-8") + "\n# another version\n", "utf-8")
    asked = ("lore-sft", traces, *SCRATCH, "--max-steps", 1, "-o", tmp_path / "model")
    done = lore(*asked, "--rulebook", book)
    assert done.code == 3 and "was made with rulebook" in done.err and not (tmp_path / "model").exists()
    assert lore(*asked, "--rulebook", book, "--allow-rulebook-change").code == 0
    assert lore(*asked, "--force").code == 0


# ---------------------------------------------------------------- a benchmark that leaks
@pytest.mark.parametrize(
    ("change", "shared"),
    [(lambda row: {**row, "item": {"id": "x", "title": "something quite different", "category": "book"}}, "query"), (lambda row: {**row, "query": "garden gnome"}, "item")],
)
def test_rows_of_a_benchmark_are_refused_and_named(toy_traces, tmp_path, change, shared):
    bench = toys.write(tmp_path / "bench.jsonl", [change(toys.pairs()[5]) | {"id": "b1"}])
    done = lore("lore-sft", toy_traces, *SCRATCH, "--not-in", bench, "-o", tmp_path / "model")
    assert done.code == 3 and f"the {shared} of 'b1'" in done.err and "of 48 rows are in the benchmark" in done.err and toys.names(tmp_path) == {"bench.jsonl"}


def test_what_no_benchmark_holds_is_learnt_and_shared_items_can_be_allowed(toy_traces, tmp_path):
    bench = toys.write(tmp_path / "bench.jsonl", [{**toys.pairs()[5], "id": "b1", "query": "garden gnome"}])
    other = toys.write(tmp_path / "other.jsonl", [{"id": "b2", "query": "garden gnome", "item": {"id": "x", "title": "bearded gnome"}}])
    for number, options in enumerate((("--not-in", other), ("--not-in", bench, "--shared-items"))):
        done = lore("lore-sft", toy_traces, *SCRATCH, "--max-steps", 1, *options, "-o", tmp_path / f"model{number}")
        assert done.code == 0, done.err
    read = orjson.loads((tmp_path / "model0.manifest.json").read_bytes())["inputs"]
    assert str(other) in {entry["path"] for entry in read}


# ---------------------------------------------------------------- limits
def test_a_row_over_the_models_context_is_refused(toy_traces, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(toys.graded_by_label(), base)
    config = orjson.loads((base / "config.json").read_bytes())
    (base / "config.json").write_bytes(orjson.dumps(config | {"max_position_embeddings": 24}))
    done = lore("lore-sft", toy_traces, "--model", base, "-o", tmp_path / "model")
    assert done.code == 3 and "48 of 48 rows are longer than the model's context of 24 tokens" in done.err and toys.names(tmp_path) == {"base"}


@pytest.mark.parametrize("error", ["of a CPU", "of a GPU"])
def test_out_of_memory_says_what_to_lower(toy_traces, tmp_path, monkeypatch, error):
    def starved(model, inputs):
        if error == "of a GPU":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return torch.empty(10**15)

    monkeypatch.setattr(sft, "completion_loss", starved)
    done = lore("lore-sft", toy_traces, *SCRATCH, "-o", tmp_path / "model")
    assert done.code == 4 and "out of memory at step 1" in done.err and "--batch-tokens" in done.err and "Traceback" not in done.err and toys.names(tmp_path) == set()


def test_another_error_of_torch_keeps_its_traceback(toy_traces, tmp_path, monkeypatch):
    def broken(model, inputs):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(sft, "completion_loss", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        lore("lore-sft", toy_traces, *SCRATCH, "-o", tmp_path / "model")
    assert toys.names(tmp_path) == set()


# ---------------------------------------------------------------- optimisers
def test_muon_can_train_a_given_model_and_adamw_one_from_scratch(toy_traces, tmp_path):
    base = toys.graded_by_label()
    for name, options in {"adamw": (), "muon": ("--optimizer", "muon")}.items():
        done = lore("lore-sft", toy_traces, "--model", base, "--max-steps", 1, "--batch-tokens", 512, "--rate", 1e-3, *options, "-o", tmp_path / name)
        assert done.code == 0, done.err
    before, adamw, muon = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "adamw", tmp_path / "muon"))
    moved = {name: (muon[name] - before[name]).norm() / (adamw[name] - before[name]).norm() for name in before if "q_proj" in name}
    assert all(0.2 < ratio < 5 and not torch.equal(muon[name], adamw[name]) for name, ratio in moved.items()), moved
    made = sft._optimizer(common.load_for_training(str(base))[0], sft.Settings(None, "tiny", optimizer="adamw"))[0]
    assert type(made) is torch.optim.AdamW and made.param_groups[0]["lr"] == pytest.approx(3e-3)


# ---------------------------------------------------------------- four bits
def test_four_bits_are_refused_clearly_where_they_cannot_be_had(toy_traces, tmp_path, monkeypatch):
    base = toys.graded_by_label()
    done = lore("lore-sft", toy_traces, "--model", base, "--quantize", "4bit", "-o", tmp_path / "model")
    assert done.code == 2 and "--quantize goes with --lora" in done.err
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = lore("lore-sft", toy_traces, "--model", base, "--lora", "--quantize", "4bit", "-o", tmp_path / "model")
    assert done.code == 4 and "CUDA GPU" in done.err and toys.names(tmp_path) == set()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(Missing, match="bitsandbytes"):
        bases.require_four_bits()


def test_an_adapter_of_a_quantised_base_is_merged_into_the_base_as_it_was(tmp_path):
    base = str(toys.graded_by_label())
    model, _ = bases.adapted(base, 2, None)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, 0.1)
    model.save_pretrained(tmp_path)
    anew, usual = bases.merged_anew(base, str(tmp_path)).state_dict(), model.merge_and_unload().state_dict()
    before = load_file(Path(base) / "model.safetensors")
    assert all(torch.allclose(anew[name], usual[name], atol=1e-6) for name in usual)
    assert not torch.equal(anew["model.layers.0.self_attn.q_proj.weight"], before["model.layers.0.self_attn.q_proj.weight"])


# ---------------------------------------------------------------- what is told of a model
def test_a_changed_chat_template_is_refused_by_every_command_that_opens_the_model(toy_traces, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(toys.graded_by_label(), model)
    assert modelcard.require(model).chat_template_hash == ""
    (model / "chat_template.jinja").write_text("{{ messages }}")
    pairs = toys.write(tmp_path / "pairs.jsonl", toys.pairs(1))
    for asked in (("lore-rair run", pairs, "--judge", f"hf:{model}"), ("lore-rl train", pairs, "--model", model, "-o", tmp_path / "rl")):
        done = lore(*asked)
        assert done.code == 3 and "chat_template_hash" in done.err and "chat template" in done.err, done.err
    (model / "lore.json").write_bytes(orjson.dumps({**orjson.loads((model / "lore.json").read_bytes()), "chat_template_hash": None}))
    assert lore("lore-rair run", pairs, "--judge", f"hf:{model}").code in (0, 5)  # a card that does not tell


def test_the_template_of_the_base_is_on_the_card(toy_traces, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(toys.graded_by_label(), base)
    settings = orjson.loads((base / "tokenizer_config.json").read_bytes())
    (base / "tokenizer_config.json").write_bytes(orjson.dumps(settings | {"chat_template": "{{ messages }}"}))
    assert lore("lore-sft", toy_traces, "--model", base, "--max-steps", 1, "-o", tmp_path / "model").code == 0
    assert modelcard.require(tmp_path / "model").chat_template_hash == modelcard.chat_template_hash(base) != ""


def test_the_readme_tells_data_rulebook_settings_and_figures_and_no_path(toy_traces, tmp_path):
    assert lore("lore-sft", toy_traces, *SCRATCH, "--max-steps", 2, "--seed", 9, "-o", tmp_path / "model").code == 0
    readme = (tmp_path / "model" / "README.md").read_text("utf-8")
    manifest = orjson.loads((tmp_path / "model.manifest.json").read_bytes())
    assert manifest["inputs"][0]["sha256"] in readme and toys.RULEBOOK.hash in readme and "| seed | 9 |" in readme.replace("`", "")
    assert f"| loss | {manifest['counts']['loss']} |" in readme and str(tmp_path) not in readme and str(toy_traces.parent) not in readme
    assert readme.startswith("---\nlibrary_name: transformers\n")
