"""A language model as judge: how it is asked, how its replies are read, and that a failure is never a grade."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from commands_run import lore
from lore_cli import modelcard
from lore_cli.errors import UsageError
from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.judges.language import LanguageJudge
from lore_cli.models import Cut
from lore_cli.rulebook import load_rulebook
from tiny_models import PAIRS_FILE, TAUGHT, LoopbackServer, answers, models, pairs, taught_model, text

BOOK = load_rulebook()
SETTINGS = JudgeSettings(BOOK, prompt="short")
REPLIES = list(answers().values())[:TAUGHT]


@pytest.fixture(scope="module")
def tiny() -> str:
    pytest.importorskip("torch")
    return f"hf:{taught_model()}"


class Told:
    """A model whose replies are told beforehand: the greedy one, the draws and the probabilities of each prompt in turn."""

    def __init__(self, greedy: list, draws: list | None = None, rows: list | None = None) -> None:
        self.greedy, self.draws, self.rows, self.begun, self.longest = greedy, draws, rows, [], []

    def generate(self, prompts, *, samples=1, temperature=0.0, max_new_tokens=256, seed=0):
        self.longest.append(max_new_tokens)
        return self.draws if temperature else [[reply] for reply in self.greedy]

    def label_probabilities(self, prompts, labels, *, begun=None):
        self.begun += begun
        return self.rows[: len(prompts)]

    def identity(self):
        return {"model": "told"}


def told(greedy: list, draws: list | None = None, rows: list | None = None, layout: str = "answer-last", **settings: object):
    """The judge over `Told`, and its verdicts on as many pairs as there are greedy replies."""
    chosen = dataclasses.replace(SETTINGS, samples=len(draws[0]) if draws else 0, soft=rows is not None, **settings)
    judge = LanguageJudge(Told(greedy, draws, rows), chosen, "told:", "short", layout)
    return judge, list(judge(pairs(len(greedy))))


# ------------------------------------------------------------------------------------------------ a real model


def test_verdicts_of_a_model_are_what_it_says(tiny):
    verdicts = list(open_judge(tiny, SETTINGS)(pairs()))
    expert = list(open_judge("rulebook:", SETTINGS)(pairs()))
    assert [(v.id, v.grade, v.matches, v.rules, v.error) for v in verdicts] == [(v.id, v.grade, v.matches, v.rules, None) for v in expert]
    assert all(verdict.judge == tiny and verdict.scores is None and verdict.samples is None for verdict in verdicts)


def test_scores_are_probabilities_that_agree_with_the_grade(tiny):
    for verdict in open_judge(tiny, dataclasses.replace(SETTINGS, soft=True))(pairs()):
        assert sum(verdict.scores.values()) == pytest.approx(1) and max(verdict.scores, key=verdict.scores.get) == verdict.grade
        assert all(0 <= score <= 1 for score in verdict.scores.values())


def test_draws_ride_beside_the_greedy_answer(tiny):
    settings = dataclasses.replace(SETTINGS, samples=4, temperature=0.5, seed=3)
    first, again = (list(open_judge(tiny, settings)(pairs())) for _ in range(2))
    assert first == again and all(len(verdict.samples) == 4 for verdict in first)
    assert [verdict.grade for verdict in first] == [verdict.grade for verdict in open_judge(tiny, SETTINGS)(pairs())]


def test_windows_keep_the_order_and_stay_lazy(tiny):
    taken = []

    def source():
        for pair in [*pairs(), *pairs(), *pairs()]:
            taken.append(pair.id)
            yield pair

    verdicts = open_judge(tiny, dataclasses.replace(SETTINGS, batch_size=1))(source())
    first = next(verdicts)
    assert first.id == taken[0] and len(taken) == 8
    assert [first.id, *(verdict.id for verdict in verdicts)] == taken


def test_pairs_it_never_learnt_end_in_errors_with_the_raw_reply(tiny):
    for verdict in list(open_judge(tiny, dataclasses.replace(SETTINGS, max_new_tokens=20))(pairs(None)))[TAUGHT:]:
        assert (verdict.grade is None) == (verdict.error is not None)
        assert verdict.grade or verdict.error.startswith("unparseable: ") and verdict.reason is not None


def test_a_card_says_how_the_model_is_asked(tmp_path, tiny):
    folder = tmp_path / "model"
    shutil.copytree(taught_model(), folder)
    stranger = open_judge(f"hf:{folder}", JudgeSettings(BOOK))
    assert (stranger.prompt, stranger.layout, stranger.identity()["chat"]) == ("judge", "answer-last", "True")
    for layout in ("answer-first", "label-only"):
        modelcard.write(folder, layout=layout, prompt="short", stage="sft", base="tiny", rulebook=BOOK)
        ours = open_judge(f"hf:{folder}", JudgeSettings(BOOK))
        assert (ours.prompt, ours.layout, ours.identity()["chat"]) == ("short", layout, "False")
    assert open_judge(f"hf:{folder}", dataclasses.replace(SETTINGS, prompt="judge")).prompt == "judge"


def test_the_identity_holds_what_determines_the_answers(tiny):
    judge = open_judge(tiny, SETTINGS)
    assert set(judge.identity()) == {"model", "chat", "prompt", "layout", "language", "rulebook"}
    assert judge.identity()["rulebook"] == BOOK.hash and judge.identity()["prompt"].startswith("short:")
    for other in ({"prompt": "judge"}, {"language": "zh"}):
        assert open_judge(tiny, dataclasses.replace(SETTINGS, **other)).identity() != judge.identity()


def test_an_unknown_prompt_is_told_before_any_model_is_opened():
    with pytest.raises(UsageError, match="no prompt 'poem'"):
        open_judge("hf:/nowhere", dataclasses.replace(SETTINGS, prompt="poem"))


def test_resuming_under_another_prompt_is_refused(tiny, tmp_path):
    output = tmp_path / "out.jsonl"
    options = ("--judge", tiny, "--limit", 2, "--max-new-tokens", 60, "-o", output)
    assert lore("lore-rair run", PAIRS_FILE, *options, "--prompt", "short").code == 0
    refused = lore("lore-rair run", PAIRS_FILE, *options, "--prompt", "short", "--language", "zh", "--resume")
    assert refused.code == 2 and "language: was 'en', is 'zh'" in refused.err


# ------------------------------------------------------------------------------------------------ over http


def test_the_short_prompt_goes_out_raw_and_any_other_as_a_chat():
    with LoopbackServer(lambda path, body: models("m") if body is None else text(REPLIES[0])) as server:
        for prompt, path in (("short", "/v1/completions"), ("auto", "/v1/chat/completions"), ("judge", "/v1/chat/completions")):
            (verdict,) = open_judge(f"{server.address}#m", dataclasses.replace(SETTINGS, prompt=prompt))(pairs(1))
            assert verdict.grade == "L4" and server.asked[-1][0] == path
            said = server.asked[-1][1]
            assert (said.get("prompt") == list(answers())[0]) if prompt == "short" else (said["messages"][0]["content"].startswith("You judge how well"))


# ------------------------------------------------------------------------------------------------ failures


GOOD, LOST, HALF = REPLIES[0], RuntimeError("HTTP 500"), Cut("category = so", 4)


def test_a_reply_that_did_not_come_is_an_error_of_its_pair():
    _, verdicts = told([GOOD, LOST, GOOD])
    assert [(verdict.grade, verdict.error) for verdict in verdicts] == [("L4", None), (None, "no reply: HTTP 500"), ("L4", None)]


def test_a_cut_reply_is_an_error_that_keeps_the_text():
    _, (verdict,) = told([HALF])
    assert verdict.grade is None and verdict.reason == "category = so"
    assert verdict.error == "unparseable: cut off after 4 tokens (--max-new-tokens allows more)"


def test_a_cut_reply_is_not_read_even_where_it_could_be():
    _, (verdict,) = told([Cut(GOOD, 40)])
    assert verdict.grade is None and verdict.error.startswith("unparseable: cut off")


@pytest.mark.parametrize("reply", ["", "grade: L4", "I think it is relevant.", GOOD + "\n\nHope this helps!", GOOD.replace("L4", "L5"), GOOD.replace("exact", "fine")])
def test_what_is_not_in_the_form_is_no_grade(reply):
    _, (verdict,) = told([reply])
    assert verdict.grade is None and verdict.error.startswith("unparseable: ") and verdict.reason == reply


def test_a_draw_that_cannot_be_read_counts_as_wrong_and_one_that_did_not_come_is_an_error():
    _, verdicts = told([GOOD, GOOD, GOOD], draws=[[GOOD, "nonsense", HALF], [GOOD, LOST, GOOD], [GOOD] * 3])
    assert (verdicts[0].grade, verdicts[0].samples) == ("L4", ("L4", None, None))
    assert (verdicts[1].grade, verdicts[1].samples, verdicts[1].error) == (None, None, "no reply: HTTP 500")
    assert verdicts[2].samples == ("L4",) * 3


def test_draws_of_an_unreadable_greedy_answer_are_kept_for_pass_at_k():
    _, (verdict,) = told(["nonsense"], draws=[[GOOD, GOOD]])
    assert verdict.error and verdict.samples == ("L4", "L4")


def test_probabilities_that_did_not_come_are_an_error():
    judge, verdicts = told([GOOD, "nonsense", GOOD], rows=[RuntimeError("no answer"), [0.1, 0.2, 0.3, 0.4]])
    assert [(verdict.grade, verdict.error) for verdict in verdicts[::2]] == [(None, "no grade probabilities: no answer"), ("L4", None)]
    assert verdicts[0].scores is None and verdicts[1].scores is None and verdicts[2].scores == {"L1": 0.1, "L2": 0.2, "L3": 0.3, "L4": 0.4}
    assert judge.model.begun == [GOOD.removesuffix(" L4")] * 2


def test_the_grade_is_asked_for_where_it_stands():
    first = GOOD.splitlines()[-1] + "\n" + "\n".join(GOOD.splitlines()[:-1])
    for layout, reply in (("answer-first", first), ("label-only", "grade: L4")):
        judge, (verdict,) = told([reply], rows=[[0.0, 0.0, 0.0, 1.0]], layout=layout)
        assert verdict.grade == "L4" and judge.model.begun == ["grade:"] and judge.model.longest == [8 if layout == "label-only" else 256]


def test_failed_pairs_end_the_command_in_part(tmp_path):
    def answer(path, body):
        return models("m") if body is None else text(GOOD) if body["prompt"] == list(answers())[0] else text("I would say L2.")

    with LoopbackServer(answer) as server:
        run = lore("lore-rair run", PAIRS_FILE, "--limit", 3, "--judge", server.address, "--prompt", "short", "-o", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert run.code == 5 and ["error" in row for row in rows] == [False, True, True] and "2 failed" in run.err
    assert all("grade" not in row and row["reason"] == "I would say L2." for row in rows[1:])
