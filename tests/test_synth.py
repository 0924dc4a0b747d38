"""lore-synth as a user runs it: three stages in one process or piped, the human grade shown, disagreement rejected, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lore_cli.answer import adheres, parse
from lore_cli.path.knowledge import EMPTY
from lore_cli.records import Pair, Trace
from lore_cli.records import parse as record
from lore_cli.rulebook import load_rulebook
from lore_cli.synth import Dropped
from lore_cli.synth.knowledge import TaughtKnowledge
from lore_cli.synth.rules import ExpertRules, Room, Text
from lore_cli.synth.taught import TaughtRules
from lore_cli.synth.teacher import Teacher
from lore_cli.synth.visual import Captioned, TaughtVisual
from scripted import GOOD, LOWER, NEEDS, teacher, trace

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
RULEBOOK = load_rulebook()
KNOWLEDGE = ("--knowledge", str(EXAMPLES / "glossary.jsonl"))


def synth(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, str(ROOT / "bin" / "lore-synth"), *map(str, arguments)], input=stdin, capture_output=True, env=environment, cwd=cwd)


def rows_of(data: bytes | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data.read_bytes() if isinstance(data, Path) else data).splitlines()]


def pair(id: str, query: str, title: str, grade: str | None = "L4", **item: Any) -> dict[str, Any]:
    return {"id": id, "query": query, "item": {"id": f"i{id}", "title": title, **item}, **({"grade": grade} if grade else {}), "shop": {"row": id}}


def written(folder: Path, *pairs: dict[str, Any]) -> Path:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return file


def manifest(output: Path) -> dict[str, Any]:
    return json.loads(Path(f"{output}.manifest.json").read_text())


def test_stages_piped_give_the_bytes_of_one_process(tmp_path: Path):
    whole = synth(EXAMPLES / "pairs.jsonl", *KNOWLEDGE, "--rejected", tmp_path / "whole.jsonl")
    knowledge = synth(EXAMPLES / "pairs.jsonl", *KNOWLEDGE, "--stages", "knowledge")
    visual = synth("-", "--stages", "visual", "--images", EXAMPLES, stdin=knowledge.stdout)
    rules = synth("-", "--stages", "rules", *KNOWLEDGE, "--rejected", tmp_path / "piped.jsonl", stdin=visual.stdout)
    assert whole.returncode == rules.returncode == 0
    assert rules.stdout == whole.stdout and len(rows_of(whole.stdout)) > 20
    assert (tmp_path / "piped.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    after_knowledge, after_visual = rows_of(knowledge.stdout)[0], rows_of(visual.stdout)[0]
    assert after_knowledge["needs"] and "caption" not in after_knowledge["item"] and after_visual["item"]["caption"]


def test_every_trace_holds_together(tmp_path: Path):
    output = tmp_path / "traces.jsonl"
    assert synth(EXAMPLES / "pairs.jsonl", *KNOWLEDGE, "-o", output).returncode == 0
    for row in rows_of(output):
        answer = parse(row["completion"], RULEBOOK)
        assert adheres(answer, RULEBOOK) and answer.grade == row["grade"] and list(answer.rules) == row["rules"]
        assert [match.attribute for match in answer.matches] == [match["attribute"] for match in row["matches"]] == [need["attribute"] for need in row["needs"]]
        assert row["prompt"].startswith(f"query: {row['query'].lower()}\n") and row["split"] == "test"  # the shop's own field rode along
        cited = {(match["found"], match["source"]) for match in row["matches"] if match.get("found")}
        assert all(any(piece["source"] == source for piece in row["evidence"]) for _, source in cited)


def test_a_disagreeing_reasoning_is_rejected_with_its_reason(tmp_path: Path):
    source = written(tmp_path, pair("1", "navy sofa", "dark blue couch"), pair("2", "navy sofa", "red sofa", "L4"), pair("3", "navy sofa", "red sofa", "L2"))
    output, rejected = tmp_path / "out.jsonl", tmp_path / "rejected.jsonl"
    run = synth(source, "-o", output, "--rejected", rejected)
    assert run.returncode == 0
    assert [row["id"] for row in rows_of(output)] == ["1", "3"]
    (dropped,) = rows_of(rejected)
    assert dropped["id"] == "2" and dropped["grade"] == "L4" and dropped["shop"] == {"row": "2"} and "completion" not in dropped
    assert dropped["reason"] == "no reading agrees with the human grade: the rules give L2, the human L4"
    counts = manifest(output)["counts"]
    assert counts["written"] == 2 and counts["rejected"] == 1 and counts["failed"] == 0
    assert counts["accepted"] == {"L2": 1, "L4": 1} and counts["rejected_by_grade"] == {"L4": 1}
    assert counts["rejected_by_stage"] == {"rules": {"L4": 1}} and counts["hinted"] == {}
    assert counts["reasons"] == {"no reading agrees with the human grade": 1}
    assert counts["first_reading"]["rows"] == 3 and counts["first_reading"]["acc4"] == round(2 / 3, 4)
    assert counts["first_reading"]["confusion"]["L4"] == {"L1": 0, "L2": 1, "L3": 0, "L4": 1}
    said = run.stderr.decode()
    assert "lore-synth: 2 rows, 0 failed, 1 rejected" in said and "L4: 1 accepted, 1 rejected" in said
    assert "agrees with the human grade: 66.7% of 3" in said


def test_a_later_reading_may_find_the_human_grade_and_says_so(tmp_path: Path):
    source = written(tmp_path, pair("1", "zorbly sofa", "sofa", "L4"), pair("2", "garden gnome", "ceiling fan", "L2"))
    free, bound = synth(source, "--quiet"), synth(source, "--attempts", "1", "--quiet")
    assert [(row["id"], row["synthesis"]) for row in rows_of(free.stdout)] == [
        ("1", {"reading": "lenient", "first_grade": "L3", "hinted": True}),
        ("2", {"reading": "cautious", "first_grade": "L1", "hinted": True}),
    ]
    assert [need["attribute"] for need in rows_of(free.stdout)[0]["needs"]] == ["category"]
    assert bound.stdout == b"" and bound.returncode == 0


def test_ungraded_pairs_are_rejected_unless_they_are_wanted(tmp_path: Path):
    source = written(tmp_path, pair("1", "navy sofa", "red sofa", None), pair("2", "navy sofa", "navy sofa"))
    rejected = tmp_path / "rejected.jsonl"
    plain = synth(source, "--rejected", rejected)
    assert [row["id"] for row in rows_of(plain.stdout)] == ["2"]
    assert [(row["id"], row["reason"]) for row in rows_of(rejected)] == [("1", "no human grade")]
    kept = synth(source, "--accept-ungraded", "-o", tmp_path / "kept.jsonl")
    first, second = rows_of(tmp_path / "kept.jsonl")
    assert kept.returncode == 0 and first["grade"] == "L2" and first["synthesis"]["ungraded"] is True and "ungraded" not in second["synthesis"]
    assert manifest(tmp_path / "kept.jsonl")["counts"]["first_reading"]["rows"] == 1  # a grade of our own agrees with nobody


def test_label_only_is_the_prompt_and_the_human_grade(tmp_path: Path):
    source = written(tmp_path, pair("1", "navy sofa", "red sofa", "L4"), pair("2", "navy sofa", "red sofa", None))
    run = synth(source, "--layout", "label-only")
    (row,) = rows_of(run.stdout)
    assert row["completion"] == "grade: L4" and row["grade"] == "L4" and "matches" not in row and "rules" not in row
    labels = synth(EXAMPLES / "pairs.jsonl", "--layout", "label-only").stdout
    assert [row["grade"] for row in rows_of(labels)] == [row["grade"] for row in rows_of(EXAMPLES / "pairs.jsonl")]
    reasoned = synth(EXAMPLES / "pairs.jsonl", *KNOWLEDGE).stdout
    assert {row["id"]: row["prompt"] for row in rows_of(reasoned)}.items() <= {row["id"]: row["prompt"] for row in rows_of(labels)}.items()


def test_answer_first_is_the_same_reasoning_with_the_grade_before_it(tmp_path: Path):
    first = rows_of(synth(EXAMPLES / "pairs.jsonl", *KNOWLEDGE, "--layout", "answer-first").stdout)
    last = rows_of(synth(EXAMPLES / "pairs.jsonl", *KNOWLEDGE).stdout)
    assert len(first) == len(last) > 20
    for one, other in zip(first, last, strict=True):
        assert parse(one["completion"], RULEBOOK, "answer-first") == parse(other["completion"], RULEBOOK)
        assert one["completion"].startswith(f"grade: {one['grade']}\n") and other["completion"].endswith(f"\ngrade: {one['grade']}")
        assert one["prompt"] == other["prompt"]


def test_a_missing_image_stops_the_run_naming_the_row(tmp_path: Path):
    source = written(tmp_path, pair("p7", "navy sofa", "sofa", image="nothing.png"))
    output = tmp_path / "out.jsonl"
    run = synth(source, "-o", output)
    assert run.returncode == 3 and not output.exists()
    said = run.stderr.decode()
    assert "row 'p7'" in said and "item.image" in said and "nothing.png" in said and "--images DIR" in said and "Traceback" not in said


def test_a_missing_image_can_be_skipped_and_mended_later(tmp_path: Path):
    source = written(tmp_path, pair("1", "navy sofa", "sofa", "L3", image="photo.png"), pair("2", "navy sofa", "navy sofa"))
    output = tmp_path / "out.jsonl"
    run = synth(source, "-o", output, "--on-bad", "skip")
    first, second = rows_of(output)
    assert run.returncode == 5 and "photo.png" in first["error"] and "completion" not in first and second["completion"]
    assert manifest(output)["counts"]["failed"] == 1
    (tmp_path / "photo.png").write_bytes(next((EXAMPLES / "images").iterdir()).read_bytes())
    again = synth(source, "-o", output, "--on-bad", "skip", "--retry-failed", "--accept-ungraded")
    assert again.returncode == 2 and b"ungraded: was 'False', is 'True'" in again.stderr  # other settings make other traces
    again = synth(source, "-o", output, "--on-bad", "skip", "--retry-failed", "--rejected", tmp_path / "rejected.jsonl")
    assert again.returncode == 0 and manifest(output)["counts"]["reused"] == 1
    assert sorted(row["id"] for row in [*rows_of(output), *rows_of(tmp_path / "rejected.jsonl")]) == ["1", "2"]
    assert not any("error" in row for row in rows_of(output))


def test_a_failed_row_stays_failed_in_later_stages(tmp_path: Path):
    source = written(tmp_path, pair("1", "navy sofa", "sofa", image="photo.png"), pair("2", "navy sofa", "navy sofa"))
    visual = synth(source, "--stages", "knowledge,visual", "--on-bad", "skip")
    rules = synth("-", "--stages", "rules", stdin=visual.stdout)
    first, second = rows_of(rules.stdout)
    assert visual.returncode == rules.returncode == 5
    assert first["error"].startswith("visual: ") and "completion" not in first and second["completion"]


def test_rules_without_knowledge_say_what_is_missing(tmp_path: Path):
    run = synth(written(tmp_path, pair("1", "navy sofa", "sofa")), "--stages", "rules")
    assert run.returncode == 5 and rows_of(run.stdout)[0]["error"] == "rules: the row has no needs; run the knowledge stage before"


@pytest.mark.parametrize("layout", ["answer-last", "label-only"])
def test_empty_input_is_empty_output(layout: str, tmp_path: Path):
    output = tmp_path / "out.jsonl"
    run = synth("-", "--layout", layout, "-o", output)
    assert run.returncode == 0 and output.read_bytes() == b"" and manifest(output)["counts"]["written"] == 0


@pytest.mark.parametrize(("stages", "reason"), [("looks", "'looks' is no stage"), (",", "names no stage")])
def test_an_unknown_stage_is_a_usage_error(stages: str, reason: str):
    run = synth(EXAMPLES / "pairs.jsonl", "--stages", stages)
    assert run.returncode == 2 and reason in run.stderr.decode() and "knowledge, visual, rules" in run.stderr.decode()


def test_a_judge_that_writes_no_text_cannot_teach():
    run = synth(EXAMPLES / "pairs.jsonl", "--judge", f"lexical:{EXAMPLES / 'pairs.jsonl'}")
    assert run.returncode == 2 and "writes no reasoning" in run.stderr.decode()


def test_a_glossary_changes_what_is_asked_for(tmp_path: Path):
    source = written(tmp_path, pair("1", "morning c evening a", "serum with vitamin c and retinol"))
    glossary = tmp_path / "glossary.jsonl"
    glossary.write_text(json.dumps({"term": "morning C evening A", "needs": [{"attribute": "category", "value": "serum"}, {"attribute": "ingredient-component", "value": "retinol"}]}))
    assert synth(source, "--quiet").stdout == b""
    (row,) = rows_of(synth(source, "--quiet", "--knowledge", glossary).stdout)
    assert row["completion"] == "category = serum ; found serum [title] ; exact\ningredient-component = retinol ; found retinol [title] ; exact\nrules: none\ngrade: L4"


# ------------------------------------------------------------------------------------------------ a language model as teacher


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model of random weights: it replies, and nothing it says is of use."""
    pytest.importorskip("torch")
    from lore_cli.train.scratch import Size, build_model, train_tokenizer

    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer([row["query"] for row in rows_of(EXAMPLES / "pairs.jsonl")], 300)
    tokenizer.save_pretrained(folder)
    build_model(tokenizer, Size(32, 1, 1, 64, 300), seed=0).save_pretrained(folder)
    return folder


