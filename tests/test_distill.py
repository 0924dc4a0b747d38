"""Distillation: what a teacher's word becomes, the losses, the student that comes out."""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy
import orjson
import pytest
import torch
import training_toys as toys
import transformers
from commands_run import lore
from hypothesis import given
from hypothesis import strategies as st

from lore_cli.errors import BadInput
from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.judges.calibrated import Calibration
from lore_cli.judges.encoders import buckets
from lore_cli.judges.student import Reader, read_info
from lore_cli.path.knowledge import Glossary
from lore_cli.records import GRADES, Pair, parse
from lore_cli.train import calibrate, distill, encoder, losses
from lore_cli.train.examples import batches, prepare
from lore_cli.train.soft import SoftRow, split, target_of

pytestmark = pytest.mark.usefixtures("toy_size")

SWAPPED = dict(zip(GRADES, ("L3", "L1", "L2", "L4"), strict=True))  # what this teacher says where the rulebook says L1, L2, L3, L4
COLOURS = ("red", "blue", "green", "white", "black", "pink", "purple", "yellow", "orange", "brown")
PRODUCTS = ("lamp", "sofa", "rug", "chair", "table", "vase")


def soft_rows(wrong_by: dict[str, str] = SWAPPED, probability: float = 0.85) -> list[dict]:
    """Pairs of 60 queries with a teacher that differs from the rulebook in its own way."""
    rows = []
    for number, (colour, product) in enumerate((colour, product) for colour in COLOURS for product in PRODUCTS):
        other = COLOURS[(number + 3) % len(COLOURS)]
        for kind, title in enumerate((f"{colour} {product}", f"{other} {product}", product, f"{colour} {PRODUCTS[(number + 1) % len(PRODUCTS)]}")):
            row = {"id": f"p{number}-{kind}", "query": f"{colour} {product}", "item": {"id": f"i{number}-{kind}", "title": title, "category": title.split()[-1]}}
            said = toys.implied(row)
            grade = wrong_by[said.grade]
            rest = (1 - probability) / 3
            matches = [{"attribute": m.attribute, "need": m.need, "state": m.state} for m in said.matches]
            rows.append({**row, "teacher": {"grade": grade, "scores": {one: probability if one == grade else rest for one in GRADES}, "matches": matches, "judge": "toy"}})
    return rows


def write_soft(folder: Path, **how) -> Path:
    return toys.write(folder / "soft.jsonl", soft_rows(**how))


def soft(row: dict) -> SoftRow:
    return parse(SoftRow, row)


@lru_cache(maxsize=1)
def student() -> Path:
    """A student of the toy teacher, trained once."""
    import atexit
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="lore-toy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    done = lore("lore-distill", "train", write_soft(folder), "--epochs", 12, "--batch-size", 32, "--held-out", 0.3, "--seed", 1, "-o", folder / "student")
    assert done.code == 0, done.err
    assert done.out == b""
    return folder / "student"


def judge_of(folder: Path, **settings):
    return open_judge(f"student:{folder}", JudgeSettings(toys.RULEBOOK, **settings))


def judged(folder: Path, rows: list[dict], **settings):
    return list(judge_of(folder, **settings)(parse(Pair, row) for row in rows))


# ---------------------------------------------------------------- labels
def test_label_adds_the_teacher_with_its_scores_and_keeps_the_row(tmp_path):
    rows = toys.write(tmp_path / "pairs.jsonl", [{**row, "shelf": 7} for row in toys.pairs(12)])
    done = lore("lore-distill", "label", rows, "--judge", f"hf:{toys.graded_by_label()}")
    found = [orjson.loads(line) for line in done.lines]
    assert done.code == 0 and [row["id"] for row in found] == [f"p{number}" for number in range(12)]
    for row, before in zip(found, toys.pairs(12), strict=True):
        assert row["shelf"] == 7 and row["grade"] == before["grade"]
        assert sum(row["teacher"]["scores"].values()) == pytest.approx(1) and row["teacher"]["grade"] in GRADES


def test_a_teachers_error_is_kept_as_an_error_and_never_becomes_a_label(tmp_path):
    rows = toys.write(tmp_path / "pairs.jsonl", [{name: value for name, value in row.items() if name != "grade"} for row in toys.pairs(3)])
    said = [{"id": f"p{number}", "query": toys.pairs(3)[number]["query"], "item_id": f"i{number}", "judge": "toy", **({"error": "no reply"} if number == 1 else {"grade": "L3"})} for number in range(3)]
    done = lore("lore-distill", "label", rows, "--judge", f"replay:{toys.write(tmp_path / 'said.jsonl', said)}")
    found = [orjson.loads(line) for line in done.lines]
    assert done.code == 5 and found[1]["teacher"] == {"judge": found[1]["teacher"]["judge"], "error": "no reply"}
    examples = prepare(map(soft, found), Reader("path", toys.RULEBOOK, Glossary()), 0.3)
    assert (len(examples), examples.skipped) == (2, 1)


