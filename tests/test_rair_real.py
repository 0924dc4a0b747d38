"""The same numbers as independent tools on real human judgments; skipped where ../shared/data is absent."""

from __future__ import annotations

import json

import numpy
import pytest
from sklearn import metrics as sk

from lore_cli.path.lexical import overlap
from lore_cli.rair.ranking import Ranked, ranked, ranking_document
from lore_cli.records import GRADES, Pair, row_of
from lore_cli.stream import read
from rair_rows import ROOT, metrics_of, scored, verdict

DATA = ROOT.parent / "shared" / "data"
HOME_DEPOT, ESCI = DATA / "homedepot" / "dev.parquet", DATA / "esci" / "esci_us_judgments.json"


@pytest.mark.skipif(not HOME_DEPOT.exists(), reason="needs ../shared/data/homedepot")
def test_home_depot_by_scikit_learn(tmp_path):
    pairs = []
    for number, pair in enumerate(read(Pair, [str(HOME_DEPOT)])):
        if number == 3000:
            break
        pairs.append(pair)
    cuts = [0.2, 0.4, 0.7]
    given = [GRADES[int(numpy.searchsorted(cuts, overlap(pair.query, pair.item)))] for pair in pairs]
    gold = [pair.grade for pair in pairs]
    ours = metrics_of(scored(tmp_path, [row_of(pair) for pair in pairs], [verdict(row_of(pair), grade) for pair, grade in zip(pairs, given, strict=True)]))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(gold, given, labels=list(GRADES))
    theirs = {
        "acc4": sk.accuracy_score(gold, given),
        "acc2": sk.accuracy_score([grade > "L2" for grade in gold], [grade > "L2" for grade in given]),
        "macro_f1": sk.f1_score(gold, given, average="macro"),
        "weighted_f1": sk.f1_score(gold, given, average="weighted"),
        "qwk": sk.cohen_kappa_score(gold, given, weights="quadratic"),
        **{f"{name}_{grade}": values[i] for i, grade in enumerate(GRADES) for name, values in (("precision", precision), ("recall", recall), ("f1", f1))},
    }
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-9)


@pytest.mark.skipif(not ESCI.exists(), reason="needs ../shared/data/esci")
def test_esci_by_scikit_learn_query_by_query():
    gain = {"100.000": 3, "10.000": 2, "1.000": 1, "0.000": 0}
    judged = {entry["query"]: {rating["docId"]: gain[rating["rating"]] for rating in entry["ratings"]} for entry in json.loads(ESCI.read_text("utf-8"))["judgmentRatings"]}
    judged = {query: items for query, items in judged.items() if len(items) > 10 and any(items.values())}
    generator = numpy.random.default_rng(0)
    run = {query: dict(zip(items, generator.permutation(len(items)).astype(float), strict=True)) for query, items in judged.items()}
    rows = [Ranked(query, item, score=score) for query, items in run.items() for item, score in items.items()]
    found = {name: measure["value"] for name, measure in ranking_document({query: judged[query] for query in judged}, ranked(rows), 10, 100, 0)["metrics"].items()}
    assert len(judged) > 100, "most of the 150 queries have more than ten judged items"
    theirs = [sk.ndcg_score([list(items.values())], [[run[query][item] for item in items]], k=10) for query, items in judged.items()]
    top = [[judged[query][item] >= 2 for item in sorted(items, key=run[query].get, reverse=True)[:10]] for query, items in judged.items()]
    assert found == pytest.approx({"ndcg@10": numpy.mean(theirs), "p@10": numpy.mean(top), "judged@10": 1.0}, abs=1e-9)