def test_a_teacher_that_talks_nonsense_loses_no_row(model: Path, tmp_path: Path):
    rejected, output = tmp_path / "rejected.jsonl", tmp_path / "out.jsonl"
    options = ("--judge", f"hf:{model}", "--attempts", "2", "--max-new-tokens", "8", "--limit", "6", "--images", EXAMPLES)
    run = synth(EXAMPLES / "pairs.jsonl", *options, "-o", output, "--rejected", rejected)
    assert run.returncode == 0 and output.read_bytes() == b"", run.stderr.decode()
    assert [row["id"] for row in rows_of(rejected)] == [row["id"] for row in rows_of(EXAMPLES / "pairs.jsonl")][:6]
    assert all(row["reason"].startswith("knowledge: ") for row in rows_of(rejected))
    counts = manifest(output)["counts"]
    assert counts["rejected"] == 6 and counts["written"] == counts["failed"] == 0 and sum(counts["rejected_by_grade"].values()) == 6


def test_its_nonsense_is_no_reasoning_either(model: Path):
    from lore_cli.models.hf import open_hf

    asked = Teacher(open_hf(str(model), chat=False), "hf:", attempts=2, max_new_tokens=8)
    results = TaughtRules(Room(RULEBOOK, EMPTY, Text()), asked)([trace(str(number), needs=NEEDS) for number in range(4)])
    assert [result.trace.id for result in results if isinstance(result, Dropped) and result.state == "rejected"] == ["0", "1", "2", "3"]
    assert all(result.reason.startswith("the reply does not hold to the answer format: ") for result in results)


