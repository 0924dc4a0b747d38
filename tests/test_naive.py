"""Naive chain of thought: free text from one prompt, the same pairs and grades as the staged reasoning, and what learns from it and reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands_run import ROOT, lore
from lore_cli import answer, modelcard
from lore_cli.answer import AnswerError, layout_of, parse
from lore_cli.records import Item, Pair, Trace
from lore_cli.records import parse as record
from lore_cli.rulebook import load_rulebook
from lore_cli.train import data, rewards

RULEBOOK = load_rulebook()
PAIRS, KNOWLEDGE = ROOT / "examples" / "pairs.jsonl", ("--knowledge", ROOT / "examples" / "glossary.jsonl")
TEXT = "They want a sofa.\n\nThis is a sofa: so yes.\ngrade: L4"


def synth(*arguments: object) -> list[dict]:
    done = lore("lore-synth", PAIRS, *KNOWLEDGE, *arguments)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.lines]


def test_the_expert_tells_the_same_pairs_and_grades_in_prose():
    staged, naive = synth(), synth("--naive")
    assert [(row["id"], row["grade"], row["prompt"], row["synthesis"]) for row in naive] == [(row["id"], row["grade"], row["prompt"], row["synthesis"]) for row in staged]
    for row, other in zip(naive, staged, strict=True):
        text, _, last = row["completion"].rpartition("\n")
        assert last == f"grade: {row['grade']}" and " ; " not in text and "rules" not in text and "\n" not in text
        assert len(row["completion"].split()) > 2 * len(other["completion"].split())  # long-winded, as free reasoning is
        assert not {"needs", "evidence", "matches", "rules"} & row.keys()
        told = [text.index(need["value"]) for need in other["needs"]]
        found = [text.rindex(match["found"]) for match in other["matches"] if match.get("found")]
        assert all(place < text.index("item") for place in told) and all(place > text.index("item") for place in found)


def test_the_same_seed_gives_the_same_words_and_another_seed_others():
    first, again, other = synth("--naive"), synth("--naive"), synth("--naive", "--seed", 1)
    assert first == again
    assert sum(one["completion"] != two["completion"] for one, two in zip(first, other, strict=True)) > len(first) / 2
    assert len({row["completion"] for row in first}) == len(first)


@pytest.mark.parametrize("options", [("--layout", "label-only"), ("--layout", "answer-first"), ("--prompt", "judge")])
def test_options_that_contradict_free_text_are_told(options: tuple[str, str]):
    done = lore("lore-synth", PAIRS, "--naive", *options)
    assert done.code == 2 and "free text" in done.err and not done.out
    assert lore("lore-synth", PAIRS, "--prompt", "naive").code == 2


def test_free_text_is_read_back_and_only_its_last_line_is_a_grade():
    read = parse(TEXT, RULEBOOK, "free")
    assert read == answer.Answer((), (), "L4", TEXT.rpartition("\n")[0]) and answer.render(read, "free") == TEXT and layout_of(TEXT) == "free"
    for bad in ("grade: L4", "L4", "yes\ngrade: L5", "yes\ngrade: L4.", "yes\ngrade: L4\nso", "grade: L4\nbecause", "category = sofa ; not found ; unknown\nrules: none\ngrade: L4", ""):
        with pytest.raises(AnswerError):
            parse(bad, RULEBOOK, "free")


def test_free_text_earns_no_adherence_and_its_layout_is_told_from_the_rows():
    pair = Pair("1", "sofa", Item("1", "sofa"), "L4")
    earned = {"grade": 1.0, "ordinal": 1.0, "right": 1.0, "format": 1.0, "adherence": 0.0, "evidence": 0.0, "path": 0.0, "length": 1.0}
    assert rewards.reward_parts(TEXT, pair, RULEBOOK, "free") == earned
    assert rewards.reward_parts("They want a sofa.", pair, RULEBOOK, "free") == dict.fromkeys(rewards.WEIGHTS, 0.0)
    traces = [record(Trace, row) for row in synth("--naive")]
    assert data.lesson_of(traces, RULEBOOK).layout == "free" and data.prompt_of(traces, RULEBOOK) == "short"
    asked = [record(Trace, row) for row in synth("--naive", "--prompt", "naive")]
    assert data.prompt_of(asked, RULEBOOK) == "naive" and "step by step" in (asked[0].prompt or "")


def test_a_model_learns_free_text_and_is_judged_by_its_grade_alone(tmp_path: Path):
    pytest.importorskip("trl")
    traces, model, verdicts, report = (tmp_path / name for name in ("traces.jsonl", "model", "verdicts.jsonl", "report.json"))
    assert lore("lore-synth", PAIRS, *KNOWLEDGE, "--naive", "-o", traces).code == 0
    done = lore("lore-sft", traces, "--from-scratch", "tiny", "--max-steps", 1, "-o", model)
    assert done.code == 0 and modelcard.require(model).layout == "free", done.err
    assert lore("lore-rair", "run", PAIRS, "--judge", f"hf:{model}", "--limit", 2, "--max-new-tokens", 4, "-o", verdicts).code == 5  # one step teaches nothing
    assert all(json.loads(line)["error"].startswith("unparseable") for line in verdicts.read_bytes().splitlines())
    rows = [{"id": row["id"], "query": row["query"], "item_id": row["item"]["id"], "judge": "hf", "grade": row["grade"], "reason": "prose"} for row in synth("--naive")]
    verdicts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scored = lore("lore-rair", "score", verdicts, "--gold", PAIRS, "--draws", 100, "--json", report)
    assert scored.code == 0, scored.err
    metrics = json.loads(report.read_bytes())["slices"][0]["metrics"]
    assert metrics["acc4"]["value"] == 1.0 and metrics.get("adherence") is None
    board = lore("lore-rair", "board", f"naive={report}")
    assert board.code == 0 and "–" in board.out.decode()  # adherence: nothing to measure
