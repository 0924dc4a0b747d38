"""Which wrong verdicts a report describes, and with what."""

from __future__ import annotations

from lore_cli.rair.failures import Failures, described
from lore_cli.records import GRADES, Pair, Verdict, parse
from rair_rows import BOOK, pair, scored, verdict


def collected(entries, limit=12):
    failures = Failures(limit)
    for one, given in entries:
        failures.add(parse(Pair, one), parse(Verdict, given) if given else None)
    return [(chosen.id, answer.grade) for chosen, answer, _ in failures.chosen()]


def test_right_failed_and_missing_verdicts_are_no_failures():
    rows = [pair(number, "L4", query=f"q{number}") for number in range(4)]
    assert collected([(rows[0], verdict(rows[0], "L4")), (rows[1], verdict(rows[1], error="x")), (rows[2], None), (rows[3], verdict(rows[3], "L3"))]) == [("p3", "L3")]


def test_within_a_kind_of_confusion_the_judge_that_gives_reasons_comes_first():
    rows = [pair(number, "L4", query=f"q{number}") for number in range(6)]
    match = {"attribute": "category", "need": "sofa", "state": "conflict"}
    given = [verdict(one, "L1", matches=[match] if number == 4 else None) for number, one in enumerate(rows)]
    assert collected(zip(rows, given, strict=True))[0] == ("p4", "L1")


def test_the_most_frequent_kind_of_confusion_comes_first():
    rows = [pair(number, "L4", query=f"q{number}") for number in range(5)]
    given = [verdict(one, "L3" if number else "L1") for number, one in enumerate(rows)]
    assert [grade for _, grade in collected(zip(rows, given, strict=True))][:3] == ["L3", "L1", "L3"]


def test_a_surer_mistake_of_the_same_kind_comes_first():
    rows = [pair(number, "L4", query=f"q{number}") for number in range(3)]
    share = [0.5, 0.9, 0.7]
    given = [verdict(one, "L1", scores={"L1": part, "L4": 1 - part}) for one, part in zip(rows, share, strict=True)]
    assert [name for name, _ in collected(zip(rows, given, strict=True))] == ["p1", "p2", "p0"]


def test_one_failure_a_query_and_at_most_the_limit():
    rows = [pair(number, "L4", query=f"q{number % 5}") for number in range(30)]
    entries = [(one, verdict(one, "L1")) for one in rows]
    assert len(collected(entries)) == 5 and len(collected(entries, 3)) == 3 and collected(entries, 0) == []


def test_subsets_come_in_turn_and_kinds_of_confusion_too():
    rows = [pair(number, GRADES[1 + number % 3], query=f"q{number}", subset=("general", "hard")[number % 2]) for number in range(40)]
    chosen = collected([(one, verdict(one, "L1")) for one in rows], 6)
    subsets = [rows[int(name[1:])]["subset"] for name, _ in chosen]
    assert subsets == ["general", "hard"] * 3
    assert {rows[int(name[1:])]["grade"] for name, _ in chosen} == {"L2", "L3", "L4"}


def test_the_same_failures_in_any_order_of_rows():
    rows = [pair(number, "L4", query=f"q{number}") for number in range(100)]
    entries = [(one, verdict(one, "L1")) for one in rows]
    assert collected(entries) == collected(entries[::-1])


def test_a_failure_holds_its_reasoning_and_what_the_rules_say_of_it(tmp_path):
    one = pair(0, "L2", item={"category": "sofa", "brand": "arlo", "description": "x" * 1000, "image": "images/a.png"}, criteria=["price"], subset="hard")
    match = {"attribute": "category", "need": "sofa", "state": "exact", "found": "sofa", "source": "category"}
    given = verdict(one, "L1", matches=[match], rules=["R1"], reason="because")
    found = described(parse(Pair, one), parse(Verdict, given), BOOK, tmp_path / "bench", tmp_path / "reports")
    assert (found["gold"], found["given"], found["subset"], found["criteria"]) == ("L2", "L1", "hard", ["price"])
    assert found["matches"] == [match] and found["rules"] == ["R1"] and found["reason"] == "because"
    assert found["implied"]["grade"] == "L4", "an exact category alone implies the best grade"
    assert len(found["item"]["description"]) == 300 and found["item"]["image"] == "../bench/images/a.png"
    assert "caption" not in found["item"] and "scores" not in found


def test_a_report_describes_as_many_as_asked(tmp_path):
    rows = [pair(number, "L4", query=f"q{number}") for number in range(9)]
    given = [verdict(one, "L1") for one in rows]
    assert len(scored(tmp_path, rows, given, failures=4)["failures"]) == 4
    assert scored(tmp_path, rows, given, failures=0)["failures"] == []