def test_a_query_is_asked_once_and_its_needs_are_read_strictly():
    asked, script = teacher(["category = sofa\ncolour = navy"])
    results = TaughtKnowledge(RULEBOOK, EMPTY, asked)([trace("1"), trace("2")])
    assert len(script.asked[0]) == 1
    assert [[(need.attribute, need.value, need.negated) for need in result.needs] for result in results] == [[("category", "sofa", False), ("colour", "navy", False)]] * 2


@pytest.mark.parametrize("reply", ["", "sofa", "colr = navy", "category: sofa", "category = sofa\n\ncolour = navy", "category = sofa\n" * 13, "category = [sofa]"])
def test_what_is_no_need_is_asked_again_then_rejected(reply: str):
    asked, script = teacher([reply], [reply], [reply])
    (result,) = TaughtKnowledge(RULEBOOK, EMPTY, asked)([trace("1")])
    assert isinstance(result, Dropped) and result.state == "rejected" and result.reason.startswith("knowledge: ") and len(script.asked) == 3


def test_only_what_could_not_be_used_is_asked_again():
    asked, script = teacher([GOOD, "no idea", LOWER], [GOOD, GOOD])
    room = Room(RULEBOOK, EMPTY, Text())
    results = TaughtRules(room, asked)([trace(id, needs=NEEDS) for id in "123"])
    assert [len(prompts) for prompts in script.asked] == [3, 2]
    assert all(isinstance(result, Trace) and result.completion == GOOD for result in results)
    notes = [result.__dict__["raw"]["synthesis"] for result in results]
    assert [note["reading"] for note in notes] == ["attempt 1", "attempt 2", "attempt 2"] and all(note["hinted"] for note in notes)
    assert "L4" in script.asked[0][0] and "colour = navy" in script.asked[0][0]  # the human grade and the needs are shown


