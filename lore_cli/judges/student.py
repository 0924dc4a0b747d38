"""`student:PATH`: the small encoder that answers the middle of the traffic.

An ordinary Hugging Face directory (config, safetensors, tokenizer) with `student.json` beside it, and copies of the rulebook and the glossary its
features were made with, so that it answers the same wherever it is carried. LORE says the online model is distilled from the language
model; how it reads a pair is ours: with `features = "path"` the deterministic expert's path goes in as tokens, so that a model of half a
million weights learns where its teacher departs from the rulebook instead of learning the rulebook again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import msgspec

from lore_cli.answer import item_lines, need_text, one_line
from lore_cli.errors import BadInput, Missing, require
from lore_cli.judges import JudgeSettings
from lore_cli.models import directory_hash
from lore_cli.path.follow import follow
from lore_cli.path.knowledge import Glossary, load_glossary
from lore_cli.path.lexical import overlap
from lore_cli.path.needs import construct
from lore_cli.records import GRADES, Pair, Verdict, parse
from lore_cli.rulebook import Rulebook, load_rulebook
from lore_cli.stream import chunks, read_json

Features = Literal["path", "text"]
FEATURES: tuple[Features, ...] = ("path", "text")
STATES_SEEN = ("exact", "close", "unknown", "conflict")
FORMAT = 1
_OVERLAP_STEPS = 5
_MOST_NEEDS, _VALUE_CHARS, _QUERY_CHARS, _DESCRIPTION_CHARS = 10, 40, 160, 80
_WINDOW_BATCHES = 16  # pairs sorted by length together
_BRACKETS = re.compile(r"[\[\]]")


class StudentInfo(msgspec.Struct, frozen=True):
    """student.json. temperature: divides the logits (calibration). glossary: whether glossary.jsonl lies beside it. `report` says how well it learnt."""

    format: int
    features: Features
    max_length: int
    temperature: float
    rulebook_hash: str
    glossary: bool
    base: str
    teacher: dict[str, Any]
    report: dict[str, Any]


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


def buckets(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Row numbers in batches of up to `size`, rows of similar length together: little is padded."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[start : start + size] for start in range(0, len(order), size)]


class Student:
    """A loaded student: texts in, probabilities over L1..L4 out."""

    def __init__(self, folder: Path) -> None:
        """Raises `Missing` for no such directory or package, `BadInput` when it is not a student or cannot be loaded."""
        if not folder.is_dir():
            raise Missing(f"{folder}: no such student directory", hint="lore-distill train makes one")
        self.info = read_info(folder)
        torch = require("torch", "train")
        transformers = require("transformers", "train")
        transformers.utils.logging.disable_progress_bar()
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise BadInput(f"cannot be loaded as an encoder: {str(error).splitlines()[0]}", where=str(folder), hint="train it again with lore-distill train") from error
        rulebook = load_rulebook(folder / "rulebook.toml")
        if rulebook.hash != self.info.rulebook_hash:
            raise BadInput("is not the rulebook the student was trained with", where=str(folder / "rulebook.toml"), hint="train it again, or put the file back")
        self.reader = Reader(self.info.features, rulebook, load_glossary([folder / "glossary.jsonl"] if self.info.glossary else []))
        self.hash = directory_hash(folder)

    def probabilities(self, texts: Sequence[tuple[str, str]], batch_size: int) -> list[list[float]]:
        """Calibrated probabilities over the four grades for each text pair, in the order given; batches are formed by length."""
        import torch

        if not texts:
            return []
        encoded = self.tokenizer([first for first, _ in texts], [second for _, second in texts], truncation="longest_first", max_length=self.info.max_length)
        names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in encoded]
        found: list[list[float]] = [[]] * len(texts)
        with torch.inference_mode():
            for rows in buckets([len(ids) for ids in encoded["input_ids"]], batch_size):
                batch = self.tokenizer.pad({name: [encoded[name][row] for row in rows] for name in names}, return_tensors="pt")
                logits = self.model(**batch).logits[:, : len(GRADES)].double() / self.info.temperature
                for row, values in zip(rows, logits.softmax(-1).tolist(), strict=True):
                    found[row] = values
        return found


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
    """Judges windows of pairs in length-bucketed batches; every verdict has calibrated `scores`, and `latency_ms` amortised over its window."""

    student: Student
    batch_size: int
    samples: int
    name: str

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        for window in chunks(pairs, self.batch_size * _WINDOW_BATCHES):
            started = perf_counter()
            found = self.student.probabilities([self.student.reader.texts(pair) for pair in window], self.batch_size)
            spent = (perf_counter() - started) * 1000 / len(window)
            for pair, values in zip(window, found, strict=True):
                yield self._verdict(pair, values, spent)

    def _verdict(self, pair: Pair, values: list[float], spent_ms: float) -> Verdict:
        row: dict[str, Any] = {"id": pair.id, "query": pair.query, "item_id": pair.item.id, "judge": self.name}
        if not all(value == value for value in values):
            return parse(Verdict, {**row, "error": "the student gave no finite score", "latency_ms": spent_ms})
        grade = GRADES[max(range(len(GRADES)), key=values.__getitem__)]
        row |= {"grade": grade, "scores": dict(zip(GRADES, values, strict=True)), "latency_ms": spent_ms}
        return parse(Verdict, {**row, "samples": [grade] * self.samples} if self.samples else row)

    def identity(self) -> dict[str, str]:
        return {"judge": "student", "model": self.student.hash, "features": self.student.info.features, "rulebook": self.student.info.rulebook_hash}


def open(target: str, settings: JudgeSettings) -> StudentJudge:
    """The judge over a student directory. It keeps the rulebook it was trained with, whatever the settings say: its path tokens mean that one."""
    return StudentJudge(Student(Path(target)), settings.batch_size, settings.samples, f"student:{Path(target).name}")
