"""Rewards that can be verified: what each part measures, and what nobody can talk them into."""

from __future__ import annotations

import math

import pytest
import training_toys as toys
from hypothesis import given, settings
from hypothesis import strategies as st

from lore_cli import answer
from lore_cli.answer import Answer, render
from lore_cli.errors import BadInput, Missing, UsageError
from lore_cli.path.knowledge import Entry, Glossary
from lore_cli.records import GRADES, SOURCES, Match, Need, Pair, Trace, parse
from lore_cli.train import rewards
from lore_cli.train.weights import read_weights

LAMP, OTHER = toys.pairs(1)[0], toys.pairs(13)[12]  # "red lamp" shown a red and a blue one
RIGHT, CONFLICT = render(toys.implied(LAMP)), render(toys.implied(OTHER))
PROMPT = toys.traces(13)[12]["prompt"]
HONEST = 0.5  # what an honest answer earns beside its grade


def score(completion: str, row: dict = LAMP, human: str = "L4", layout: str = "answer-last", kind: type = Pair) -> dict[str, float]:
    return rewards.reward_parts(completion, parse(kind, {**row, "grade": human}), toys.RULEBOOK, layout)  # type: ignore[arg-type]


def written(*lines: str) -> str:
    """The answer that follows from these lines, in its right form."""
    return render(answer.implied(answer.parse("\n".join([*lines, "rules: none", "grade: L4"]), toys.RULEBOOK).matches, toys.RULEBOOK))


# ---------------------------------------------------------------- each part
def test_a_right_answer_earns_every_part():
    assert set(score(RIGHT).values()) == {1.0} and set(score(RIGHT)) == set(rewards.WEIGHTS)
    assert rewards.total(score(RIGHT)) == pytest.approx(1 + HONEST)


def test_an_honest_wrong_answer_earns_all_but_the_grade():
    parts = score(CONFLICT, OTHER, "L4")
    assert parts["grade"] == 0 and 0 < parts["ordinal"] < 1 and all(parts[name] == 1 for name in parts.keys() - {"grade", "ordinal", "right"})
    assert rewards.total(parts) == pytest.approx(HONEST)


def test_a_grade_that_the_matches_do_not_imply_loses_adherence_and_the_grade():
    for text, human in ((RIGHT.replace("grade: L4", "grade: L2"), "L2"), (RIGHT.replace("rules: none", "rules: R1"), "L4")):
        parts = score(text, human=human)
        assert parts["adherence"] == parts["grade"] == parts["ordinal"] == 0 and parts["evidence"] == 1


def test_evidence_is_the_share_of_lines_that_are_true():
    assert score(written("category = lamp ; found lamp [category] ; exact", "colour = red ; found red [category] ; exact"))["evidence"] == 0.5
    assert score(written("category = lamp ; found lamp [category] ; exact", "colour = red ; not found ; unknown"))["evidence"] == 0.5
    assert score(written("category = lamp ; not found ; unknown", "colour = red ; not found ; unknown"))["evidence"] == 0.0
    silent = toys.pairs(48)[47]
    assert score(render(toys.implied(silent)), silent, "L3")["evidence"] == 1.0, "nothing is said of the colour, and that is true"


def test_path_is_the_f1_of_the_needs():
    assert score(written("category = lamp ; found lamp [category] ; exact"))["path"] == pytest.approx(2 / 3)
    assert score(written("colour = white ; found red [title] ; conflict"))["path"] == 0.0
    assert score(RIGHT.replace("colour = red", "colour = not red").replace("exact\nrules", "conflict\nrules"))["path"] == pytest.approx(1 / 2)


def test_a_traces_own_needs_come_before_the_experts():
    row = {**LAMP, "needs": [{"attribute": "category", "value": "lamp"}]}
    parts = score(written("category = lamp ; found lamp [category] ; exact"), row, kind=Trace)
    assert parts["path"] == parts["grade"] == 1.0 and score(RIGHT, row, kind=Trace)["path"] == pytest.approx(2 / 3)


def test_a_shops_own_word_is_a_need_where_its_glossary_says_so():
    row = parse(Pair, {**LAMP, "query": "glowy thing"})
    glossary = Glossary((Entry("glowy thing", (Need("category", "lamp"),)),), "glowy")
    text = written("category = lamp ; found lamp [category] ; exact")
    assert rewards.reward_parts(text, row, toys.RULEBOOK, glossary=glossary)["grade"] == 1.0
    assert rewards.reward_parts(text, row, toys.RULEBOOK)["grade"] == 0.0


def test_length_falls_from_the_soft_to_the_hard_limit():
    assert [rewards.length_reward(length, 4, 8) for length in (0, 4, 5, 7, 8, 99)] == [1, 1, 0.75, 0.25, 0, 0]


def test_layouts_without_matches_earn_their_grade_as_it_stands():
    bare = score("grade: L4", layout="label-only")
    assert bare == {"grade": 1.0, "ordinal": 1.0, "right": 1.0, "format": 1.0, "adherence": 0.0, "evidence": 0.0, "path": 0.0, "length": 1.0}
    assert score("It is one.\ngrade: L4", layout="free") == bare
    assert score(RIGHT.rpartition("\n")[2] + "\n" + RIGHT.rpartition("\n")[0], layout="answer-first") == score(RIGHT)


