"""A trained student as an ONNX directory, fp32 or int8, with the proof that it still answers alike. The graph itself is made in graph.py."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy

from lore_cli.errors import BadInput, Unmet
from lore_cli.judges.encoders import ONNX_FILE, Encoder, Twice, open_encoder
from lore_cli.judges.student import Student
from lore_cli.records import Pair
from lore_cli.train import graph
from lore_cli.train.quiet import hush

Precision = Literal["fp32", "int8"]
_CARRIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "student.json", "rulebook.toml", "glossary.jsonl")
_BATCH, _ALONE = 64, 100  # pairs in a batch; pairs timed one by one
_CLOSE = 1e-3  # largest difference of a probability that rounding explains


@dataclass(frozen=True, slots=True)
class Parity:
    """A runtime on the pairs: largest difference of a score from the student's own, share of grades that flipped, pairs a second, milliseconds of one pair alone."""

    runtime: str
    difference: float
    flips: float
    pairs_per_s: float
    alone_p50_ms: float
    alone_p95_ms: float


def export(source: Path, folder: Path, precision: Precision, pairs: Sequence[Pair], max_flips: float) -> list[Parity]:
    """Write the student of `source` to `folder` as ONNX. Returns what each runtime made of the pairs; without pairs nothing.

    Raises `BadInput` for a student that cannot be exported, `Unmet` when more than max_flips of the grades would differ.
    """
    hush()
    student = Student(source, exact=True)
    if student.info.architecture != "cross" or (source / ONNX_FILE).exists():
        found = "is an ONNX student already" if (source / ONNX_FILE).exists() else "is a bi-encoder"
        raise BadInput(f"{found}; export takes a cross-encoder", where=str(source), hint="name the directory of lore-distill train without --architecture bi")
    with tempfile.TemporaryDirectory(prefix="lore-") as temporary:
        made = {name: Path(temporary, name) for name in ("fp32", "int8")}
        for file in made.values():
            file.mkdir()
            for name in _CARRIED:
                if (source / name).exists():
                    shutil.copyfile(source / name, file / name)
        graph.write(source, made["fp32"] / ONNX_FILE)
        graph.quantise(made["fp32"] / ONNX_FILE, made["int8"] / ONNX_FILE)
        encoders = {"torch": student.encoder} | {f"onnx {name}": open_encoder(file, "cross", student.info.max_length) for name, file in made.items()}
        if isinstance(quick := Student(source).encoder, Twice):
            encoders["torch bf16"] = quick
        measured = [_compared(name, encoder, student, pairs) for name, encoder in encoders.items()] if pairs else []
        _refuse(precision, measured, max_flips)
        for file in made[precision].iterdir():
            shutil.copyfile(file, folder / file.name)
    return measured


def _compared(name: str, encoder: Encoder, student: Student, pairs: Sequence[Pair]) -> Parity:
    texts, calibration = [student.reader.texts(pair) for pair in pairs], student.info.calibration
    own = calibration.probabilities(student.encoder.logits(student.encoder.read(texts), _BATCH))
    started = perf_counter()
    found = calibration.probabilities(encoder.logits(encoder.read(texts), _BATCH))
    spent = perf_counter() - started
    alone = [_seconds(encoder, text) for text in texts[:_ALONE]]
    flips = calibration.grades(found) != calibration.grades(own)
    return Parity(
        name, float(abs(found - own).max()), float(flips.mean()), len(pairs) / spent, 1000 * statistics.median(alone), 1000 * float(numpy.quantile(alone, 0.95))
    )


def _seconds(encoder: Encoder, text: tuple[str, str]) -> float:
    started = perf_counter()
    encoder.logits(encoder.read([text]), 1)
    return perf_counter() - started


def _refuse(precision: Precision, measured: Sequence[Parity], max_flips: float) -> None:
    for one in measured:
        if one.runtime == "onnx fp32" and one.difference > _CLOSE:
            raise BadInput(f"the exported graph scores otherwise (by up to {one.difference:.3g})", hint="this encoder's graph is not exported rightly: serve it as it is")
        if one.runtime == f"onnx {precision}" and one.flips > max_flips:
            hint = "export --precision fp32, or allow it with --max-flips"
            raise Unmet(f"{precision} flips {one.flips:.2%} of the grades, {max_flips:.2%} are allowed", hint=hint)


def table(measured: Sequence[Parity]) -> list[str]:
    """The report as text."""
    lines = [f"{'runtime':<12}{'max score diff':>15}{'grade flips':>13}{'pairs/s':>10}{'alone p50 ms':>14}{'p95 ms':>8}"] if measured else []
    return lines + [f"{one.runtime:<12}{one.difference:>15.2g}{one.flips:>13.2%}{one.pairs_per_s:>10.0f}{one.alone_p50_ms:>14.2f}{one.alone_p95_ms:>8.2f}" for one in measured]
