"""One distillation from rows to a saved student: encoder, split, training, calibration, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lore_cli.judges.student import FORMAT, Reader, StudentInfo, path_tokens
from lore_cli.progress import Log
from lore_cli.stream import write_json_atomic
from lore_cli.train import distill, encoder
from lore_cli.train.quiet import hush
from lore_cli.train.soft import SoftRow, split, target_of

_FRESH_RATES, _GIVEN_RATE = (0.01, 2e-3), 5e-5


@dataclass(frozen=True, slots=True)
class Made:
    """A trained student, not yet written."""

    model: Any
    tokenizer: Any
    info: StudentInfo


def distil(
    rows: Sequence[SoftRow], reader: Reader, weights: distill.Weights, base: str | None, size: str, options: dict[str, Any], seed: int, log: Log
) -> Made:
    """Train on the rows. base: an encoder to start from; without it a fresh one of `size`. options: max_length, batch_size, epochs, max_seconds, held_out, learning_rate."""
    hush()
    examples = distill.prepare(rows, reader, weights.human)
    usable = [row for row in rows if target_of(row, weights.human) is not None]
    held = split([row.query for row in usable], options["held_out"], seed)
    training, held_out = [n for n, out in enumerate(held) if not out], [n for n, out in enumerate(held) if out]
    if not training:  # a handful of queries that all fall on one side: learn from them, and say in the report that nothing was held out
        training, held_out = held_out, []
    special = path_tokens(reader.rulebook) if reader.features == "path" else []
    labels = encoder.labels_of(list(reader.rulebook.dimensions), weights.states > 0)
    rate = options["learning_rate"]
    if base is None:
        shape = encoder.SIZES[size]
        texts = [text for row in training for text in examples.texts[row]]
        tokenizer = encoder.train_tokenizer(texts, shape.vocabulary, special, options["max_length"])
        model = encoder.build(tokenizer, shape, labels, options["max_length"], seed)
        rates = (_FRESH_RATES[0] * (rate / _FRESH_RATES[1] if rate else 1.0), rate or _FRESH_RATES[1])
    else:
        tokenizer, model = encoder.load(base, labels, special)
        rates = (0.0, rate or _GIVEN_RATE)
    settings = distill.Settings(
        weights, options["max_length"], options["batch_size"], options["epochs"], options["max_seconds"], rates, options["held_out"], seed
    )
    log.say(f"{len(training)} rows to learn, {len(held_out)} held out, {examples.skipped} without any grade; {sum(p.numel() for p in model.parameters()) / 1e6:.2f}M weights")
    spent = distill.fit(model, tokenizer, examples, training, settings, base is None, log)
    logits = distill.logits_of(model, tokenizer, [examples.texts[row] for row in held_out], settings.max_length)
    temperature = distill.fit_temperature(logits, examples.target[held_out])
    report = {
        "rows": {"learnt": len(training), "held_out": len(held_out), "skipped": examples.skipped},
        "losses": msgspec.to_builtins(weights),
        "training": spent,
        "agreement": distill.agreement((logits / temperature).softmax(-1), examples, held_out),
    }
    teachers = sorted({row.teacher.judge for row in usable if row.teacher and row.teacher.judge})
    info = StudentInfo(
        format=FORMAT,
        features=reader.features,
        max_length=options["max_length"],
        temperature=temperature,
        rulebook_hash=reader.rulebook.hash,
        glossary=any(reader.glossary.rows()),
        base=base or f"scratch-{size}",
        teacher={"judge": ", ".join(teachers) or "none"},
        report=report,
    )
    return Made(model, tokenizer, info)


def save(made: Made, folder: Path) -> None:
    """Write the Hugging Face directory and student.json; rulebook and glossary are the caller's to add."""
    encoder.save(made.model, made.tokenizer, folder)
    write_json_atomic(folder / "student.json", msgspec.to_builtins(made.info))


def summary(info: StudentInfo) -> str:
    """One line for the reader."""
    spent, agreement = info.report["training"], info.report["agreement"]
    line = f"{spent['steps']} of {spent['planned_steps']} steps in {spent['seconds']} s"
    if not agreement["rows"]:
        return f"{line}; nothing was held out, so the scores are not calibrated"
    with_teacher, human, teacher = agreement["with_teacher"], agreement["student_with_human"], agreement["teacher_with_human"]
    line += f"; on {agreement['rows']} held-out rows of {agreement['queries']} queries: temperature {info.temperature:.2f}"
    if with_teacher["n"]:
        line += f", with the teacher acc4 {with_teacher['acc4']:.3f} macro-F1 {with_teacher['macro_f1']:.3f}"
    if human["n"]:
        line += f"; with humans acc4 {human['acc4']:.3f} macro-F1 {human['macro_f1']:.3f}"
    if teacher["n"]:
        line += f" (teacher {teacher['acc4']:.3f}, {teacher['macro_f1']:.3f})"
    return line
