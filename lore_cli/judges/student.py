"""`student:PATH`: the small encoder that answers the middle of the traffic.

An ordinary Hugging Face directory (config, safetensors, tokenizer) with `student.json` beside it, and copies of the rulebook and the glossary its
features were made with, so that it answers the same wherever it is carried. LORE says the online model is distilled from the language
model; how it reads a pair is ours: with `features = "path"` the deterministic expert's path goes in as tokens, so that a model of half a
million weights learns where its teacher departs from the rulebook instead of learning the rulebook again.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from lore_cli.answer import item_lines, need_text, one_line
from lore_cli.errors import BadInput, Missing
from lore_cli.judges import JudgeSettings
from lore_cli.judges.calibrated import Calibration
from lore_cli.judges.encoders import Rounding, open_encoder
from lore_cli.models import directory_hash
from lore_cli.path.follow import follow
from lore_cli.path.knowledge import Glossary, load_glossary
from lore_cli.path.lexical import overlap
from lore_cli.path.needs import construct
from lore_cli.records import GRADES, Grade, Pair, Verdict, parse
from lore_cli.rulebook import Rulebook, load_rulebook
from lore_cli.stream import chunks, read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Features = Literal["path", "text"]
Architecture = Literal["cross", "bi"]
_Four = tuple[float, float, float, float]
Reach = tuple[_Four, _Four, _Four, _Four]
FEATURES: tuple[Features, ...] = ("path", "text")
STATES_SEEN = ("exact", "close", "unknown", "conflict")
FORMAT = 2
_OVERLAP_STEPS = 5
_MOST_NEEDS, _VALUE_CHARS, _QUERY_CHARS, _DESCRIPTION_CHARS = 10, 40, 160, 80
_WINDOW = 2048  # pairs read ahead and sorted by length together
_BRACKETS = re.compile(r"[\[\]]")


class StudentInfo(msgspec.Struct, frozen=True):
    """student.json. architecture: cross (query and item read together) or bi (apart). glossary: whether glossary.jsonl lies beside it. `report` says how well it learnt.

    reach: by how much bfloat16 may move the difference of two grades' logits, 4 × 4; None: the student is to be run in float32 alone.
    """

    format: int
    architecture: Architecture
    features: Features
    max_length: int
    calibration: Calibration
    rulebook_hash: str
    glossary: bool
    base: str
    teacher: dict[str, Any]
    report: dict[str, Any]
    reach: Reach | None = None


def path_tokens(rulebook: Rulebook) -> list[str]:
    """The special tokens of `path` features: the rulebook's grade, each dimension's state, lexical overlap in fifths, and the marks between them."""
    states = [f"[{dimension}:{state}]" for dimension in rulebook.dimensions for state in STATES_SEEN]
    return ["[query]", "[found]", *(f"[implied:{grade}]" for grade in GRADES), *(f"[overlap:{step}]" for step in range(_OVERLAP_STEPS + 1)), *states]


@dataclass(frozen=True, slots=True)
class Reader:
    """A pair as the student reads it: two texts, (path and query, item). Brackets in a shop's own text become spaces, so that no title can forge a path token."""

    features: Features
    rulebook: Rulebook
    glossary: Glossary

    def texts(self, pair: Pair) -> tuple[str, str]:
        query = _plain(pair.query, _QUERY_CHARS)
        item = _BRACKETS.sub(" ", item_lines(pair.item, _DESCRIPTION_CHARS)).lower()
        return (f"{self._path(pair)} [query] {query}" if self.features == "path" else query), item

    def _path(self, pair: Pair) -> str:
        needs = construct(pair.query, self.rulebook, self.glossary)
        matches = follow(needs, pair.item, self.rulebook, self.glossary)
        grade, _ = self.rulebook.grade(matches)
        parts = [f"[implied:{grade}] [overlap:{round(overlap(pair.query, pair.item) * _OVERLAP_STEPS)}]"]
        for need, match in list(zip(needs, matches, strict=True))[:_MOST_NEEDS]:
            found = f" [found] {_plain(match.found, _VALUE_CHARS)}" if match.found else ""
            parts.append(f"[{match.attribute}:{match.state}] {_plain(need_text(need), _VALUE_CHARS)}{found}")
        return " ".join(parts)


def _plain(text: str, longest: int) -> str:
    return one_line(_BRACKETS.sub(" ", text))[:longest].lower()