def test_a_target_is_the_teachers_word_mixed_with_the_humans():
    row = {"id": "1", "query": "q", "item": {"id": "i", "title": "t"}}
    teacher = {"grade": "L4", "scores": {"L1": 0.0, "L2": 0.0, "L3": 0.5, "L4": 1.5}}
    assert target_of(soft(row), 0.3) is None
    assert target_of(soft({**row, "teacher": {"error": "no reply"}}), 0.3) is None
    assert target_of(soft({**row, "grade": "L1", "teacher": {"error": "no reply"}}), 0.3) == [1, 0, 0, 0]
    assert target_of(soft({**row, "teacher": {"grade": "L2"}}), 0.3) == [0, 1, 0, 0]
    assert target_of(soft({**row, "teacher": teacher}), 0.3) == [0, 0, 0.25, 0.75]
    assert target_of(soft({**row, "grade": "L1", "teacher": teacher}), 0.4) == pytest.approx([0.4, 0, 0.15, 0.45])
    assert target_of(soft({**row, "teacher": {**teacher, "scores": dict.fromkeys(GRADES, 0.0)}}), 0.3) == [0, 0, 0, 1]


def test_a_query_stays_on_its_side_whatever_else_is_there():
    queries = [f"query {number}" for number in range(400)]
    held = split(queries, 0.25, seed=3)
    assert 60 < sum(held) < 140
    assert split(queries[::-1], 0.25, seed=3) == held[::-1]
    assert split(["Query  7"], 0.25, seed=3) == [held[7]]
    assert split(queries, 0.25, seed=4) != held and not any(split(queries, 0.0, seed=3))


# ---------------------------------------------------------------- losses
def test_the_distribution_loss_is_the_divergence_from_the_target():
    target = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]])
    assert float(losses.distribution_loss(target.clamp_min(1e-30).log(), target)) == pytest.approx(0, abs=1e-6)
    expected = (math.log(4) + sum(p * math.log(p) for p in (0.1, 0.2, 0.3, 0.4)) + math.log(4)) / 2
    assert float(losses.distribution_loss(torch.zeros(2, 4), target)) == pytest.approx(expected, abs=1e-6)


def test_the_margin_loss_compares_items_of_one_query_only():
    expected, target = torch.tensor([4.0, 2.0, 1.0], requires_grad=True), torch.tensor([3.0, 3.0, 3.0])
    assert float(losses.margin_loss(expected.detach(), target, torch.tensor([0, 0, 1]))) == pytest.approx(4 / 9)
    assert float(losses.margin_loss(expected.detach() + 5, target, torch.tensor([0, 0, 1]))) == pytest.approx(4 / 9), "a shift of all grades is no margin"
    alone = losses.margin_loss(expected, target, torch.tensor([0, 1, 2]))
    alone.backward()
    assert float(alone.detach()) == 0 and expected.grad.tolist() == [0, 0, 0]


def test_the_state_loss_counts_asked_dimensions_alone():
    logits = torch.zeros(2, 8)
    logits[0, 0] = 20.0
    asked = torch.tensor([[0, losses.NOT_ASKED], [losses.NOT_ASKED, losses.NOT_ASKED]])
    assert float(losses.state_loss(logits, asked)) == pytest.approx(0, abs=1e-6)
    assert float(losses.state_loss(logits, torch.full((2, 2), losses.NOT_ASKED))) == 0
    assert float(losses.state_loss(logits, torch.tensor([[losses.NOT_ASKED, 2]] * 2))) == pytest.approx(math.log(4))


@given(st.lists(st.tuples(st.integers(3, 60), st.integers(0, 6)), min_size=1, max_size=120), st.integers(1, 16), st.integers(0, 3))
def test_an_epoch_holds_every_row_once(rows, size, seed):
    import random

    lengths, queries = [length for length, _ in rows], [query for _, query in rows]
    made = batches(lengths, queries, size, random.Random(seed))
    assert sorted(row for batch in made for row in batch) == list(range(len(rows))) and all(len(batch) <= size for batch in made)
    assert made == batches(lengths, queries, size, random.Random(seed))


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 6.0])
def test_the_temperature_never_makes_the_likelihood_worse(sharpness: float):
    random = torch.Generator().manual_seed(2)
    true = torch.randn((400, 4), generator=random, dtype=torch.float64)
    target = torch.nn.functional.one_hot(torch.multinomial(true.softmax(-1), 1, generator=random)[:, 0], 4).double()
    logits = true * sharpness

    def cost(temperature: float) -> float:
        return float(losses.distribution_loss(logits / temperature, target))

    temperature = calibrate.fit_temperature(logits.numpy(), target.numpy())
    assert cost(temperature) <= cost(1.0) + 1e-9
    assert temperature == pytest.approx(sharpness, rel=0.25)


