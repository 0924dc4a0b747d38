"""One distillation from rows to a saved student: encoder, split, training, calibration, report."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lore_cli.judges.calibrated import Calibration
from lore_cli.judges.encoders import apart, open_encoder, open_rough
from lore_cli.judges.student import FORMAT, Architecture, Reach, Reader, StudentInfo, path_tokens
from lore_cli.progress import Log
from lore_cli.stream import write_json_atomic
from lore_cli.train import calibrate, distill, encoder
from lore_cli.train.agreement import agreement
from lore_cli.train.examples import Examples, prepare
from lore_cli.train.quiet import hush
from lore_cli.train.soft import SoftRow, Weights, split

_FRESH_RATES, _GIVEN_RATE = (0.01, 2e-3), 5e-5
_BATCH = 64  # of the held-out rows
_ROUNDED = 1000  # held-out rows that are computed in bfloat16 too
_MOSTLY = 0.5  # of them keep their grade in bfloat16, or float32 alone is faster [ours]
# The largest rounding of n rows grows as their cube root, or more slowly: so far beyond the largest seen is allowed for that it is passed by 3 rows of 10,000 [ours;
# measured: docs/distilling.md].
_TAIL, _BEYOND = 3, 3e-4


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made. base: an encoder to start from; without it a fresh one of `size`. learning_rate: AdamW's, the built-in one where None.

    Others: distill.Settings, calibrate.fit.
    """

    weights: Weights
    architecture: Architecture
    base: str | None
    size: str
    epochs: float
    max_seconds: float | None
    batch_size: int
    max_length: int
    learning_rate: float | None
    held_out: float
    calibration: calibrate.Method
    decide: calibrate.Decide
    target_error: float | None


def distil(rows: Sequence[SoftRow], reader: Reader, plan: Plan, folder: Path, seed: int, log: Log) -> StudentInfo:
    """Train on the rows and write the student's directory; rulebook and glossary are the caller's to add."""
    hush()
    examples = prepare(rows, reader, plan.weights.human)
    held = split([row.query for row in examples.rows], plan.held_out, seed)
    training, held_out = [n for n, out in enumerate(held) if not out], [n for n, out in enumerate(held) if out]
    if not training:  # a handful of queries that all fall on one side: learn from them, and say in the report that nothing was held out
        training, held_out = held_out, []
    settings = distill.Settings(plan.weights, plan.max_length, plan.batch_size, plan.epochs, plan.max_seconds, _rates(plan), seed)
    labels = encoder.labels_of(list(reader.rulebook.dimensions), plan.weights.states > 0)
    with tempfile.TemporaryDirectory(prefix="lore-") as start:
        model, tokenizer = _start(examples, training, reader, plan, labels, seed)
        encoder.save(model, tokenizer, Path(start))
        learner = distill.open_learner(Path(start), plan.architecture, settings, examples.targets, len(labels))
    size = sum(weight.numel() for weight in learner.parameters()) / 1e6
    log.say(f"{len(training)} rows to learn, {len(held_out)} held out, {examples.skipped} without any grade; {size:.2f}M weights")
    spent = distill.fit(learner, examples, training, settings, plan.base is None, log)
    distill.save(learner, folder)
    calibration, reach, agreed = _held_out(folder, examples, held_out, plan, log)
    info = StudentInfo(
        format=FORMAT,
        architecture=plan.architecture,
        features=reader.features,
        max_length=plan.max_length,
        calibration=calibration,
        rulebook_hash=reader.rulebook.hash,
        glossary=any(reader.glossary.rows()),
        base=plan.base or f"scratch-{plan.size}",
        teacher={"judge": ", ".join(sorted({row.said.judge for row in examples.rows if row.said and row.said.judge})) or "none"},
        report={
            "rows": {"learnt": len(training), "held_out": len(held_out), "skipped": examples.skipped},
            "losses": msgspec.to_builtins(plan.weights),
            "training": spent,
            "agreement": agreed,
        },
        reach=reach,
    )
    write_json_atomic(folder / "student.json", msgspec.to_builtins(info))
    return info