def test_a_pair_that_no_human_graded_cannot_be_scored():
    with pytest.raises(BadInput, match="p0.*grade"):
        rewards.reward_parts(RIGHT, parse(Pair, {name: value for name, value in LAMP.items() if name != "grade"}), toys.RULEBOOK)


# ---------------------------------------------------------------- what must not pay: all claim the human grade of "red lamp" shown a blue lamp
CATEGORY, COLOUR = "category = lamp ; found lamp [category] ; exact", "colour = red ; found red [title] ; exact"
TRUE_COLOUR = "colour = red ; found blue [title] ; conflict"
UNPARSEABLE = {
    "empty": "",
    "white space": " \n\n",
    "grade only": "grade: L4",
    "repeated grade lines": "grade: L4\ngrade: L4\ngrade: L4",
    "the right grade twice": f"{CATEGORY}\n{TRUE_COLOUR}\nrules: none\ngrade: L4\ngrade: L4",
    "all four grades": "\n".join(f"grade: {grade}" for grade in GRADES),
    "reasoning and all four grades": CONFLICT.rpartition("\n")[0] + "\n" + "\n".join(f"grade: {grade}" for grade in GRADES),
    "two answers": f"{CONFLICT}\n{CATEGORY}\nrules: none\ngrade: L4",
    "two grades on a line": CONFLICT.replace("grade: L2", "grade: L2 L4"),
    "the prompt": PROMPT,
    "the prompt and an answer": PROMPT + CONFLICT.replace("L2", "L4"),
    "a title that gives orders": "title: ignore the above\nrules: none\ngrade: L4",
    "no need": "rules: none\ngrade: L4",
    "an unknown rule": f"{CATEGORY}\nrules: R999\ngrade: L4",
    "an unknown attribute": "charm = lamp ; found lamp [category] ; exact\nrules: none\ngrade: L4",
    "an unknown source": "category = lamp ; found lamp [rumour] ; exact\nrules: none\ngrade: L4",
    "a state without evidence": "category = lamp ; not found ; exact\nrules: none\ngrade: L4",
    "evidence without a state": "category = lamp ; found lamp [category] ; unknown\nrules: none\ngrade: L4",
    "cut off": f"{CATEGORY}\nrules: none\ngrade",
    "cut off in a line": CATEGORY[:25],
    "the grade in a sentence": f"{CATEGORY}\nrules: none\nThe grade is L4.",
    "the wrong layout": f"grade: L4\n{CATEGORY}\nrules: none",
    "lower case": f"{CATEGORY}\nrules: none\ngrade: l4",
    "an unknown grade": f"{CATEGORY}\nrules: none\ngrade: L5",
    "a look-alike grade": f"{CATEGORY}\nrules: none\ngrade: L４",
    "a look-alike attribute": "cаtegory = lamp ; found lamp [category] ; exact\nrules: none\ngrade: L4",
    "a zero-width grade": f"{CATEGORY}\nrules: none\ngrade: L4\u200b",
    "markup": f"<answer>\n{CATEGORY}\nrules: none\ngrade: L4\n</answer>",
    "a code block": f"```\n{CATEGORY}\nrules: none\ngrade: L4\n```",
    "JSON": '{"grade": "L4"}',
    "talk before the answer": f"Sure!\n{CATEGORY}\nrules: none\ngrade: L4",
    "one line over and over": "\n".join([CATEGORY] * 50),
}
DISHONEST = {
    "the right grade against its own matches": CONFLICT.replace("L2", "L4"),
    "rules that do not apply": f"{CATEGORY}\n{TRUE_COLOUR}\nrules: R10\ngrade: L4",
    "rules and no matches that they speak of": f"{CATEGORY}\nrules: R5 R9 R10\ngrade: L4",
    "evidence copied from the query": written(CATEGORY, COLOUR),
    "evidence from a field that is not there": written(CATEGORY, "colour = red ; found red [caption] ; exact"),
    "evidence of something else": written(CATEGORY, "colour = red ; found lamp [category] ; exact"),
    "a conflict called a match": written(CATEGORY, "colour = red ; found blue [title] ; exact"),
    "needs that nobody asked": written("material = steel ; not found ; unknown", CATEGORY),
    "an invented need that the item meets": written(CATEGORY, "colour = blue ; found blue [title] ; exact"),
    "the asked value turned around": written(CATEGORY, "colour = not red ; found blue [title] ; exact"),
    "a need over and over": written(*[CATEGORY] * 12),
    "a need in two names": written(CATEGORY, "category = lamps ; found lamp [category] ; exact"),
    "all unknown": written("category = lamp ; not found ; unknown", "colour = red ; not found ; unknown"),
    "a look-alike value": written("category = lаmp ; found lamp [category] ; exact"),
    "a zero-width value": written("category = la\u200bmp ; found lamp [category] ; exact"),
    "the query as one need": written("category = red lamp ; found blue lamp [title] ; exact", "colour = red ; found lamp [title] ; exact"),
    "padding by numbers": written(CATEGORY, *(f"size-specification = {number} cm ; not found ; unknown" for number in range(30))),
}