def test_without_held_out_rows_the_scores_are_left_as_they_are():
    nothing = numpy.zeros((0, 4))
    assert calibrate.fit(nothing, nothing, numpy.zeros(0, int), "isotonic", "macro-f1", None) == Calibration()
    assert calibrate.fit(nothing, nothing, numpy.zeros(0, int), "temperature", "likeliest", 0.05).threshold > 1, "no row shows that the target is met"


# ---------------------------------------------------------------- the student
def test_the_same_texts_give_the_same_tokenizer_and_its_inner_pieces_are_not_special():
    texts = [row["query"] for row in soft_rows()] + ["红色 台灯", "unchanged lamps"]
    made = [encoder.train_tokenizer(texts, 300, ["[query]"], 64) for _ in range(4)]
    assert all(one.get_vocab() == made[0].get_vocab() for one in made) and len(made[0]) <= 300
    assert made[0].tokenize("[query] lamp ##a") == ["[query]", "lamp", "[UNK]", "[UNK]", "a"] and made[0].tokenize("台灯") == ["台", "灯"]


def test_a_student_learns_its_teachers_own_ways_on_queries_it_has_not_seen():
    info = read_info(student())
    agreement = info.report["agreement"]
    held = split([row["query"] for row in soft_rows()], 0.3, seed=1)
    majority = Counter(row["teacher"]["grade"] for row, out in zip(soft_rows(), held, strict=True) if out).most_common(1)[0][1] / sum(held)
    assert agreement["rows"] == sum(held) and agreement["queries"] > 5
    assert agreement["with_teacher"]["acc4"] > majority + 0.2
    assert agreement["student_with_human"] == {"n": 0, "acc2": None, "acc4": None, "macro_f1": None}
    assert info.teacher == {"judge": "toy"} and info.rulebook_hash == toys.RULEBOOK.hash
    kept = [row["kept"] for row in agreement["thresholds"]]
    assert kept[0] == 1.0 and kept == sorted(kept, reverse=True)


def test_a_student_judges_in_order_with_probabilities_whatever_the_batch(float32):
    rows = soft_rows()[::5]
    rows[3] = {**rows[3], "query": "红色 台灯 " * 40}
    wide, narrow = judged(student(), rows, batch_size=64), judged(student(), rows, batch_size=1)
    assert [verdict.id for verdict in wide] == [row["id"] for row in rows]
    for one, other in zip(wide, narrow, strict=True):
        assert one.error is None and list(one.scores) == list(GRADES) and sum(one.scores.values()) == pytest.approx(1)
        assert one.grade == max(one.scores, key=one.scores.get)
        assert [*one.scores.values()] == pytest.approx([*other.scores.values()], abs=1e-5)


@given(st.lists(st.integers(0, 100), max_size=50), st.integers(1, 9))
def test_buckets_hold_every_row_once(lengths, size):
    made = buckets(lengths, size)
    assert sorted(row for bucket in made for row in bucket) == list(range(len(lengths))) and all(len(bucket) <= size for bucket in made)


def test_a_title_cannot_forge_what_the_student_is_told_of_the_path():
    reader = Reader("path", toys.RULEBOOK, Glossary())
    path, item = reader.texts(parse(Pair, {"id": "1", "query": "red lamp [implied:L4]", "item": {"id": "2", "title": "[implied:L4] [colour:exact] rug"}}))
    assert path.count("[implied:") == 1 and "[implied" not in item and "[colour" not in item


def test_a_student_carried_elsewhere_answers_the_same_and_refuses_another_rulebook(tmp_path):
    import shutil

    shutil.copytree(student(), tmp_path / "copy")
    rows = soft_rows()[:8]
    assert [v.scores for v in judged(tmp_path / "copy", rows)] == [v.scores for v in judged(student(), rows)]
    assert judge_of(tmp_path / "copy").identity() == judge_of(student()).identity()
    shutil.copytree(student(), tmp_path / "changed")
    with (tmp_path / "changed" / "rulebook.toml").open("a") as file:
        file.write("\n# another\n")
    with pytest.raises(BadInput, match="rulebook"):
        judge_of(tmp_path / "changed")


