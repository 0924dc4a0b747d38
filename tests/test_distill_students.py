"""Kinds of students and what they refuse: presets, bi-encoders, sentence-transformers as a second reader, labels that cannot be learnt from."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy
import orjson
import pytest
import torch
import training_toys as toys
import transformers
from commands_run import lore
from test_distill import judge_of, judged, soft, soft_rows, student, write_soft

from lore_cli.judges.student import read_info
from lore_cli.records import GRADES, row_of
from lore_cli.train import losses
from lore_cli.train.soft import target_of

pytestmark = pytest.mark.usefixtures("toy_size")


@lru_cache(maxsize=1)
def bi_student() -> Path:
    import atexit
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="lore-toy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    done = lore("lore-distill", "train", write_soft(folder), "--architecture", "bi", "--epochs", 15, "--batch-size", 32, "--held-out", 0.3, "--seed", 1, "-o", folder / "student")
    assert done.code == 0, done.err
    return folder / "student"


def test_sentence_transformers_reads_a_student_and_scores_as_the_judge_does(float32):
    from sentence_transformers import CrossEncoder

    rows = soft_rows()[::7]
    judge = judge_of(student())
    pairs = [judge.student.reader.texts(soft(row)) for row in rows]
    logits = CrossEncoder(str(student()), max_length=judge.student.info.max_length).predict(pairs, batch_size=8)[:, :4]
    for verdict, scores in zip(judged(student(), rows), judge.student.info.calibration.probabilities(logits.astype(float)), strict=True):
        assert [*verdict.scores.values()] == pytest.approx(list(scores), abs=1e-5)


def test_a_bi_encoder_learns_and_reads_an_item_once():
    info, rows = read_info(bi_student()), soft_rows()
    assert (info.architecture, info.features) == ("bi", "text")
    found = judged(bi_student(), rows)
    assert sum(verdict.grade == row["teacher"]["grade"] for verdict, row in zip(found, rows, strict=True)) / len(rows) > 0.6
    judge = judge_of(bi_student())
    asked = list(judge([soft(row) for row in rows[:8]]))
    read, again = judge.student.encoder.items, judge.student.read([soft(row) for row in rows[:8]])
    assert len(read) == len({row["item"]["title"] for row in rows[:8]}) and again[-1] == [], "their items are not read a second time"
    assert [*judge([soft(row) for row in rows[:8]])][0].scores == pytest.approx(asked[0].scores)
    narrow = judged(bi_student(), rows[:20], batch_size=3)
    assert [verdict.grade for verdict in narrow] == [verdict.grade for verdict in found[:20]]


def test_a_bi_encoder_has_no_path(tmp_path):
    done = lore("lore-distill", "train", write_soft(tmp_path), "--architecture", "bi", "--features", "path", "-o", tmp_path / "student")
    assert done.code == 2 and "apart" in done.err


@pytest.mark.parametrize(("preset", "outputs"), [("walmart", 4), ("mkd", 4 + 4 * len(toys.RULEBOOK.dimensions))])
def test_a_preset_sets_the_weights_and_flags_win_over_it(tmp_path, preset, outputs):
    done = lore("lore-distill", "train", write_soft(tmp_path), "--preset", preset, "--ordinal-weight", 0.5, "--epochs", 0.5, "-o", tmp_path / "student")
    assert done.code == 0, done.err
    used = read_info(tmp_path / "student").report["losses"]
    assert used["ordinal"] == 0.5 and used["human"] == 0 and used["margin"] == (preset == "walmart")
    assert len(transformers.AutoConfig.from_pretrained(tmp_path / "student").id2label) == outputs


def test_the_ordinal_loss_grows_with_the_distance_and_moves_mass_towards_the_target():
    target, near, far = (torch.eye(4)[[grade]] for grade in (3, 2, 0))
    assert losses.ordinal_loss(target, target) == 0 < losses.ordinal_loss(near, target) < losses.ordinal_loss(far, target)
    logits = torch.zeros(1, 4, requires_grad=True)
    losses.ordinal_loss(logits.softmax(-1), target).backward()
    assert logits.grad[0, 3] < 0 < logits.grad[0, 0]


# ---------------------------------------------------------------- labels that cannot be learnt from
ROW = {"id": "1", "query": "q", "item": {"id": "i", "title": "t"}}


def test_what_stands_beside_a_teachers_error_is_never_learnt():
    failed = {"error": "timed out", "grade": "L4", "scores": {"L4": 1.0}}
    assert target_of(soft({**ROW, "teacher": failed}), 0.3) is None
    assert target_of(soft({**ROW, "grade": "L2", "teacher": failed}), 0.3) == [0, 1, 0, 0]


def test_scores_that_are_no_numbers_are_refused_with_their_place(tmp_path):
    import polars

    rows = [{**row, "teacher": {"grade": "L3", "scores": dict.fromkeys(GRADES, 0.25)}} for row in soft_rows()[:6]]
    rows[4]["teacher"]["scores"] = {**rows[4]["teacher"]["scores"], "L2": float("nan")}
    polars.DataFrame(rows).write_parquet(tmp_path / "soft.parquet")
    done = lore("lore-distill", "train", tmp_path / "soft.parquet", "-o", tmp_path / "student")
    assert done.code == 3 and "soft.parquet:5: teacher" in done.err and "nan" in done.err and not (tmp_path / "student").exists()
    done = lore("lore-distill", "train", tmp_path / "soft.parquet", "--epochs", 1, "--on-bad", "skip", "--rejects", tmp_path / "bad.jsonl", "-o", tmp_path / "student")
    assert done.code == 5 and orjson.loads((tmp_path / "bad.jsonl").read_bytes())["line"] == 5


def test_a_model_that_generates_text_is_no_encoder(tmp_path):
    done = lore("lore-distill", "train", write_soft(tmp_path), "--model", toys.graded_by_label(), "-o", tmp_path / "student")
    assert done.code == 3 and "encoder" in done.err and "qwen3" in done.err and not (tmp_path / "student").exists()


def test_a_directory_without_a_model_is_missing_before_anything_is_loaded(tmp_path):
    (tmp_path / "base").mkdir()
    done = lore("lore-distill", "train", write_soft(tmp_path), "--model", tmp_path / "base", "-o", tmp_path / "student")
    assert done.code == 4 and "config.json" in done.err


def test_a_student_replaced_on_the_disk_goes_on_as_it_was_loaded(tmp_path):
    import shutil

    shutil.copytree(student(), tmp_path / "served")
    rows = soft_rows()
    judge = judge_of(tmp_path / "served", batch_size=1)
    before = [verdict.scores for verdict in judged(student(), rows[:40], batch_size=1)]
    answers = judge(soft(row) for row in rows[:40])
    first = next(answers)
    shutil.rmtree(tmp_path / "served")
    shutil.copytree(bi_student(), tmp_path / "served")
    assert [first.scores, *(verdict.scores for verdict in answers)] == before
    assert judge.identity() == judge_of(student()).identity() != judge_of(tmp_path / "served").identity()


# ---------------------------------------------------------------- calibration
def test_curves_make_probabilities_right_where_a_temperature_cannot():
    from lore_cli.train import calibrate

    drawn = numpy.random.default_rng(3)
    logits = drawn.normal(size=(4000, 4)) * 2
    shares = numpy.exp(logits) / numpy.exp(logits).sum(1, keepdims=True)
    shares[:, 3] **= 3  # the model says L4 far too readily
    shares /= shares.sum(1, keepdims=True)
    truth = numpy.array([drawn.choice(4, p=share) for share in shares])
    target = numpy.eye(4)[truth]
    halves = slice(0, 2000), slice(2000, 4000)
    errors = {}
    for method in calibrate.METHODS:
        made = calibrate.fit(logits[halves[0]], target[halves[0]], truth[halves[0]], method, "likeliest", None)
        found = made.probabilities(logits[halves[1]])
        assert found.sum(1) == pytest.approx(numpy.ones(2000)) and (found >= 0).all()
        errors[method] = float(((found - target[halves[1]]) ** 2).sum(1).mean())
    assert errors["isotonic"] < errors["temperature"] - 0.01


def test_the_threshold_keeps_the_target_error_on_rows_it_has_not_seen():
    from lore_cli.train.calibrate import NEVER, fit_threshold

    drawn = numpy.random.default_rng(1)
    sure = drawn.uniform(0.25, 1, 4000)
    wrong = drawn.uniform(size=4000) > sure
    threshold = fit_threshold(sure[:2000], wrong[:2000], 0.1)
    kept = sure[2000:] >= threshold
    assert 0.7 < threshold < 0.95 and kept.sum() > 200 and wrong[2000:][kept].mean() <= 0.1
    assert fit_threshold(sure, wrong, 1e-6) == NEVER
    assert fit_threshold(numpy.full(58, 0.9), numpy.zeros(58, bool), 0.05) == NEVER
    assert fit_threshold(numpy.full(59, 0.9), numpy.zeros(59, bool), 0.05) == 0.9


def test_deciding_for_macro_f1_gives_rare_grades_more_often_and_a_better_macro_f1():
    from sklearn.metrics import f1_score

    from lore_cli.train.calibrate import fit_decision

    drawn = numpy.random.default_rng(2)
    truth = drawn.choice(4, size=3000, p=[0.05, 0.1, 0.35, 0.5])
    logits = numpy.log([0.05, 0.1, 0.35, 0.5]) + numpy.eye(4)[truth] * 1.2 + drawn.normal(size=(3000, 4)) * 0.8
    shares = numpy.exp(logits) / numpy.exp(logits).sum(1, keepdims=True)
    factors = numpy.array(fit_decision(shares[:1500], truth[:1500]))
    plain, favoured = shares[1500:].argmax(1), (shares[1500:] * factors).argmax(1)
    assert factors[0] > factors[3] and (favoured == 0).sum() > (plain == 0).sum()
    assert f1_score(truth[1500:], favoured, average="macro") > f1_score(truth[1500:], plain, average="macro") + 0.02


def test_a_target_error_marks_answers_unsure_and_the_report_is_sliced(tmp_path):
    rows = [{**row, "count": number % 12 + 1, "criteria": ["units"] if number % 2 else []} for number, row in enumerate(soft_rows())]
    done = lore(
        "lore-distill", "train", toys.write(tmp_path / "soft.jsonl", rows), "--epochs", 12, "--batch-size", 32, "--held-out", 0.5, "--seed", 1,
        "--calibration", "isotonic", "--target-error", 0.3, "-o", tmp_path / "student",
    )  # fmt: skip
    assert done.code == 0, done.err
    info = read_info(tmp_path / "student")
    assert info.calibration.curves is not None and 0 < info.calibration.threshold < 1
    for verdict in judged(tmp_path / "student", rows):
        assert bool(row_of(verdict).get("unsure")) == (verdict.scores[verdict.grade] < info.calibration.threshold)
    sliced = info.report["agreement"]["slices"]
    assert {one["slice"] for one in sliced} == {"grade", "criterion", "attribute", "frequency"}
    assert sum(one["n"] for one in sliced if one["slice"] == "frequency") == info.report["agreement"]["rows"]
    assert "frequency 2 to 9" in done.err and "attribute colour" in done.err
