"""Scoring: values against scikit-learn and by hand, and every misfit refused with its id."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars
import pytest
from sklearn import metrics as sk

from commands_run import lore
from lore_cli.errors import BadInput
from lore_cli.rair.report import slice_name
from lore_cli.records import GRADES
from rair_rows import EXAMPLES, metrics_of, pair, scored, shop, verdict, written


@pytest.mark.parametrize("seed", range(4))
def test_a_report_of_random_verdicts_agrees_with_scikit_learn_in_every_subset(tmp_path, seed):
    pairs, verdicts = shop(90, seed)
    random.Random(seed).shuffle(verdicts)
    document = scored(tmp_path, pairs, verdicts)
    by_id = {row["id"]: row["grade"] for row in verdicts}
    for fields in ({}, {"subset": "general"}, {"subset": "hard"}, {"subset": "visual"}):
        rows = [row for row in pairs if fields.items() <= row.items()]
        gold, given = [row["grade"] for row in rows], [by_id[row["id"]] for row in rows]
        ours = metrics_of(document, **fields)
        assert ours["acc4"] == pytest.approx(sk.accuracy_score(gold, given))
        assert ours["acc2"] == pytest.approx(sk.accuracy_score([one > "L2" for one in gold], [one > "L2" for one in given]))
        assert ours["macro_f1"] == pytest.approx(sk.f1_score(gold, given, average="macro"))
        assert ours["qwk"] == pytest.approx(sk.cohen_kappa_score(gold, given, weights="quadratic", labels=list(GRADES)))
        entry = next(entry for entry in document["slices"] if entry["slice"] == fields)
        assert entry["confusion"] == sk.confusion_matrix(gold, given, labels=list(GRADES)).tolist()
        assert entry["n"] == len(rows) and entry["queries"] == len({row["query"] for row in rows})


def test_known_rows_give_known_numbers(tmp_path):
    pairs = [pair(number, grade) for number, grade in enumerate(["L1", "L2", "L3", "L4"])]
    verdicts = [verdict(one, grade) for one, grade in zip(pairs, ["L1", "L3", "L3", "L4"], strict=True)]
    ours = metrics_of(scored(tmp_path, pairs, verdicts))
    assert (ours["acc4"], ours["acc2"], ours["within1"], ours["bias"]) == (0.75, 0.75, 1.0, 0.25)
    assert ours["macro_f1"] == pytest.approx((1 + 0 + 2 / 3 + 1) / 4)
    assert (ours["precision_L3"], ours["recall_L3"], ours["f1_L2"]) == (0.5, 1.0, 0.0)
    assert "adherence" not in ours and "pass_at_1" not in ours, "what was not measured is absent, not 0"


def test_the_order_of_the_rows_does_not_matter(tmp_path):
    pairs, verdicts = shop(40, 3, latency_ms=0.1, scores={"L1": 0.1, "L2": 0.2, "L3": 0.3, "L4": 0.4})
    one = scored(tmp_path, pairs, verdicts)
    assert scored(tmp_path, pairs[::-1], sorted(verdicts, key=lambda row: row["grade"])) == one


def test_an_error_is_no_grade_and_is_counted(tmp_path):
    pairs = [pair(number, "L4") for number in range(4)]
    verdicts = [verdict(pairs[0], "L4"), verdict(pairs[1], error="no reply"), verdict(pairs[2], error="unparseable: no grade line"), verdict(pairs[3], "L1")]
    document = scored(tmp_path, pairs, verdicts)
    ours = metrics_of(document)
    assert (ours["coverage"], ours["acc4"], ours["acc4_all"]) == (0.5, 0.5, 0.25)
    assert document["unjudged"] == {"errors": 2, "unparseable": 1, "missing": 0}
    assert document["errors"] == [{"error": "no reply", "count": 1}, {"error": "unparseable: no grade line", "count": 1}]
    assert document["slices"][0]["gold"]["L4"] == 4 and document["slices"][0]["judged"] == 2


def test_missing_verdicts_are_refused_or_with_partial_unjudged(tmp_path):
    pairs, verdicts = shop(6)
    with pytest.raises(BadInput, match="2 of 6 gold pairs have no verdict.*'p4'"):
        scored(tmp_path, pairs, verdicts[:4])
    document = scored(tmp_path, pairs, verdicts[:4], partial=True)
    assert document["unjudged"] == {"errors": 0, "unparseable": 0, "missing": 2} and metrics_of(document)["coverage"] == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "p99"}, "'p99' is for no pair"),
        ({"query": "other"}, "'p1' is about"),
        ({"item_id": "i99"}, "'p1' is about"),
        ({"error": "x"}, "a grade and an error"),
        ({"grade": None}, "neither a grade nor an error"),
        ({"scores": {"L1": 0.5, "L2": 0.2}}, "not probabilities that sum to 1"),
        ({"scores": {"L1": 1.5, "L2": -0.5}}, "not probabilities that sum to 1"),
    ],
)
def test_a_verdict_that_does_not_fit_is_refused_by_name(tmp_path, change, said):
    pairs, verdicts = shop(3)
    verdicts[1] = {name: value for name, value in (verdicts[1] | change).items() if value is not None}
    with pytest.raises(BadInput, match=said):
        scored(tmp_path, pairs, verdicts)


def test_what_no_json_can_say_is_refused_in_parquet_too(tmp_path):
    pairs, verdicts = shop(3, scores={"L1": 0.1, "L2": 0.2, "L3": 0.3, "L4": 0.4})
    verdicts[1]["scores"] = {**verdicts[1]["scores"], "L1": float("nan")}
    given = tmp_path / "v.parquet"
    polars.DataFrame(verdicts).write_parquet(given)
    done = lore("lore-rair", "score", given, "--gold", written(tmp_path / "gold.jsonl", pairs), "--draws", "100")
    assert done.code == 3 and "'p1'" in done.err and "not probabilities that sum to 1" in done.err


@pytest.mark.parametrize("side", ["gold", "verdict"])
def test_grades_outside_the_scale_are_refused_with_their_line(tmp_path, side):
    pairs, verdicts = shop(3)
    (pairs if side == "gold" else verdicts)[1]["grade"] = "L5"
    done = lore("lore-rair", "score", written(tmp_path / "v.jsonl", verdicts), "--gold", written(tmp_path / "gold.jsonl", pairs), "--draws", "100")
    assert done.code == 3 and f"{'gold' if side == 'gold' else 'v'}.jsonl:2: grade: found 'L5'" in done.err


def test_mixed_runs_are_refused_but_for_the_tiers_of_one(tmp_path):
    pairs, verdicts = shop(4)
    verdicts[2]["judge"] = "another"
    with pytest.raises(BadInput, match=r"verdicts of 2 judges \(another, hand\)"):
        scored(tmp_path, pairs, verdicts)
    tiered = [row | {"tier": "head"} for row in verdicts]
    assert scored(tmp_path, pairs, tiered)["judges"] == ["another", "hand"]
    one, mixed, gold = (written(tmp_path / f"{number}.jsonl", rows) for number, rows in enumerate((tiered, verdicts, pairs)))
    done = lore("lore-rair", "compare", one, mixed, "--gold", gold, "--draws", "100")
    assert done.code == 3 and "1.jsonl: judge: verdicts of 2 judges" in done.err


def test_verdicts_judged_under_another_rulebook_are_refused(tmp_path):
    other = tmp_path / "other.toml"
    other.write_text((Path(EXAMPLES).parent.parent / "lore_cli" / "rulebook.toml").read_text("utf-8") + "\n# another\n", "utf-8")
    verdicts = tmp_path / "v.jsonl"
    assert lore("lore-rair", "run", EXAMPLES, "--judge", "rulebook:", "--rulebook", other, "-o", verdicts).code == 0
    done = lore("lore-rair", "score", verdicts, "--gold", EXAMPLES, "--draws", "100")
    assert done.code == 3 and "was judged under rulebook" in done.err and "--rulebook FILE" in done.err
    assert lore("lore-rair", "score", verdicts, "--gold", EXAMPLES, "--draws", "100", "--rulebook", other).code == 0


def test_a_misfit_can_be_set_aside_and_then_its_pair_is_missing(tmp_path):
    pairs, verdicts = shop(6)
    verdicts[1]["query"] = "other"
    gold, given, rejects = written(tmp_path / "gold.jsonl", pairs), written(tmp_path / "given.jsonl", verdicts), tmp_path / "rejects.jsonl"
    arguments = ("score", given, "--gold", gold, "--draws", "100", "--json", "-", "--on-bad", "skip", "--rejects", rejects)
    assert lore("lore-rair", *arguments).code == 3
    done = lore("lore-rair", *arguments, "--partial", "--force")
    assert done.code == 5 and json.loads(done.out)["unjudged"] == {"errors": 0, "unparseable": 0, "missing": 1}
    assert [json.loads(line)["field"] for line in rejects.read_text().splitlines()] == ["query, item_id"]


def test_ids_given_twice_are_refused(tmp_path):
    pairs, verdicts = shop(3)
    with pytest.raises(BadInput, match="duplicate id 'p0'"):
        scored(tmp_path, pairs, [*verdicts, verdicts[0]])
    with pytest.raises(BadInput, match="duplicate id 'p0'"):
        scored(tmp_path, [*pairs, pairs[0]], verdicts)
    gold = written(tmp_path / "gold.jsonl", pairs)
    again = written(tmp_path / "again.jsonl", pairs[:1])
    done = lore("lore-rair", "score", written(tmp_path / "given.jsonl", verdicts), "--gold", gold, "--gold", again, "--draws", "100")
    assert done.code == 3 and "again.jsonl" in done.err and "'p0'" in done.err


def test_gold_without_a_grade_and_empty_gold_are_refused(tmp_path):
    with pytest.raises(BadInput, match="'p1' has no grade"):
        scored(tmp_path, [pair(0), pair(1, None)], [])
    with pytest.raises(BadInput, match="no gold pairs"):
        scored(tmp_path, [], [])


def test_one_pair_has_values_but_no_bounds(tmp_path):
    document = scored(tmp_path, [pair(0, "L3")], [verdict(pair(0), "L3")])
    measure = document["slices"][0]["metrics"]["acc4"]
    assert measure == {"value": 1.0, "lo": None, "hi": None} and "qwk" not in document["slices"][0]["metrics"]


def test_a_single_class_has_exact_bounds_and_no_kappa(tmp_path):
    pairs = [pair(number, "L4") for number in range(30)]
    document = scored(tmp_path, pairs, [verdict(one, "L4") for one in pairs])
    measures = document["slices"][0]["metrics"]
    assert measures["acc4"] == {"value": 1.0, "lo": pytest.approx(0.025 ** (1 / 10), abs=1e-6), "hi": 1.0}, "10 queries"
    assert "qwk" not in measures and "f1_L1" not in measures


def test_samples_give_pass_at_k_and_a_draw_that_could_not_be_parsed_is_not_right(tmp_path):
    pairs = [pair(0, "L4"), pair(1, "L1")]
    verdicts = [verdict(pairs[0], "L4", samples=["L4", "L1", None, "L4"]), verdict(pairs[1], "L4", samples=["L4", "L4", None, "L3"])]
    document = scored(tmp_path, pairs, verdicts)
    ours = metrics_of(document)
    assert document["samples"] == {"k": 4, "rows": 2} and (ours["pass_at_1"], ours["pass_at_k"], ours["maj_at_k"]) == (0.25, 0.5, 0.5)


def test_adherence_and_evidence_are_checked_against_rulebook_and_item(tmp_path):
    pairs = [pair(number, "L4", item={"category": "sofa"}) for number in range(3)]
    right = {"attribute": "category", "need": "sofa", "state": "exact", "found": "sofa", "source": "category"}
    verdicts = [
        verdict(pairs[0], "L4", matches=[right]),
        verdict(pairs[1], "L1", matches=[right]),
        verdict(pairs[2], "L4", matches=[right | {"found": "lamp"}]),
    ]
    ours = metrics_of(scored(tmp_path, pairs, verdicts))
    assert ours["adherence"] == pytest.approx(2 / 3) and ours["evidence_validity"] == pytest.approx(2 / 3)


def test_latency_is_of_the_verdicts_that_tell_it(tmp_path):
    pairs = [pair(number, "L4", subset="general" if number else "hard") for number in range(4)]
    verdicts = [verdict(pairs[0], "L4"), verdict(pairs[1], "L4", latency_ms=1.0), verdict(pairs[2], "L4", latency_ms=2.0), verdict(pairs[3], "L4", latency_ms=6.0)]
    slices = {tuple(entry["slice"].values()): entry["latency_ms"] for entry in scored(tmp_path, pairs, verdicts)["slices"]}
    assert slices[()] == {"mean": 3.0, "median": 2.0, "rows": 3} and slices[("hard",)] is None


def test_calibration_by_hand(tmp_path):
    pairs = [pair(number, "L4") for number in range(4)]
    sure, unsure = {"L1": 0.0, "L2": 0.0, "L3": 0.1, "L4": 0.9}, {"L1": 0.55, "L2": 0.0, "L3": 0.0, "L4": 0.45}
    verdicts = [verdict(pairs[0], "L4", scores=sure), verdict(pairs[1], "L4", scores=sure), verdict(pairs[2], "L1", scores=unsure), verdict(pairs[3], "L4")]
    found = scored(tmp_path, pairs, verdicts)["calibration"]
    assert found["rows"] == 3 and found["ece"] == pytest.approx((2 * 0.1 + 0.55) / 3, abs=1e-6)
    assert found["brier"] == pytest.approx((2 * (0.01 + 0.01) + 0.55**2 + 0.55**2) / 3, abs=1e-6)
    assert [(place["from"], place["rows"], place["right"]) for place in found["bins"]] == [(0.5, 1, 0.0), (0.9, 2, 1.0)]
    assert scored(tmp_path, pairs, [verdict(one, "L4") for one in pairs])["calibration"] is None


def test_the_command_prints_a_table_and_writes_the_report(tmp_path):
    verdicts = tmp_path / "verdicts.jsonl"
    assert lore("lore-rair", "run", EXAMPLES, "--judge", "rulebook:", "-o", verdicts).code == 0
    report = tmp_path / "report.json"
    done = lore("lore-rair", "score", verdicts, "--gold", EXAMPLES, "--by", "split", "--draws", "200", "--json", report)
    assert done.code == 0, done.err
    document = json.loads(report.read_text())
    assert document["slices"][0]["n"] == 24 and {"slice": {"split": "test"}}.items() <= document["slices"][1].items()
    assert f"{document['slices'][0]['metrics']['acc4']['value']:.3f}".lstrip("0") in done.out.decode()
    assert (tmp_path / "report.json.manifest.json").exists()
    assert lore("lore-rair", "score", verdicts, "--gold", EXAMPLES, "--json", report).code == 2, "an existing report is not overwritten"
    piped = lore("lore-rair", "score", "-", "--gold", EXAMPLES, "--by", "split", "--draws", "200", "--json", "-", stdin=verdicts.read_bytes())
    assert piped.code == 0
    assert {**json.loads(piped.out), "failures": 0} == {**document, "failures": 0}, "but for image paths, which are relative to the report"
    assert lore("lore-rair", "score", "-", "--gold", "-").code == 2


def test_slices_by_a_field_of_the_item(tmp_path):
    pairs = [pair(number, "L4", item={"category": "sofa" if number % 2 else "lamp"}) for number in range(8)]
    gold, given = written(tmp_path / "gold.jsonl", pairs), written(tmp_path / "v.jsonl", [verdict(one, "L4") for one in pairs])
    done = lore("lore-rair", "score", given, "--gold", gold, "--by", "category", "--draws", "100", "--json", "-")
    assert [(entry["slice"], entry["n"]) for entry in json.loads(done.out)["slices"][1:]] == [({"category": "lamp"}, 4), ({"category": "sofa"}, 4)]


def test_the_images_of_failures_are_relative_to_the_report_or_the_working_directory(tmp_path):
    gold = written(tmp_path / "gold.jsonl", [pair(0, "L4", item={"image": "images/a.png"})])
    given = written(tmp_path / "given.jsonl", [verdict(pair(0), "L1")])
    (tmp_path / "reports").mkdir()
    assert lore("lore-rair", "score", given, "--gold", gold, "--draws", "100", "--json", tmp_path / "reports" / "r.json").code == 0
    assert json.loads((tmp_path / "reports" / "r.json").read_text())["failures"][0]["item"]["image"] == "../images/a.png"
    piped = json.loads(lore("lore-rair", "score", given, "--gold", gold, "--draws", "100", "--json", "-").out)
    assert (Path.cwd() / piped["failures"][0]["item"]["image"]).resolve() == (tmp_path / "images" / "a.png").resolve()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "bench"
    done = lore("lore-rair", "build", EXAMPLES, "--share", "1", "-o", folder)
    assert done.code == 0, done.err
    return folder


def test_an_edited_benchmark_and_another_rulebook_are_refused(bench, tmp_path):
    verdicts = tmp_path / "verdicts.jsonl"
    gold = bench / "all.jsonl"
    assert lore("lore-rair", "run", gold, "--judge", "rulebook:", "-o", verdicts).code == 0
    assert lore("lore-rair", "score", verdicts, "--gold", gold, "--draws", "100").code == 0
    other = tmp_path / "other.toml"
    other.write_text((bench / "rulebook.toml").read_text("utf-8") + "\n# another\n", "utf-8")
    done = lore("lore-rair", "score", verdicts, "--gold", gold, "--rulebook", other)
    assert done.code == 3 and "is not the benchmark's" in done.err
    kept = gold.read_bytes()
    gold.write_bytes(kept.replace(b'"L1"', b'"L2"', 1))
    try:
        for arguments in (("score", verdicts, "--gold", gold), ("run", gold, "--judge", "rulebook:")):
            done = lore("lore-rair", *arguments)
            assert done.code == 3 and "edited after the benchmark was built" in done.err
    finally:
        gold.write_bytes(kept)


def test_a_slice_that_is_worse_than_the_rest_is_named_and_the_others_are_not(tmp_path):
    pairs, right = shop(360, 5, 0.7)
    verdicts = [row | {"grade": "L1" if one["grade"] > "L2" else "L4"} if one["subset"] == "hard" else row for one, row in zip(pairs, right, strict=True)]
    gold, given = written(tmp_path / "gold.jsonl", pairs), written(tmp_path / "v.jsonl", verdicts)
    report = tmp_path / "r.json"
    done = lore("lore-rair", "score", given, "--gold", gold, "--draws", "100", "--json", report)
    assert done.code == 0, done.err
    slices = {slice_name(entry["slice"]): entry for entry in json.loads(report.read_text())["slices"]}
    test = slices["hard"]["against_rest"]["acc2"]
    rest = [row for row, one in zip(verdicts, pairs, strict=True) if one["subset"] != "hard"]
    share = sum((row["grade"] > "L2") == (one["grade"] > "L2") for row, one in zip(rest, [one for one in pairs if one["subset"] != "hard"], strict=True)) / len(rest)
    assert test["difference"] == pytest.approx(0 - share) and test["p"] <= test["p_holm"] < 0.001
    assert "against_rest" not in slices["all"] and "against the other rows, p corrected for 3 slices (Holm): " in done.out.decode() and "hard: Acc@2 -.8" in done.out.decode()
    assert slices["all"]["detectable"]["acc2"] == pytest.approx(2.8016 * 2**0.5 * (slices["all"]["metrics"]["acc2"]["hi"] - slices["all"]["metrics"]["acc2"]["lo"]) / 3.92, rel=0.2)
    analytic, drawn = slices["all"]["analytic"]["macro_f1"], slices["all"]["metrics"]["macro_f1"]
    assert analytic["value"] == pytest.approx(drawn["value"], abs=1e-6) and analytic["lo"] == pytest.approx(drawn["lo"], abs=0.03)