class Student:
    """A loaded student: pairs in, probabilities over L1..L4 out. What lies on the disk may be replaced afterwards: this one goes on as it was loaded.

    exact: in float32 alone. Else a processor with bfloat16 units uses them: the same grades, and probabilities that may differ by 0.01.
    """

    def __init__(self, folder: Path, exact: bool = False) -> None:
        """Raises `Missing` for no such directory or package, `BadInput` when it is not a student, cannot be loaded or is replaced meanwhile."""
        import numpy

        if not folder.is_dir():
            raise Missing(f"{folder}: no such student directory", hint="lore-distill train makes one")
        self.info, self.hash = read_info(folder), directory_hash(folder)
        rulebook = load_rulebook(folder / "rulebook.toml")
        if rulebook.hash != self.info.rulebook_hash:
            raise BadInput("is not the rulebook the student was trained with", where=str(folder / "rulebook.toml"), hint="train it again, or put the file back")
        self.reader = Reader(self.info.features, rulebook, load_glossary([folder / "glossary.jsonl"] if self.info.glossary else []))
        rounding = None if exact or self.info.reach is None else Rounding(numpy.array(self.info.reach), self.info.calibration.settled)
        self.encoder = open_encoder(folder, self.info.architecture, self.info.max_length, rounding)
        if directory_hash(folder) != self.hash:
            raise BadInput("was replaced while it was being loaded", where=str(folder), hint="try again")

    def read(self, pairs: Sequence[Pair]) -> Any:
        """The pairs as tokens, for `probabilities`."""
        return self.encoder.read([self.reader.texts(pair) for pair in pairs])

    def probabilities(self, read: Any, batch_size: int) -> Array:
        """Calibrated, (rows, 4), in the order read; a row that is not finite is NaN."""
        import numpy

        with numpy.errstate(invalid="ignore"):
            return self.info.calibration.probabilities(self.encoder.logits(read, batch_size))


def read_info(folder: Path) -> StudentInfo:
    """student.json. Raises `Missing` and `BadInput`."""
    document = read_json(folder / "student.json", "the description of a student")
    try:
        info = msgspec.convert(document, StudentInfo)
    except msgspec.ValidationError as error:
        raise BadInput(f"not a student: {error}", where=str(folder / "student.json"), hint="lore-distill train makes one") from error
    if info.format != FORMAT:
        raise BadInput(f"format {info.format}; this version reads format {FORMAT}", where=str(folder / "student.json"), hint="train it again with this version")
    return info


@dataclass
class StudentJudge:
    """Judges windows of pairs in length-bucketed batches. Every verdict has calibrated `scores`, `latency_ms` amortised over its window, and `unsure` where it is."""

    student: Student
    batch_size: int
    samples: int
    name: str

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        waiting: deque[tuple[list[Pair], Future[Any]]] = deque()
        with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as running:  # while a window is run, the next is read and the one before is told
            for window in chunks(pairs, max(_WINDOW, self.batch_size)):
                waiting.append((window, running.submit(self._run, reading.submit(self.student.read, window), len(window))))
                if len(waiting) > 1:
                    yield from self._told(*waiting.popleft())
            for window, run in waiting:
                yield from self._told(window, run)

    def _run(self, read: Future[Any], rows: int) -> tuple[list[list[float]], list[int], float]:
        """Probabilities, grade numbers and milliseconds a pair of a window."""
        started = perf_counter()
        found = self.student.probabilities(read.result(), self.batch_size)
        return found.tolist(), self.student.info.calibration.grades(found).tolist(), (perf_counter() - started) * 1000 / rows

    def _told(self, window: list[Pair], run: Future[Any]) -> Iterator[Verdict]:
        found, grades, spent = run.result()
        for pair, values, grade in zip(window, found, grades, strict=True):
            yield self._verdict(pair, values, GRADES[grade], spent)

    def _verdict(self, pair: Pair, values: list[float], grade: Grade, spent_ms: float) -> Verdict:
        row: dict[str, Any] = {"id": pair.id, "query": pair.query, "item_id": pair.item.id, "judge": self.name}
        if not all(value == value for value in values):
            return parse(Verdict, {**row, "error": "the student gave no finite score", "latency_ms": spent_ms})
        scores = dict(zip(GRADES, values, strict=True))
        row |= {"grade": grade, "scores": scores, "latency_ms": spent_ms}
        if scores[grade] < self.student.info.calibration.threshold:
            row["unsure"] = True
        return parse(Verdict, {**row, "samples": [grade] * self.samples} if self.samples else row)

    def identity(self) -> dict[str, str]:
        return {"judge": "student", "model": self.student.hash, "features": self.student.info.features, "rulebook": self.student.info.rulebook_hash}


def open(target: str, settings: JudgeSettings) -> StudentJudge:
    """The judge over a student directory. It keeps the rulebook it was trained with, whatever the settings say: its path tokens mean that one."""
    return StudentJudge(Student(Path(target)), settings.batch_size, settings.samples, f"student:{Path(target).name}")
