"""Judging a judge: agreement against independent packages, prediction-powered estimates in simulation, variants that mean the same, and bad input."""

from __future__ import annotations

import json

import numpy
import pytest
from sklearn import metrics as sk

from commands_run import lore
from lore_cli.answer import item_lines
from lore_cli.errors import BadInput
from lore_cli.rair.judge_agreement import AGREEMENT, every
from lore_cli.rair.perturb import MARK, kinds, variants
from lore_cli.rair.ppi import Powered, powered_mean
from lore_cli.records import GRADES, Pair, Verdict, parse
from rair_rows import BOOK, EXAMPLES, pair, shop, verdict, written
from test_metrics import cells, draw


def agreement(gold: list[str], given: list[str]) -> dict[str, float]:
    return dict(zip(AGREEMENT, every(cells(gold, given).sum(0)), strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_kappa_and_alpha_agree_with_independent_packages(seed):
    package = pytest.importorskip("krippendorff", reason="needs the package krippendorff")
    gold, given = draw(seed, [9, 60, 300][seed % 3], [GRADES, ("L1", "L2", "L4")][seed % 2])
    ours, numbers = agreement(gold, given), [[GRADES.index(grade) for grade in side] for side in (gold, given)]
    assert ours["kappa"] == pytest.approx(sk.cohen_kappa_score(gold, given), abs=1e-9)
    for level in ("nominal", "ordinal"):
        assert ours[f"alpha_{level}"] == pytest.approx(package.alpha(numbers, level_of_measurement=level, value_domain=list(range(4))), abs=1e-9)
    assert ours["overrated"] - ours["underrated"] == pytest.approx(numpy.sign(numpy.subtract(numbers[1], numbers[0])).mean())
    assert ours["bias_L2"] == pytest.approx(numpy.mean([one - 1 for one, other in zip(numbers[1], numbers[0], strict=True) if other == 1]))


def test_one_grade_alone_has_no_chance_to_disagree():
    ours = agreement(["L4"] * 5, ["L4"] * 5)
    assert numpy.isnan([ours["kappa"], ours["alpha_nominal"], ours["alpha_ordinal"], ours["bias_L1"]]).all() and ours["overrated"] == 0


def test_an_estimate_of_single_pairs_is_the_textbook_one():
    """Each query with one pair, graded and other pairs apart: PPI++ of Angelopoulos et al., with n/(n-1) on the variance."""
    generator = numpy.random.default_rng(1)
    human, n, others = generator.binomial(1, 0.4, 60).astype(float), 60, 500
    judge, rest = numpy.where(generator.random(n) < 0.8, human, 1), generator.binomial(1, 0.5, others).astype(float)
    zeros, graded = numpy.zeros(others), numpy.concatenate([numpy.ones(n), numpy.zeros(others)])
    columns = (numpy.append(human, zeros), numpy.append(judge, zeros), graded, numpy.append(numpy.zeros(n), rest), 1 - graded)
    value, low, high, weight = powered_mean(*columns, degrees=10**9)
    best = numpy.cov(human, judge, ddof=0)[0, 1] / n / (judge.var() / n + rest.var() / others)
    assert weight == pytest.approx(best, abs=1e-9) and value == pytest.approx(human.mean() + best * (rest.mean() - judge.mean()), abs=1e-9)
    spread = (human - best * judge).var() / n + best**2 * rest.var() / others
    assert high - low == pytest.approx(2 * 1.959963985 * numpy.sqrt(spread * (n + others) / (n + others - 1)), abs=1e-6)


def test_estimates_hold_the_truth_with_a_wrong_judge_and_are_narrower_than_labels_alone(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES.parent.parent / "benchmarks"))
    import coverage as simulated

    found = simulated.powered(400, 40, 400, True)
    assert 0.92 <= found["powered"] <= 0.98 and found["width"] < 0.8
    assert found["verdicts within"] < 0.9, "the judge by itself is wrong"


def test_the_bootstrap_holds_macro_f1_and_rows_taken_as_independent_do_not(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES.parent.parent / "benchmarks"))
    import coverage as simulated

    found, macro = simulated.coverage(150, 100, 200), simulated.WATCHED.index("macro_f1")
    assert 0.9 <= found["clustered by query"][macro] <= 0.99 and 0.9 <= found["analytic"] <= 0.99
    assert found["rows taken as independent"][macro] < found["clustered by query"][macro] - 0.04


