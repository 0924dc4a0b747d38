"""Students on a processor with bfloat16 units: the grades are those of float32, whatever the rounding."""

from __future__ import annotations

import shutil
import threading

import numpy
import orjson
import pytest
import torch
import transformers
from commands_run import lore
from hypothesis import given
from hypothesis import strategies as st
from test_distill import soft, soft_rows, student, write_soft
from test_distill_students import bi_student

from lore_cli.judges import encoders
from lore_cli.judges.calibrated import Calibration, Curve
from lore_cli.judges.encoders import Bi, Cross, Rounding, Twice, apart
from lore_cli.judges.student import Student
from lore_cli.models import encoder_bfloat16, hf
from lore_cli.models.encoder_bfloat16 import in_bfloat16
from lore_cli.models.first_token import FirstToken
from lore_cli.records import GRADES
from lore_cli.train import distilling

pytestmark = pytest.mark.usefixtures("toy_size")


@pytest.fixture
def units(monkeypatch):
    """A processor with bfloat16 units, or without; where there are none they are emulated."""
    return lambda there: monkeypatch.setattr(hf, "bfloat16_units", lambda: there)


def pairs():
    return [soft(row) for row in soft_rows()]


def grades_of(judge: Student) -> list[int]:
    return judge.info.calibration.grades(judge.probabilities(judge.read(pairs()), 16)).tolist()


def test_bfloat16_gives_the_grades_of_float32(units):
    units(True)
    quick, exact = Student(student()), Student(student(), exact=True)
    assert isinstance(quick.encoder, Twice) and isinstance(exact.encoder, Cross)
    assert grades_of(quick) == grades_of(exact) and len(set(grades_of(exact))) > 1
    rough, found = (encoder.logits(quick.read(pairs()), 16) for encoder in (quick.encoder.rough, exact.encoder))
    moved = apart(rough, found)
    assert moved.max() > 0 and (moved <= quick.info.reach).all(), "it is bfloat16, and within what is allowed for"


def test_rows_that_rounding_could_turn_are_computed_in_float32(units):
    units(True)
    read, found = [], Student(student())
    exact = found.encoder.exact.run
    tokens = found.encoder.exact.tokens
    always = numpy.arange(len(pairs())) % 3 != 0  # every third is in doubt
    counted = Cross(tokens, lambda batch: (read.append(len(batch["input_ids"])), exact(batch))[1])
    twice = Twice(found.encoder.rough, counted, Rounding(numpy.array(found.info.reach), lambda logits, reach: always))
    logits, wanted = twice.logits(found.read(pairs()), 16), Student(student(), exact=True).encoder.logits(found.read(pairs()), 16)
    assert sum(read) == (~always).sum() and abs(logits - wanted)[~always].max() < 1e-4 < abs(logits - wanted)[always].max()


def test_an_encoder_that_rounds_more_than_is_allowed_for_is_computed_in_float32(units):
    units(True)
    found = Student(student()).encoder
    worse = Cross(found.rough.tokens, lambda batch: found.rough.run(batch) * 2)
    read = found.read([("navy sofa", "a navy sofa"), ("lamp", "a chair"), ("red lamp", "a lamp")])
    twice = Twice(worse, found.exact, Rounding(found.rounding.reach, lambda logits, reach: numpy.array([True, False, True])))
    assert abs(twice.logits(read, 16) - found.exact.logits(read, 16)).max() < 1e-5


def test_processors_without_units_and_bi_encoders_stay_in_float32(units):
    units(False)
    assert isinstance(Student(student()).encoder, Cross)
    units(True)
    assert isinstance(Student(bi_student()).encoder, Bi) and Student(bi_student()).info.reach is None


def test_a_student_whose_rounding_is_not_known_stays_in_float32(units, tmp_path):
    units(True)
    older = shutil.copytree(student(), tmp_path / "older")
    description = orjson.loads((older / "student.json").read_bytes())
    assert 0 < numpy.max(description.pop("reach")) < 0.1
    (older / "student.json").write_bytes(orjson.dumps(description))
    assert isinstance(Student(older).encoder, Cross) and grades_of(Student(older)) == grades_of(Student(student()))


def test_a_student_that_would_compute_most_rows_twice_is_run_in_float32(units, tmp_path, monkeypatch):
    units(True)
    monkeypatch.setattr(distilling, "_BEYOND", 1e-15)
    done = lore("lore-distill", "train", write_soft(tmp_path), "--epochs", 0.1, "--held-out", 0.3, "--seed", 1, "-o", tmp_path / "student")
    assert done.code == 0, done.err
    found = Student(tmp_path / "student")
    assert found.info.report["agreement"]["rows"] and found.info.reach is None and isinstance(found.encoder, Cross)