BAD_REPLIES = {
    "another grade than the human's": (LOWER, "the reply gives L3, the human L4"),
    "a grade against its own matches": (LOWER.replace("grade: L3", "grade: L4"), "breaks its own rules"),
    "rules that do not follow": (GOOD.replace("none", "R9"), "breaks its own rules"),
    "a need left out": (GOOD.replace("colour = navy ; found navy [title] ; exact\n", ""), "does not answer the needs one by one"),
    "a need changed": (GOOD.replace("colour = navy", "colour = red"), "does not answer the needs one by one"),
    "prose": ("I think this is L4.", "does not hold to the answer format"),
}


@pytest.mark.parametrize("case", BAD_REPLIES)
def test_a_reasoning_that_cannot_be_learnt_from_is_rejected(case: str):
    reply, reason = BAD_REPLIES[case]
    asked, _ = teacher([reply], [reply], attempts=2)
    (result,) = TaughtRules(Room(RULEBOOK, EMPTY, Text()), asked)([trace("1", needs=NEEDS)])
    assert isinstance(result, Dropped) and result.state == "rejected" and reason in result.reason


def test_a_teacher_that_does_not_reply_fails_the_row_not_its_grade():
    asked, _ = teacher([ConnectionError("gone")], [ConnectionError("gone")], attempts=2)
    (result,) = TaughtRules(Room(RULEBOOK, EMPTY, Text()), asked)([trace("1", needs=NEEDS)])
    assert isinstance(result, Dropped) and result.state == "failed" and "no reply: gone" in result.reason
    asked, _ = teacher([ConnectionError("gone")], [GOOD], attempts=2)
    (result,) = TaughtRules(Room(RULEBOOK, EMPTY, Text()), asked)([trace("1", needs=NEEDS)])
    assert isinstance(result, Trace) and result.grade == "L4"


