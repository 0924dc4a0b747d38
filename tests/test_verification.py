"""What synthesised reasoning must stand up to: each stage's own check, votes, a second teacher, the hint, leaks; and the count of what did not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands_run import ROOT, lore
from lore_cli.path.demanded import demanded
from lore_cli.path.knowledge import EMPTY, Entry, Glossary
from lore_cli.path.needs import construct
from lore_cli.path.understanding import understand
from lore_cli.records import Item, Match, Need, Trace, row_of
from lore_cli.rulebook import load_rulebook
from lore_cli.synth import Dropped, checks
from lore_cli.synth.agreement import TwoTeachers, cohen_kappa
from lore_cli.synth.knowledge import TaughtKnowledge
from lore_cli.synth.merge import Tally, synthesise
from lore_cli.synth.rules import ExpertRules, Room, Text
from lore_cli.synth.taught import Naive, TaughtRules
from scripted import GOOD, LOWER, NEEDS, teacher, trace

RULEBOOK = load_rulebook()
ROOM = Room(RULEBOOK, EMPTY, Text())
FREE = Room(RULEBOOK, EMPTY, Text(layout="free"))
PAIRS = ROOT / "examples" / "pairs.jsonl"


def synthesis(row: Trace | Dropped) -> dict[str, Any]:
    return row_of(row.trace if isinstance(row, Dropped) else row).get("synthesis", {})


def reason(row: Trace | Dropped) -> str:
    assert isinstance(row, Dropped) and row.state == "rejected", row
    return row.reason


# ------------------------------------------------------------------------------------------------ knowledge

REFUSED = {
    "a demand that is not made": ("navy sofa", "category = sofa\nmaterial = leather", "does not demand 'material = leather'"),
    "another product": ("navy sofa", "category = lamp\ncolour = navy", "does not demand 'category = lamp'"),
    "a longer product": ("navy sofa", "category = leather sofa\ncolour = navy", "does not demand"),
    "a price out of the air": ("cheap sofa", "category = sofa\nprice-condition = under 40", "does not demand 'price-condition = under 40'"),
    "another number": ("sofa under 400", "category = sofa\nprice-condition = under 40", "does not demand"),
    "an exclusion out of the air": ("navy sofa", "category = sofa\ncolour = not navy", "excludes nothing"),
    "the subject later on": ("navy sofa", "colour = navy\ncategory = sofa", "the subject 'sofa' is not the first need"),
    "an unknown attribute": ("navy sofa", "category = sofa\ntaste = navy", "'taste', which is not an attribute dimension"),
    "a number in a Chinese query": ("藏青 沙发", "category = sofa\nsize-specification = 200 cm", "does not demand"),
}
HELD = {
    "a synonym": ("dark blue couch", "category = sofa\ncolour = navy"),
    "a misspelling": ("navy velvat sofa", "category = sofa\ncolour = navy\nmaterial = velvet"),
    "another form": ("railings for stairs", "category = railing\ncompatibility = stair"),
    "a price": ("sofa under $400", "category = sofa\nprice-condition = under 400"),
    "an exclusion": ("sofa without arms not leather", "category = sofa\nmaterial = not leather\nshape-fit = armless"),
    "no product": ("nike", "brand = nike"),
    "a translation": ("藏青 沙发", "category = sofa\ncolour = navy"),
    "a translation of what no table lists": ("显瘦 连衣裙", "category = dress\nfunction-effect = slimming"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_needs_that_the_query_does_not_have_are_refused(case: str):
    query, reply, why = REFUSED[case]
    asked, script = teacher([reply], [reply], attempts=2)
    (row,) = TaughtKnowledge(RULEBOOK, EMPTY, asked)([trace(query=query)])
    assert reason(row).startswith("knowledge: ") and why in reason(row) and len(script.asked) == 2


@pytest.mark.parametrize("case", HELD)
def test_needs_in_other_words_are_not(case: str):
    query, reply = HELD[case]
    asked, _ = teacher([reply], attempts=1)
    (row,) = TaughtKnowledge(RULEBOOK, EMPTY, asked)([trace(query=query)])
    assert isinstance(row, Trace), row


def test_a_glossary_makes_demands_that_the_words_do_not():
    needs = (Need("category", "serum"), Need("ingredient-component", "retinol"))
    asked, _ = teacher(["category = serum\ningredient-component = retinol"] * 1, attempts=1)
    glossary = Glossary((Entry("morning C evening A", needs),), "test")
    (row,) = TaughtKnowledge(RULEBOOK, glossary, asked)([trace(query="Morning C Evening A set")])
    assert isinstance(row, Trace) and row.needs == needs


def test_the_experts_own_needs_pass_every_check():
    for line in PAIRS.read_bytes().splitlines():
        query = json.loads(line)["query"]
        needs = construct(query, RULEBOOK)
        assert checks.subject_first(needs) is None and demanded(needs, query, (), RULEBOOK, EMPTY) is None, query


def test_a_query_is_understood_as_a_whole():
    def read(query: str) -> dict[str, Any]:
        found = understand(query, construct(query, RULEBOOK), RULEBOOK)
        return {name: getattr(found, name) for name in ("intent", "subject", "modifiers", "excluded", "alternatives", "corrected")}

    plain = read("navy sofa")
    assert plain == {"intent": "product", "subject": "sofa", "modifiers": ("navy",), "excluded": (), "alternatives": (), "corrected": None}
    assert read("red or blue velvet sofa")["alternatives"] == (("red", "blue"),)
    assert read("红色或蓝色沙发")["alternatives"] == (("red", "blue"),) and read("red blue sofa")["alternatives"] == ()
    assert read("sofa not leather")["excluded"] == ("leather",)
    assert read("cover for sofa bed")["intent"] == "accessory"
    assert read("navy velvat sofa")["corrected"] == "navy velvet sofa"


# ------------------------------------------------------------------------------------------------ evidence and leaks


@pytest.mark.parametrize("found", ["leather [title]", "navy [caption]", "navy [description]", "avy [title]", "400 [price]", "dark blu [title]"])
def test_evidence_that_the_item_does_not_hold_is_refused(found: str):
    reply = GOOD.replace("navy [title]", found)
    asked, _ = teacher([reply], attempts=1)
    (row,) = TaughtRules(ROOM, asked)([trace(needs=NEEDS, item={"caption": "plain red", "price": 40.0})])
    assert "quotes evidence that the item does not hold" in reason(row)


@pytest.mark.parametrize(("found", "item"), [("navy [title]", {}), ("dark blue [title]", {}), ("Navy [attributes]", {"attributes": {"colour": "NAVY"}}), ("navy [caption]", {"caption": "plain navy"})])
def test_evidence_in_other_words_holds(found: str, item: dict):
    asked, _ = teacher([GOOD.replace("navy [title]", found)], attempts=1)
    (row,) = TaughtRules(ROOM, asked)([trace(needs=NEEDS, item=item)])
    assert isinstance(row, Trace), row


def test_a_word_within_a_word_is_no_evidence():
    from lore_cli.path.quoted import evidence_holds

    item = Item("1", "embroidered cushions")
    assert not evidence_holds(Match("colour", "red", "exact", "red", "title"), item, RULEBOOK)
    assert evidence_holds(Match("category", "cushion", "exact", "cushion", "title"), item, RULEBOOK)


LEAKS = [
    "The human grade is L4, so I look for reasons.", "As the rater said, it fits.", "It fits. The given grade confirms this.", "Raters called this relevant.",
    "This was graded L4.", "I was told that it is relevant.", "The ground truth is relevant.", "Given as L4, it must fit.", "To justify the grade: it fits.",
    "人工评审认为相关。", "根据提示，等级为相关。", "标准答案是相关。", "已给出的等级说明它相关。",
]  # fmt: skip
HONEST = [
    "It is rated 5 stars by shoppers and made of food grade steel.", "A grade 8 bolt, heavy-duty grade.", "Rated for 400 lb; the grade of the slope is given in the title.",
    "The size is as given in the title. I would say it should be graded L4.", "A crater lamp for craters.", "So it is rated L4.", "食品级 不锈钢 等级 A，评分很高。",
]  # fmt: skip


@pytest.mark.parametrize("text", LEAKS)
def test_a_reasoning_that_was_told_the_answer_is_refused(text: str):
    asked, _ = teacher([f"{text}\ngrade: L4"], attempts=1)
    (row,) = TaughtRules(FREE, asked, Naive())([trace()])
    assert reason(row).startswith("the reply gives away that it was told the answer: '")


@pytest.mark.parametrize("text", HONEST)
def test_ordinary_product_text_is_no_leak(text: str):
    asked, _ = teacher([f"{text}\ngrade: L4"], attempts=1)
    (row,) = TaughtRules(FREE, asked, Naive())([trace()])
    assert isinstance(row, Trace) and row.completion == f"{text}\ngrade: L4"


def test_the_shops_own_words_are_no_leak():
    asked, _ = teacher(["The title says ground truth, a book.\ngrade: L4"], attempts=1)
    (row,) = TaughtRules(FREE, asked, Naive())([trace(item={"title": "Ground Truth, a novel"})])
    assert isinstance(row, Trace)
    reply = GOOD.replace("navy [title]", "navy rater [title]")
    asked, _ = teacher([reply], attempts=1)
    (row,) = TaughtRules(ROOM, asked)([trace(needs=NEEDS, item={"title": "navy rater sofa"})])
    assert isinstance(row, Trace), row


# ------------------------------------------------------------------------------------------------ votes, hint, two teachers


def test_votes_keep_the_grade_that_enough_agree_on_with_the_commonest_matches():
    other = GOOD.replace("found navy [title] ; exact\nrules: none\ngrade: L4", "found navy [title] ; close\nrules: R9\ngrade: L3")
    asked, script = teacher([[LOWER, other, "nonsense", other, GOOD]], attempts=1, votes=5, agreement=0.6)
    (row,) = TaughtRules(ROOM, asked)([trace(grade="L3", needs=NEEDS)])
    assert isinstance(row, Trace) and row.completion == other and script.samples == [5]
    assert synthesis(row)["votes"] == 5 and synthesis(row)["agreement"] == 0.6
    asked, _ = teacher([[LOWER, other, "nonsense", other, GOOD]], attempts=1, votes=5, agreement=0.7)
    (row,) = TaughtRules(ROOM, asked)([trace(grade="L3", needs=NEEDS)])
    assert reason(row) == "too few votes agree: 3 of 5 for L3"


def test_votes_draw_again_and_a_lost_reply_is_one_vote_less():
    asked, script = teacher([[LOWER, GOOD, "no"]], [[GOOD, GOOD, ConnectionError("gone")]], attempts=2, votes=3, hint="never")
    (row,) = TaughtRules(ROOM, asked)([trace(needs=NEEDS)])
    assert isinstance(row, Trace) and synthesis(row) == {"reading": "attempt 2", "first_grade": "L3", "votes": 3, "agreement": 0.6667}
    asked, _ = teacher([[ConnectionError("gone")] * 3], attempts=1, votes=3)
    (lost,) = TaughtRules(ROOM, asked)([trace(needs=NEEDS)])
    assert isinstance(lost, Dropped) and lost.state == "failed" and lost.reason == "rules: no reply: gone"


@pytest.mark.parametrize(("hint", "shown"), [("always", [True, True]), ("retry", [False, True]), ("never", [False, False])])
def test_the_human_grade_is_shown_when_it_is_meant_to_be(hint: str, shown: list[bool]):
    asked, script = teacher([LOWER], [GOOD], attempts=2, hint=hint)
    (row,) = TaughtRules(ROOM, asked)([trace(needs=NEEDS)])
    assert ["A human rater gave this pair the grade L4" in prompts[0] for prompts in script.asked] == shown
    assert synthesis(row).get("hinted", False) is shown[1] and ("first_grade" in synthesis(row)) is (hint != "always")


def test_the_summary_counts_per_grade_how_many_needed_the_hint():
    asked, _ = teacher([LOWER, GOOD], [GOOD], attempts=2, hint="retry")
    tally = Tally()
    for outcome in synthesise([trace("1", needs=NEEDS), trace("2", needs=NEEDS)], [TaughtRules(ROOM, asked)], 2):
        tally.add(outcome)
    assert tally.counts()["hinted"] == {"L4": 1} and tally.counts()["first_reading"]["acc4"] == 0.5
    assert "L4: 2 accepted (1 with the human grade in view), 0 rejected" in tally.lines()


def test_two_teachers_must_come_to_the_same_grade():
    one, _ = teacher([GOOD, GOOD, LOWER, GOOD], attempts=1, hint="never")
    other, _ = teacher([GOOD, LOWER, LOWER, ConnectionError("gone")], attempts=1, hint="never")
    stage = TwoTeachers(TaughtRules(ROOM, one), TaughtRules(ROOM, other))
    rows = stage([trace(str(number), needs=NEEDS) for number in range(4)])
    assert isinstance(rows[0], Trace) and synthesis(rows[0])["second_grade"] == "L4"
    assert reason(rows[1]).startswith("the second teacher disagrees: no reading agrees with the human grade") and "completion" not in row_of(rows[1].trace)
    assert "the reply gives L3" in reason(rows[2]) and synthesis(rows[2])["second_grade"] == "L3"
    assert isinstance(rows[3], Dropped) and rows[3].state == "failed" and "completion" not in row_of(rows[3].trace)


def test_two_teachers_of_an_ungraded_pair_must_agree_with_each_other():
    asked, _ = teacher([LOWER, GOOD], attempts=1)
    room = Room(RULEBOOK, EMPTY, Text(), ungraded=True)
    rows = TwoTeachers(ExpertRules(room, 1), TaughtRules(room, asked))([trace(str(number), None, needs=NEEDS) for number in range(2)])
    assert reason(rows[0]) == "the second teacher disagrees: it gives L3, the first L4" and rows[0].trace.grade is None
    assert isinstance(rows[1], Trace) and rows[1].grade == "L4"


def test_kappa_is_agreement_beyond_chance():
    assert cohen_kappa({}) is None and cohen_kappa({("L4", "L4"): 5}) is None
    assert cohen_kappa({("L4", "L4"): 20, ("L4", "L1"): 5, ("L1", "L4"): 10, ("L1", "L1"): 15}) == pytest.approx(0.4)  # the example of Cohen's paper in most textbooks
    assert cohen_kappa({("L4", "L1"): 1, ("L1", "L4"): 1}) == -1


def test_judge_twice_prints_their_agreement(tmp_path: Path):
    output = tmp_path / "out.jsonl"
    done = lore("lore-synth", PAIRS, "--judge", "rulebook:", "--judge", "rulebook:", "-o", output)
    counts = json.loads(Path(f"{output}.manifest.json").read_text())["counts"]
    assert done.code == 0 and counts["teachers"] == {"rows": 24, "agreement": 1.0, "kappa": 1.0} and "Cohen's kappa 1.000" in done.err, done.err
    assert counts["hinted"] == {} and all(json.loads(line)["synthesis"]["second_grade"] for line in output.read_bytes().splitlines())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--judge", "rulebook:") * 3, "--judge is given 3 times"),
        (("--votes", "3"), "the expert has one answer"),
        (("--judge", "rulebook:", "--judge", f"lexical:{PAIRS}"), "writes no reasoning"),
    ],
)
def test_teachers_that_cannot_be_asked_so_are_told(options: tuple[str, ...], said: str):
    done = lore("lore-synth", PAIRS, *options)
    assert done.code == 2 and said in done.err and not done.out


def test_one_judge_in_the_settings_may_be_one_value(tmp_path: Path):
    config = tmp_path / "lore.toml"
    config.write_text('[synth]\njudge = "rulebook:"\n')
    assert lore("lore-synth", PAIRS, "--config", config, "--limit", 1).code == 0
    assert lore("lore-synth", PAIRS, "--limit", 1, env={"LORE_JUDGE": "replay:no such file"}).code == 4


def test_rejections_are_counted_per_stage_and_grade():
    asked, _ = teacher(["what?", "category = sofa\ncolour = navy"], [LOWER], attempts=1)
    tally = Tally()
    stages = [TaughtKnowledge(RULEBOOK, EMPTY, asked), TaughtRules(ROOM, asked)]
    for outcome in synthesise([trace("1", "L2", query="xyz"), trace("2", "L4")], stages, 2):
        tally.add(outcome)
    counts = tally.counts()
    assert counts["rejected_by_stage"] == {"knowledge": {"L2": 1}, "rules": {"L4": 1}} and counts["rejected_by_grade"] == {"L2": 1, "L4": 1}
    assert counts["reasons"] == {"the reply is no list of needs": 1, "no reading agrees with the human grade": 1}
    assert "rejected in knowledge: 1 L2" in tally.lines() and "rejected in rules: 1 L4" in tally.lines()