def test_an_encoder_that_does_not_run_in_bfloat16_is_trained_all_the_same(units, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("not implemented for 'BFloat16'")

    units(True)
    monkeypatch.setattr(distilling, "open_rough", broken)
    done = lore("lore-distill", "train", write_soft(tmp_path), "--epochs", 0.1, "--held-out", 0.3, "--seed", 1, "-o", tmp_path / "student")
    assert done.code == 0 and "not implemented for 'BFloat16'" in done.err
    assert Student(tmp_path / "student").info.reach is None


def test_threads_that_run_torch_alone_leave_its_number_to_all_others():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert set(encoders._single_threads()(lambda _: torch.get_num_threads(), range(9))) == {1} and torch.get_num_threads() == 3
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [3]
    finally:
        torch.set_num_threads(before)


def test_what_moves_all_logits_of_a_row_alike_is_no_difference():
    found = apart(numpy.array([[1.0, 2, 3, 4], [0, 0, 0, 0.5]]), numpy.array([[0.0, 1, 2, 3], [0, 0, 0, 0]]))
    last = [0, 0, 0, 0.5]
    assert found.tolist() == [[[0] * 4] * 4, [last, last, last, [0.5, 0.5, 0.5, 0]]]


@pytest.fixture
def bert():
    """An encoder whose attention tells tokens apart, by either way that transformers computes it, and a batch of which two rows are padded, or none."""
    def made(attention: str, padded: bool):
        torch.manual_seed(0)
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 64, "num_labels": len(GRADES)}
        model = transformers.BertForSequenceClassification._from_config(transformers.BertConfig(**shape, initializer_range=0.3), attn_implementation=attention).eval()
        mask = torch.ones(5, 9, dtype=torch.int64)
        if padded:
            mask[1, 4:], mask[3, 7:] = 0, 0
        return model, {"input_ids": torch.randint(0, 64, (5, 9)), "attention_mask": mask, "token_type_ids": torch.randint(0, 2, (5, 9))}

    return made


def logits_of(model, batch) -> torch.Tensor:
    with torch.inference_mode():
        found = model(**batch)
    return found if isinstance(found, torch.Tensor) else found.logits


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("padded", [False, True])
def test_the_first_token_alone_gives_the_logits_of_the_whole_layer(bert, attention, padded):
    model, batch = bert(attention, padded)
    wanted, found = logits_of(model, batch), logits_of(FirstToken(model), batch)
    assert found.shape == wanted.shape and torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("laid_out", [False, pytest.param(True, marks=pytest.mark.skipif(not encoder_bfloat16._lays_out(), reason="oneDNN has no bfloat16 here"))])
def test_bfloat16_is_the_same_but_for_its_rounding(bert, attention, padded, laid_out, monkeypatch):
    monkeypatch.setattr(encoder_bfloat16, "_lays_out", lambda: laid_out)
    model, batch = bert(attention, padded)
    wanted, found = logits_of(model, batch), logits_of(FirstToken(in_bfloat16(model)), batch)
    assert 0 < abs(found - wanted).max() < 0.1 * wanted.std()


CURVE = st.lists(st.floats(0, 1), min_size=2, max_size=5).map(lambda right: Curve(tuple(numpy.linspace(0, 1, len(right))), tuple(sorted(right))))
CALIBRATIONS = st.builds(
    Calibration,
    temperature=st.floats(0.2, 3),
    curves=st.none() | st.tuples(*[CURVE] * len(GRADES)),
    decision=st.tuples(*[st.floats(0.2, 5)] * len(GRADES)),
    threshold=st.just(0.0) | st.floats(0.1, 0.9),
)


@st.composite
def reaches(draw: st.DrawFn) -> numpy.ndarray:
    """By how much the difference of two grades may be moved: the same both ways."""
    upper = numpy.triu(numpy.reshape(draw(st.lists(st.floats(0.002, 0.6), min_size=16, max_size=16)), (4, 4)), 1)
    return upper + upper.T


@given(CALIBRATIONS, reaches(), st.integers(0, 2**32 - 1))
def test_what_is_settled_stays_so_however_the_logits_are_moved(calibration, reach, seed):
    rng = numpy.random.default_rng(seed)
    logits = rng.normal(size=(40, len(GRADES))) * 3
    settled = calibration.settled(logits, reach)

    def said(values):
        found = calibration.probabilities(values)
        grades = calibration.grades(found)
        return grades, found[numpy.arange(len(found)), grades] >= calibration.threshold

    def furthest(moved):
        """Each row's own move, made as large as the reach lets it be."""
        with numpy.errstate(divide="ignore", invalid="ignore"):
            return moved * numpy.nanmin(reach / apart(moved, 0), axis=(1, 2), keepdims=True)[:, 0]

    moves = [rng.uniform(-1, 1, logits.shape) for _ in range(10)] + [rng.choice([0.0, 1.0], logits.shape) + 1e-9 * rng.random(logits.shape) for _ in range(15)]
    for moved in [logits + furthest(move) for move in moves]:
        for before, after in zip(said(logits), said(moved), strict=True):
            assert (before == after)[settled].all()


def test_by_a_temperature_alone_just_those_rows_are_open_whose_two_best_are_close():
    apart_by = numpy.where(numpy.eye(4, dtype=bool), 0, 0.2)
    logits = numpy.array([[0.0, 1.0, 0.81, -5], [0.0, 1.0, 0.79, -5], [3.0, 0, 0, 0], [numpy.nan] * 4])
    assert Calibration(temperature=2.0).settled(logits, apart_by).tolist() == [False, True, True, False]
    sure = Calibration(threshold=0.5)
    probabilities = [[0.52, 0.24, 0.12, 0.12], [0.6, 0.2, 0.1, 0.1], [0.45, 0.2, 0.2, 0.15]]
    assert sure.settled(numpy.log(probabilities), apart_by / 2).tolist() == [False, True, True]


def test_grades_that_are_hardly_moved_against_each_other_may_be_closer():
    neighbours = 0.2 * abs(numpy.subtract.outer(range(4), range(4)))
    logits = numpy.array([[0.0, 0.7, 1.0, 0.0], [0.7, 0.0, 1.0, 0.0], [0.0, 0.9, 1.0, 0.0]])
    assert Calibration().settled(logits, neighbours).tolist() == [True, False, False]