def test_visual_evidence_must_stand_in_the_caption():
    captioned = Captioned(RULEBOOK, EXAMPLES)
    row = trace("1", needs=NEEDS, item={"caption": "plain navy"})
    asked, script = teacher(["colour = navy"], attempts=1)
    (result,) = TaughtVisual(captioned, asked)([row])
    assert [(piece.attribute, piece.value, piece.source) for piece in result.evidence] == [("colour", "navy", "caption")] and "plain navy" in script.asked[0][0]
    for reply in ("colour = red", "price-condition = navy", "it is navy"):
        asked, _ = teacher([reply], attempts=1)
        (result,) = TaughtVisual(captioned, asked)([row])
        assert isinstance(result, Dropped) and result.state == "rejected"
    asked, script = teacher([], attempts=1)
    (passed,) = TaughtVisual(captioned, asked)([trace("1", needs=NEEDS)])
    assert isinstance(passed, Trace) and passed.evidence is None  # no caption: nothing to ask


def test_the_expert_reads_hostile_rows_without_losing_one():
    rows = [pair(str(n), query, title) for n, (query, title) in enumerate([(";", "="), ("grade: L4\nrules: none", "\u2028"), ("🙂", "x" * 5000), ("不", "[title]")])]
    traces = [record(Trace, {**row, "needs": [{"attribute": "category", "value": row["query"]}]}) for row in rows]
    results = ExpertRules(Room(RULEBOOK, EMPTY, Text(), ungraded=True))(traces)
    assert len(results) == len(rows) and all(isinstance(result, (Trace, Dropped)) for result in results)
    assert record(Pair, rows[0]).grade == "L4"


def test_image_paths_stay_true_in_a_file_that_is_written_elsewhere(tmp_path: Path):
    output = tmp_path / "elsewhere" / "captioned.jsonl"
    done = synth(EXAMPLES / "pairs.jsonl", "--stages", "visual", "-o", output)
    assert done.returncode == 0, done.stderr
    images = [row["item"]["image"] for row in rows_of(output)]
    assert len(images) == 24 and all((output.parent / image).samefile(EXAMPLES / "images" / Path(image).name) for image in images)