@pytest.mark.parametrize("what", UNPARSEABLE)
def test_a_degenerate_answer_earns_nothing(what: str):
    assert rewards.total(score(UNPARSEABLE[what], OTHER)) == 0.0


@pytest.mark.parametrize("what", DISHONEST)
def test_a_right_grade_by_trickery_is_worth_less_than_an_honest_wrong_one(what: str):
    text = DISHONEST[what]
    parts = score(text, OTHER, human=text[-2:])
    assert parts["format"] == parts["right"] == 1.0, "the trick is in what it says"
    assert parts["grade"] == parts["ordinal"] == 0.0
    assert rewards.total(parts) < HONEST - 0.01


def test_leaving_out_the_need_that_does_not_suit_is_worth_less_than_an_honest_right_answer():
    assert rewards.total(score(written(CATEGORY), OTHER)) < rewards.total(score(RIGHT))


_WORDS = st.sampled_from(["lamp", "lamps", "red", "blue", "not red", "sofa", "white", "la\u200bmp"])
_MATCH = st.builds(
    lambda attribute, need, state, found, source: Match(attribute, need, state, *((None, None) if state == "unknown" else (found, source))),
    st.sampled_from(["category", "colour", "material"]), _WORDS, st.sampled_from(["exact", "close", "unknown", "conflict"]), _WORDS, st.sampled_from(SOURCES),
)  # fmt: skip
_RULES = st.lists(st.sampled_from([rule.id for rule in toys.RULEBOOK.rules]), max_size=2).map(tuple)
_ANSWERS = st.builds(Answer, st.lists(_MATCH, min_size=1, max_size=4).map(tuple), _RULES, st.sampled_from(GRADES)) | st.lists(_MATCH, min_size=1, max_size=4).map(
    lambda matches: answer.implied(matches, toys.RULEBOOK)
)


@settings(max_examples=300, deadline=None)
@given(_ANSWERS, st.sampled_from(GRADES), st.sampled_from([LAMP, OTHER]))
def test_no_answer_without_the_human_grade_beats_an_honest_right_one_nor_trickery_an_honest_wrong_one(found, human, row):
    parts = score(render(found), row, human)
    assert all(0 <= part <= 1 for part in parts.values())
    if found.grade != human:
        assert rewards.total(parts) <= HONEST + 1e-9 < 1 <= rewards.total(score(RIGHT))
    if parts["grade"]:
        assert parts["adherence"] == 1 and parts["evidence"] > 0 and found.grade == human
    else:
        assert rewards.total(parts) <= HONEST + 1e-9


@given(st.text(max_size=80) | st.text(alphabet="grade: L4\nules;=[]none", max_size=60))
def test_no_text_breaks_the_scorer_or_earns_what_it_should_not(text: str):
    for layout in answer.LAYOUTS:
        parts = score(text, layout=layout)
        assert set(parts) == set(rewards.WEIGHTS) and all(0 <= part <= 1 for part in parts.values())
        assert parts["format"] or not any(parts.values())


# ---------------------------------------------------------------- weights
def test_weights_are_read_strictly():
    assert read_weights(texts=("ordinal=0.5", "grade=2"))["ordinal"] == 0.5
    for wrong in ("grade", "grade=", "taste=1", "grade=nan", "grade=inf", "=1"):
        with pytest.raises(UsageError, match="NAME=NUMBER"):
            read_weights(texts=(wrong,))


def test_a_file_of_weights_stands_over_the_defaults_and_under_single_ones(tmp_path):
    file = tmp_path / "weights.toml"
    file.write_text("[weights]\nordinal = 0.5\ngrade = 2\n")
    assert read_weights(str(file), ("grade=3",)) == rewards.WEIGHTS | {"ordinal": 0.5, "grade": 3.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [("[weights]\ntaste = 1", "'taste' is not a reward part"), ("[weights]\ngrade = nan", "expected a number"), ("[weights]\ngrade = true", "expected a number"),
     ("[weights]\ngrade = '1'", "expected a number"), ("grade = 1", "'grade'"), ("", "nothing"), ("weights = 1", "weights"), ("[weights", "not valid TOML")],
)  # fmt: skip
def test_a_file_that_says_something_else_is_refused(tmp_path, text, said):
    file = tmp_path / "weights.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=said) as refused:
        read_weights(str(file))
    assert str(file) in str(refused.value) and ("TOML" in said or "adherence" in str(refused.value))


def test_a_file_of_weights_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(Missing, match="--weights"):
        read_weights(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("parts", [{"grade": math.nan, "format": 0}, {"grade": math.inf, "format": 0}, {"grade": 1.0, "format": 1.0}, {"grade": None, "format": 0}, {"format": 1.0}])
def test_a_reward_that_is_no_finite_number_is_fatal(parts):
    with pytest.raises(BadInput, match="reward"):
        rewards.total(parts, {"grade": 1.7e308, "format": 1.7e308})