def _rates(plan: Plan) -> tuple[float, float]:
    """(Muon's, AdamW's) rate; of a fresh encoder the two keep their proportion."""
    if plan.base is not None:
        return 0.0, plan.learning_rate or _GIVEN_RATE
    muon, adamw = _FRESH_RATES
    return muon * (plan.learning_rate or adamw) / adamw, plan.learning_rate or adamw


def _start(examples: Examples, training: Sequence[int], reader: Reader, plan: Plan, labels: list[str], seed: int) -> tuple[Any, Any]:
    """(model, tokenizer) before training."""
    special = path_tokens(reader.rulebook) if reader.features == "path" else []
    if plan.base is not None:
        tokenizer, model = encoder.load(plan.base, labels, special)
        return model, tokenizer
    shape = encoder.SIZES[plan.size]
    tokenizer = encoder.train_tokenizer([text for row in training for text in examples.texts[row]], shape.vocabulary, special, plan.max_length)
    return encoder.build(tokenizer, shape, labels, plan.max_length, seed), tokenizer


def _held_out(folder: Path, examples: Examples, rows: Sequence[int], plan: Plan, log: Log) -> tuple[Calibration, Reach | None, dict[str, Any]]:
    """Calibration, reach of the rounding and agreement on the held-out rows, by the student as it was written and will be run."""
    written = open_encoder(folder, plan.architecture, plan.max_length)
    read = written.read([examples.texts[row] for row in rows])
    logits = written.logits(read, _BATCH)
    target, teacher, human = (part.numpy()[list(rows)] for part in (examples.targets.grades, examples.teacher, examples.human))
    reference = teacher.copy()
    reference[teacher < 0] = human[teacher < 0]
    calibration = calibrate.fit(logits, target, reference, plan.calibration, plan.decide, plan.target_error)
    found = calibration.probabilities(logits)
    given = calibration.grades(found)
    reach = _reach(folder, plan, read[:_ROUNDED], logits[:_ROUNDED], calibration, log) if rows and plan.architecture == "cross" else None
    return calibration, reach, agreement(given, found[range(len(given)), given], teacher, human, [examples.rows[row] for row in rows])


def _reach(folder: Path, plan: Plan, read: Any, logits: Any, calibration: Calibration, log: Log) -> Reach | None:
    """What is allowed for when the student is run in bfloat16. None where float32 alone is to be used: most grades would be open, or the encoder does not run so."""
    try:
        rough = open_rough(folder, plan.max_length).logits(read, _BATCH)
    except RuntimeError as error:  # torch's, of an operation that has no bfloat16: no reason to lose what was trained
        log.say(f"the encoder does not run in bfloat16, so the student will be run in float32: {str(error).splitlines()[0]}")
        return None
    reach = (len(logits) * _BEYOND) ** (-1 / _TAIL) * apart(rough, logits).max(axis=0)
    return msgspec.convert(reach.tolist(), Reach) if calibration.settled(logits, reach).mean() > _MOSTLY else None


def summary(info: StudentInfo) -> str:
    """One line for the reader."""
    spent, agreement, calibration = info.report["training"], info.report["agreement"], info.calibration
    line = f"{spent['steps']} of {spent['planned_steps']} steps in {spent['seconds']} s"
    if not agreement["rows"]:
        return f"{line}; nothing was held out, so the scores are not calibrated"
    with_teacher, human, teacher = agreement["with_teacher"], agreement["student_with_human"], agreement["teacher_with_human"]
    line += f"; on {agreement['rows']} held-out rows of {agreement['queries']} queries: temperature {calibration.temperature:.2f}"
    if with_teacher["n"]:
        line += f", with the teacher acc4 {with_teacher['acc4']:.3f} macro-F1 {with_teacher['macro_f1']:.3f}"
    if human["n"]:
        line += f"; with humans acc4 {human['acc4']:.3f} macro-F1 {human['macro_f1']:.3f}"
    if teacher["n"]:
        line += f" (teacher {teacher['acc4']:.3f}, {teacher['macro_f1']:.3f})"
    if calibration.threshold >= calibrate.NEVER:
        return f"{line}; the held-out rows cannot show the target error: every answer will be marked unsure"
    return line + (f"; sure from {calibration.threshold:.2f} on" if calibration.threshold else "")