def test_unequal_inclusion_is_undone():
    """Of 400 pairs half are relevant; all relevant ones but a quarter of the others are graded. Weighted, the share is found again."""
    powered = Powered()
    for number in range(400):
        grade, inclusion = ("L4", 1.0) if number % 2 else ("L1", 0.25)
        row = pair(number, grade, query=f"q{number}", inclusion=inclusion)
        powered.add_unlabelled(parse(Verdict, verdict(row, "L4")))
        if grade == "L4" or number % 8 == 0:
            powered.add_labelled(parse(Pair, row), parse(Verdict, verdict(row, "L4")))
    found = powered.estimates()["relevant"]
    assert found["labels"][0] == pytest.approx(0.5) and found["powered"][0] == pytest.approx(0.5) and found["verdicts"] == 1
    with pytest.raises(BadInput, match="a probability above 0"):
        powered.add_labelled(parse(Pair, pair(1, "L4", inclusion=0)), None)


def test_variants_mean_the_same_and_say_what_they_are():
    made = parse(Pair, pair(1, "L3", query="navy sofa", item={"attributes": {"colour": "navy", "material": "linen"}}, shop="mine"))
    rows = {row["variant"]: row for row in variants(made, kinds(BOOK))}
    assert {row["id"] for row in rows.values()} == {f"p1{MARK}{kind}" for kind in ("fields", "length", "paraphrase")}
    assert all((row["of"], row["grade"], row["shop"], row["item"]["id"]) == ("p1", "L3", "mine", "i1") for row in rows.values())
    assert list(rows["fields"]["item"]["attributes"]) == ["material", "colour"] and rows["fields"]["item"]["attributes"] == made.item.attributes
    assert rows["length"]["item"]["description"] and rows["length"]["query"] == "navy sofa"
    said = rows["paraphrase"]["query"]
    assert said != "navy sofa" and said.endswith("sofa") and BOOK.values["colour"].name(said.removesuffix(" sofa")) == "navy"
    plain = parse(Pair, pair(2, "L3", query="zzgrumpf", item={"description": "x" * 150}))
    assert [(row["variant"], row["query"]) for row in variants(plain, kinds(BOOK))] == [("paraphrase", "I am looking for: zzgrumpf")], "one attribute, no room"


def test_the_longer_description_reaches_the_prompt():
    made = parse(Pair, pair(1, "L3"))
    longer = next(row for row in variants(made, kinds(BOOK)) if row["variant"] == "length")
    assert "within one day" in item_lines(parse(Pair, longer).item) and "within one day" not in item_lines(made.item)


@pytest.fixture
def audited(tmp_path):
    pairs, verdicts = shop(60, 2, 0.8)
    return written(tmp_path / "gold.jsonl", pairs), written(tmp_path / "v.jsonl", verdicts), pairs, verdicts


