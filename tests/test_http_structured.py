"""Replies held to the answer format by servers that can: over fake servers that enforce, refuse or ignore the request, and the pattern itself."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

pytest.importorskip("httpx")
pytest.importorskip("stamina")

from commands_run import lore  # noqa: E402
from lore_cli.answer import AnswerError, answer_pattern, parse, render  # noqa: E402
from lore_cli.models.http import open_http  # noqa: E402
from test_answer import ANSWERS, RULEBOOK  # noqa: E402
from tiny_models import PAIRS_FILE, LoopbackServer, Reply, answers, models, text  # noqa: E402

STRICT = ("answer-last", "answer-first", "label-only")


class Enforcing(LoopbackServer):
    """A chatty model. `field` of a request holds its reply to a pattern, as vLLM does; other fields are ignored, or with `refusing` answered by that status."""

    def __init__(self, field: str, refusing: int | None = None) -> None:
        self.field, self.refusing = field, refusing
        super().__init__(self.tell)

    def tell(self, _path: str, body: dict | None) -> Reply:
        if body is None:
            return models("m")
        held = {"structured_outputs": body.get("structured_outputs", {}).get("regex"), "guided_regex": body.get("guided_regex")}
        if self.refusing and any(held[name] for name in held if name != self.field):
            return Reply({"error": {"message": "extra fields not permitted"}}, status=self.refusing)
        pattern = held.get(self.field)
        if pattern is None:
            return text("Sure! The item fits rather well, I would say L3.")
        answer = answers().get(body["prompt"], next(iter(answers().values())))
        return text(next(reply for reply in (answer, f"lore pattern: {answer}") if re.fullmatch(pattern, reply)))


def run(server: LoopbackServer, *options: object) -> tuple[int, list[dict]]:
    done = lore("lore-rair run", PAIRS_FILE, "--quiet", "--prompt", "short", "--limit", 5, "--judge", server.address, *options)
    return done.code, [json.loads(line) for line in done.out.splitlines()]


@pytest.mark.parametrize(("field", "refusing"), [("structured_outputs", None), ("guided_regex", None), ("guided_regex", 400), ("guided_regex", 422)])
def test_a_server_that_can_hold_replies_to_the_format_does(field, refusing):
    with Enforcing(field, refusing) as server:
        code, verdicts = run(server)
        assert code == 0 and [verdict["grade"] for verdict in verdicts] == [parse(answer, RULEBOOK).grade for answer in list(answers().values())[:5]]
        probes = [body for _, body, _ in server.asked if body and body["prompt"] == "1 + 1 ="]
        assert len(probes) == 1 + (field == "guided_regex"), "asked once, before the work"


@pytest.mark.parametrize("refusing", [None, 400, 422, 500])
def test_a_server_that_cannot_is_asked_without(refusing, tmp_path):
    with Enforcing("none", refusing) as server:
        code, verdicts = run(server, "-o", tmp_path / "out.jsonl")
        judged = [body for _, body, _ in server.asked if body and body["prompt"] != "1 + 1 ="]
    assert code == 5 and len(judged) == 5 and all("structured_outputs" not in body and "guided_regex" not in body for body in judged)
    assert json.loads((tmp_path / "out.jsonl.manifest.json").read_text())["identity"]["structured"] == "not offered"


def test_off_asks_for_nothing_of_the_kind():
    with Enforcing("structured_outputs") as server:
        code, verdicts = run(server, "--structured", "off")
        assert code == 5 and all("unparseable" in verdict["error"] for verdict in verdicts)
        assert not [body for _, body, _ in server.asked if body and ("structured_outputs" in body or body["prompt"] == "1 + 1 =")]


def test_the_identity_tells_one_pattern_from_another():
    with Enforcing("structured_outputs") as server:
        found = [open_http(server.address, chat=False, pattern=pattern).identity().get("structured") for pattern in (None, answer_pattern(RULEBOOK), "[^;]*")]
        assert found[0] is None and found[1] != found[2] and found[1].startswith("structured_outputs:")


# ------------------------------------------------------------------------------------------------ the pattern


@given(ANSWERS, some.sampled_from(STRICT))
def test_every_rendered_answer_matches(answer, layout):
    for name in STRICT:
        assert bool(re.fullmatch(answer_pattern(RULEBOOK, name), render(answer, layout))) == (name == layout)


@pytest.mark.parametrize("layout", STRICT)
def test_what_matches_parses(layout):
    @settings(max_examples=20)  # a long pattern is slow to draw from
    @given(some.from_regex(answer_pattern(RULEBOOK, layout), fullmatch=True))
    def holds(reply: str) -> None:
        assert render(parse(reply, RULEBOOK, layout), layout) == reply

    holds()


@given(ANSWERS, some.data())
def test_an_edited_answer_matches_only_where_it_parses(answer, data):
    reply = render(answer)
    place = data.draw(some.integers(0, len(reply) - 1))
    edited = reply[:place] + data.draw(some.sampled_from(("", reply[place] * 2, ";", "\n", " ", "x", "\u2028"))) + reply[place + 1 :]
    try:
        parse(edited, RULEBOOK)
        parses = edited == edited.strip()
    except AnswerError:
        parses = False
    assert bool(re.fullmatch(answer_pattern(RULEBOOK), edited)) == parses


def test_a_free_answer_is_held_to_its_last_line():
    pattern = answer_pattern(RULEBOOK, "free")
    assert re.fullmatch(pattern, "It is a sofa.\n\nIt fits.\ngrade: L4") and not re.fullmatch(pattern, "It fits.\ngrade: good") and not re.fullmatch(pattern, "grade: L4")


def test_the_pattern_is_written_in_what_other_dialects_share():
    """The engines behind vLLM read it: xgrammar, and outlines in Rust. Checked with whichever is installed; no construct that one of them lacks."""
    for layout in (*STRICT, "free"):
        assert not re.search(r"\(\?|\\[bBAZd1-9]", answer_pattern(RULEBOOK, layout))
    xgrammar = pytest.importorskip("xgrammar", reason="the pattern is not compiled by xgrammar: it is not installed")
    xgrammar.Grammar.from_regex(answer_pattern(RULEBOOK))