def test_one_seed_gives_one_student(tmp_path):
    for name, seed in (("one", 2), ("two", 2), ("other", 3)):
        done = lore("lore-distill", "train", write_soft(tmp_path), "--epochs", 1, "--seed", seed, "-o", tmp_path / name)
        assert done.code == 0, done.err
    scores = [[v.scores for v in judged(tmp_path / name, soft_rows()[:6])] for name in ("one", "two", "other")]
    assert scores[0] == scores[1] != scores[2]


@pytest.mark.parametrize("features", ["path", "text"])
def test_an_encoder_from_a_directory_is_taken_further(tmp_path, features):
    tokenizer = encoder.train_tokenizer([row["query"] for row in soft_rows()], 500, [], 128)
    config = transformers.BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=128)
    transformers.BertModel(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    done = lore("lore-distill", "train", write_soft(tmp_path), "--model", tmp_path / "base", "--features", features, "--epochs", 1, "-o", tmp_path / "student")
    assert done.code == 0, done.err
    assert "Traceback" not in done.err and done.out == b""
    info = read_info(tmp_path / "student")
    verdict = judged(tmp_path / "student", soft_rows()[:1])[0]
    assert info.base == str(tmp_path / "base") and info.features == features and sum(verdict.scores.values()) == pytest.approx(1)


def test_a_directory_that_is_no_encoder_is_refused(tmp_path):
    (tmp_path / "base").mkdir()
    done = lore("lore-distill", "train", write_soft(tmp_path), "--model", tmp_path / "base", "-o", tmp_path / "student", env={"HF_HUB_OFFLINE": "1"})
    assert done.code in (3, 4) and str(tmp_path / "base") in done.err and not (tmp_path / "student").exists()


# ---------------------------------------------------------------- odd inputs
def test_no_rows_and_rows_that_nobody_graded_are_refused(tmp_path):
    for rows in ([], [{"id": "1", "query": "q", "item": {"id": "i", "title": "t"}, "teacher": {"error": "no reply"}}]):
        done = lore("lore-distill", "train", toys.write(tmp_path / "rows.jsonl", rows), "--from-scratch", "tiny", "-o", tmp_path / "student")
        assert done.code == 3 and "lore-distill label" in done.err and not (tmp_path / "student").exists()


def test_one_grade_alone_and_queries_of_a_single_item_are_learnt_from(tmp_path):
    rows = [{name: value for name, value in row.items() if name != "teacher"} | {"grade": "L2"} for row in soft_rows()[::4]]
    done = lore("lore-distill", "train", toys.write(tmp_path / "rows.jsonl", rows), "--epochs", 15, "-o", tmp_path / "student")
    assert done.code == 0, done.err
    assert {verdict.grade for verdict in judged(tmp_path / "student", rows[:10])} == {"L2"}
    assert all(math.isfinite(score) for verdict in judged(tmp_path / "student", rows[:10]) for score in verdict.scores.values())


def test_without_attribute_heads_the_student_has_four_outputs(tmp_path):
    done = lore("lore-distill", "train", write_soft(tmp_path), "--epochs", 0.5, "--states-weight", 0, "--margin-weight", 0, "-o", tmp_path / "student")
    assert done.code == 0 and len(transformers.AutoConfig.from_pretrained(tmp_path / "student").id2label) == 4
    assert len(transformers.AutoConfig.from_pretrained(student()).id2label) == 4 + 4 * len(toys.RULEBOOK.dimensions)


SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "num_labels": 4}


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "electra", "deberta-v2", "distilbert", "modernbert"])
def test_of_every_kind_of_encoder_head_and_pooler_alone_learn_faster(kind):
    own = {"pad_token_id": 0} if kind == "modernbert" else {}
    model = transformers.AutoModelForSequenceClassification.from_config(transformers.AutoConfig.for_model(kind, **SMALL, **own))
    layers, above = (set(map(id, group)) for group in encoder.above_layers(model))
    new = {id(weight) for name, weight in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.") or ".pooler." in name}
    assert above == new and layers == {id(weight) for weight in model.parameters()} - new
    rates = {id(weight): group["lr"] for group in distill._optimizer(model, distill.Settings(rates=(0.0, 1e-4)), fresh=False).param_groups for weight in group["params"]}
    assert {rates[one] for one in above} == {1e-3} and {rates[one] for one in layers} == {1e-4}


def test_numbers_that_overflow_end_the_run_without_a_student(tmp_path):
    done = lore("lore-distill", "train", write_soft(tmp_path), "--learning-rate", 1e37, "--epochs", 2, "-o", tmp_path / "student")
    assert done.code == 3 and "diverged" in done.err and not (tmp_path / "student").exists()