def test_a_fickle_judge_is_found_out(audited, tmp_path):
    gold, given, pairs, verdicts = audited
    rows = []
    for number, (one, row) in enumerate(zip(pairs, verdicts, strict=True)):
        turned = "L4" if row["grade"] < "L3" else "L1"
        rows.append(row | {"id": f"{one['id']}~length", "grade": turned if number % 2 else row["grade"]})
        rows.append({**row, "id": f"{one['id']}~fields"})
    rows[1] = {name: value for name, value in rows[1].items() if name != "grade"} | {"error": "no reply"}
    done = lore("lore-rair", "audit", given, "--gold", gold, "--variants", written(tmp_path / "x.jsonl", rows), "--draws", "200", "--json", tmp_path / "a.json")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "a.json").read_text())["sensitivity"]
    assert (found["length"]["rows"], found["length"]["changed"]["value"], found["length"]["crossed"]["value"]) == (60, 0.5, 0.5)
    assert (found["fields"]["rows"], found["fields"]["not_judged"], found["fields"]["changed"]["value"]) == (59, 1, 0)
    assert found["length"]["changed"]["lo"] < 0.5 < found["length"]["changed"]["hi"] and "length" in done.out.decode()


def test_self_consistency_is_the_chance_that_two_draws_are_alike(audited, tmp_path):
    gold, _, _, verdicts = audited
    sampled = [row | {"samples": ["L4", "L4", "L1"] if number % 2 else ["L2", "L2", "L2"]} for number, row in enumerate(verdicts)]
    done = lore("lore-rair", "audit", written(tmp_path / "s.jsonl", sampled), "--gold", gold, "--draws", "200", "--json", tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    assert done.code == 0 and document["agreement"]["self_consistency"]["value"] == pytest.approx((1 + 1 / 3) / 2)
    assert document["estimates"] is None and document["sensitivity"] == {}


def test_a_generous_judge_is_corrected_by_a_few_labels(audited, tmp_path):
    gold, _, pairs, _ = audited
    generous = written(tmp_path / "all.jsonl", [verdict(one, "L4") for one in pairs])
    done = lore("lore-rair", "audit", generous, "--gold", gold, "--unlabelled", generous, "--draws", "200", "--json", tmp_path / "a.json")
    assert done.code == 0, done.err
    rate = json.loads((tmp_path / "a.json").read_text())["estimates"]["rates"]["relevant"]
    share = sum(one["grade"] > "L2" for one in pairs) / len(pairs)
    assert rate["verdicts"] == 1 and rate["powered"]["value"] == pytest.approx(share, abs=1e-6) and rate["powered"]["lo"] < share < rate["powered"]["hi"]


def test_pairs_that_the_judge_failed_on_bias_nothing(audited, tmp_path):
    gold, _, pairs, _ = audited
    rows = written(tmp_path / "all.jsonl", [verdict(one, one["grade"]) if number % 4 else verdict(one, error="no reply") for number, one in enumerate(pairs)])
    assert lore("lore-rair", "audit", rows, "--gold", gold, "--unlabelled", rows, "--draws", "100", "--json", tmp_path / "a.json").code == 0
    document = json.loads((tmp_path / "a.json").read_text())
    rate, judged = document["estimates"]["rates"]["relevant"], [one for number, one in enumerate(pairs) if number % 4]
    assert document["unjudged"] == 15 and rate["powered"]["value"] == pytest.approx(sum(one["grade"] > "L2" for one in pairs) / 60, abs=1e-6)
    assert rate["verdicts"] == pytest.approx(sum(one["grade"] > "L2" for one in judged) / 45, abs=1e-6), "of those that have a verdict"


def test_what_cannot_be_audited_is_refused(audited, tmp_path):
    gold, given, pairs, verdicts = audited
    stray = written(tmp_path / "stray.jsonl", [verdicts[0] | {"id": "p0"}])
    done = lore("lore-rair", "audit", given, "--gold", gold, "--variants", stray)
    assert done.code == 3 and "'p0' is on no variant of a pair of --gold" in done.err
    assert lore("lore-rair", "audit", "-", "--gold", gold, "--variants", "-").code == 2
    short = written(tmp_path / "short.jsonl", verdicts[:50])
    assert lore("lore-rair", "audit", short, "--gold", gold).code == 3
    assert lore("lore-rair", "audit", written(tmp_path / "e.jsonl", []), "--gold", written(tmp_path / "g.jsonl", [])).code == 3
