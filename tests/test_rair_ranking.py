"""Rankings against scikit-learn and by hand, and every misfit refused."""

from __future__ import annotations

import json

import numpy
import pytest
from sklearn.metrics import ndcg_score

from commands_run import lore
from lore_cli.errors import BadInput
from lore_cli.rair.ranking import Ranked, gains, ranked, ranking_document
from lore_cli.records import GRADES, Pair, parse
from rair_rows import pair, shop, verdict, written

pytest.importorskip("ir_measures", reason="needs the package ir-measures: pip install 'lore-cli[report]'")


def rows_of(run: dict[str, dict[str, float]]) -> list[Ranked]:
    return [Ranked(query, item, score=score) for query, items in run.items() for item, score in items.items()]


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn_query_by_query(seed):
    generator = numpy.random.default_rng(seed)
    grades, scores = generator.integers(0, 4, size=(8, 15)), generator.permuted(numpy.tile(numpy.arange(15.0), (8, 1)), axis=1)
    grades[:, 0] = 3  # scikit-learn and trec_eval differ for a query without any gain
    qrels = {f"q{q}": {f"i{i}": int(grades[q, i]) for i in range(15)} for q in range(8)}
    run = {f"q{q}": {f"i{i}": float(scores[q, i]) for i in range(15)} for q in range(8)}
    document = ranking_document(qrels, ranked(rows_of(run)), 5, 200, 0)
    found = {name: measure["value"] for name, measure in document["metrics"].items()}
    top = numpy.argsort(-scores, axis=1)[:, :5]
    assert found["ndcg@5"] == pytest.approx(ndcg_score(grades, scores, k=5), abs=1e-9)
    assert found["p@5"] == pytest.approx((numpy.take_along_axis(grades, top, 1) >= GRADES.index("L3")).mean(), abs=1e-9)
    assert found["judged@5"] == 1 and document["metrics"]["ndcg@5"]["lo"] < found["ndcg@5"] < document["metrics"]["ndcg@5"]["hi"]


def test_what_is_not_graded_or_not_ranked_is_told():
    qrels = gains(parse(Pair, pair(number, grade)) for number, grade in enumerate(["L4", "L1", "L2", "L3"]))
    assert qrels == {"sofa 0": {"i0": 3, "i1": 0, "i2": 1}, "sofa 1": {"i3": 2}}
    document = ranking_document(qrels, ranked([Ranked("Sofa  0", "i9", rank=1), Ranked("sofa 0", "i0", rank=2), Ranked("lamp", "i0", rank=1)]), 2, 100, 0)
    assert (document["queries"], document["not_ranked"], document["not_graded"]) == (1, 1, 1)
    assert {name: measure["value"] for name, measure in document["metrics"].items()} == {"ndcg@2": pytest.approx(3 / numpy.log2(3) / (3 + 1 / numpy.log2(3))), "p@2": 0.5, "judged@2": 0.5}
    assert document["metrics"]["p@2"]["lo"] is None, "one query has no interval"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no rows"),
        ([Ranked("q", "i")], "either rank or score"),
        ([Ranked("q", "i", rank=1, score=2)], "either rank or score"),
        ([Ranked("q", "i", score=float("nan"))], "either rank or score"),
        ([Ranked("q", "i", rank=1), Ranked("Q", "i", rank=2)], "ranked twice"),
    ],
)
def test_bad_rankings_are_refused(rows, said):
    with pytest.raises(BadInput, match=said):
        ranked(rows)


def test_the_command_adds_the_ranking_to_the_report(tmp_path):
    pairs, _ = shop(12)
    gold, given = written(tmp_path / "gold.jsonl", pairs), written(tmp_path / "v.jsonl", [verdict(one, one["grade"]) for one in pairs])
    best = written(tmp_path / "best.jsonl", [{"query": one["query"], "item_id": one["item"]["id"], "score": GRADES.index(one["grade"])} for one in pairs])
    done = lore("lore-rair", "score", given, "--gold", gold, "--ranking", best, "--depth", "3", "--draws", "100", "--json", "-")
    assert done.code == 0, done.err
    assert json.loads(done.out)["ranking"]["metrics"]["ndcg@3"]["value"] == 1
    other = written(tmp_path / "other.jsonl", [{"query": "lamp", "item_id": "i1", "rank": 1}])
    done = lore("lore-rair", "score", given, "--gold", gold, "--ranking", other, "--draws", "100")
    assert done.code == 3 and "no query of the ranking has graded pairs" in done.err
