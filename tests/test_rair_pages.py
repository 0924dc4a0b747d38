"""The pages and the board: self-contained, safe with hostile text, and with the numbers of the JSON."""

from __future__ import annotations

import base64
import io
import json

import pytest

from commands_run import lore
from lore_cli.errors import BadInput
from lore_cli.rair import board as boards
from lore_cli.rair.figures import cell, measured, milliseconds, percent, short
from lore_cli.rair.page import MOST_IMAGE_BYTES, board_page, score_page
from lore_cli.rair.report import find_slice
from lore_cli.rair.terminal import show_board, show_table
from rair_page import HOSTILE, IMAGE, cells, page_of
from rair_rows import EXAMPLES, pair, scored, shop, verdict, written

def report(tmp_path, seed=1, **more):
    return scored(tmp_path, *shop(90, seed, **more))


def test_the_page_has_the_numbers_of_the_report(tmp_path):
    document = report(tmp_path, latency_ms=0.25)
    page = page_of(score_page(document, tmp_path))
    rows = {row[0]: row for row in cells(page, "slice")}
    for entry, name in zip(document["slices"], ("all", "general", "hard", "visual"), strict=True):
        heading = rows["slice"]
        assert rows[name][1:3] == [str(entry["n"]), str(entry["queries"])] and rows[name][-1] == "0.250"
        for metric, column in (("acc2", "Acc@2"), ("macro_f1", "Macro-F1"), ("acc4", "Acc@4")):
            assert rows[name][heading.index(column)] == cell(entry["metrics"], metric)
    matrix = cells(page, "human / given")[1:5]
    assert [[int(text) for text in row[1:]] for row in matrix] == document["slices"][0]["confusion"]
    grades = cells(page, "grade")[1:5]
    whole = document["slices"][0]
    assert [row[1:] for row in grades] == [[*(cell(whole["metrics"], f"{name}_{row[0]}") for name in ("precision", "recall", "f1")), str(whole["gold"][row[0]])] for row in grades]


def test_hostile_text_is_shown_and_never_run(tmp_path):
    one = pair(0, "L4", query=HOSTILE, item={"title": HOSTILE, "brand": HOSTILE, "attributes": {HOSTILE: HOSTILE}, "caption": HOSTILE}, subset="hard", criteria=[HOSTILE])
    match = {"attribute": "colour", "need": HOSTILE, "state": "exact", "found": HOSTILE, "source": "title"}
    document = scored(tmp_path, [one, pair(3)], [verdict(one, "L1", judge=HOSTILE, reason=HOSTILE, matches=[match], rules=[HOSTILE]), verdict(pair(3), error=HOSTILE, judge=HOSTILE)])
    text = score_page(document, tmp_path)
    page = page_of(text)
    assert "\x07" not in text and page.text.count("<script>alert(1)</script></style><img") >= 9
    assert "evil.example" not in "".join(str(attributes) for tag, attributes in page.tags if tag != "div")


def test_images_beside_the_report_are_in_the_page_and_nothing_else_is(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(IMAGE.read_bytes())
    (tmp_path / "images" / "big.png").write_bytes(IMAGE.read_bytes() + bytes(MOST_IMAGE_BYTES))
    (tmp_path / "secret.txt").write_text("a password")
    images = ["images/a.png", "images/none.png", "images/big.png", "secret.txt", "https://evil.example/x.png", "a\x00b.png", "images"]
    rows = [pair(number, "L4", query=f"q{number}", item={"image": image}) for number, image in enumerate(images)]
    document = scored(tmp_path, rows, [verdict(one, "L1") for one in rows])
    assert len(document["failures"]) == len(images)
    page = page_of(score_page(document, tmp_path))
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert sources == [f"data:image/png;base64,{base64.b64encode(IMAGE.read_bytes()).decode()}"]


def test_errors_and_calibration_are_shown_where_there_are_any(tmp_path):
    plain = page_of(score_page(report(tmp_path), tmp_path)).text
    assert "Calibration" not in plain and "Not judged" not in plain and "no grade" not in plain
    pairs = [pair(number, "L4") for number in range(6)]
    verdicts = [verdict(one, "L4", scores={"L3": 0.2, "L4": 0.8}) for one in pairs[:5]] + [verdict(pairs[5], error="the server is down")]
    document = scored(tmp_path, pairs, verdicts)
    text = page_of(score_page(document, tmp_path)).text
    assert "Calibration" in text and f"error {short(document['calibration']['ece'], 3)}" in text
    assert "1 errors" in text and "the server is down" in text and "no grade" in text


def system(tmp_path, name, seed=1, **more):
    return boards.System(name, f"{name}.json", report(tmp_path, seed, **more))


def shown(board) -> str:
    file = io.StringIO()
    show_board(board, file)
    return file.getvalue()


@pytest.fixture
def seven(tmp_path):
    names = ("lexical", "rulebook", "label-only", "cot-sft", "rl", "student", "tiered")
    more = [{}, {}, {"samples": ["L1", "L4"]}, {"samples": ["L1", "L4"], "latency_ms": 31.26}, {}, {"latency_ms": 0.5}, {}]
    pairs, _ = shop(90, 1)
    return [boards.System(name, f"{name}.json", scored(tmp_path, pairs, shop(90, 1, 0.1 + number / 8, **extra)[1])) for number, (name, extra) in enumerate(zip(names, more, strict=True))]


def test_the_board_has_a_block_a_subset_and_a_row_a_system(seven):
    board = boards.board(seven, "A board", "All data is simulated.")
    assert [section.title.partition(":")[0] for section in board.blocks] == ["all", "general", "hard", "visual"]
    for section, fields in zip(board.blocks, ({}, {"subset": "general"}, {"subset": "hard"}, {"subset": "visual"}), strict=True):
        assert list(section.columns) == ["system", "Acc@2", "Acc@4", "Macro-F1", "adherence", "evidence", "pass@1", "pass@2", "ms/pair"]
        assert [row[0] for row in section.rows] == [one.name for one in seven]
        for one, row in zip(seven, section.rows, strict=True):
            entry = find_slice(one.report, fields)
            assert list(row[1:4]) == [cell(entry["metrics"], name) for name in ("acc2", "acc4", "macro_f1")]
            assert row[-1] == {"cot-sft": "31.3", "student": "0.500"}.get(one.name, "–"), "a time that was not measured is a dash"


def test_the_board_on_the_terminal_keeps_to_120_columns_and_cuts_no_number(seven):
    board = boards.board(seven, "A board", "All data is simulated.")
    text = shown(board)
    assert text.startswith("A board\nAll data is simulated.\n") and max(map(len, text.splitlines())) <= 120
    for section in board.blocks:
        for row in section.rows:
            for value in row:
                number, _, interval = value.partition(" ")
                assert number in text and interval in text
    assert text.count("[") == text.count("]")


def test_the_board_page_has_the_same_numbers_and_a_drawing_of_each_block(seven):
    board = boards.board(seven, HOSTILE, "All data is simulated.")
    page = page_of(board_page(board))
    rows = [row for row in cells(page, "system") if row[0] != "system"]
    assert rows == [list(row) for section in (*board.blocks, *(one.section for one in board.tradeoffs)) for row in section.rows]
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) == 5 and all("role" in drawing and drawing["aria-label"] for drawing in drawings)
    dots = [float(attributes["cx"]) for tag, attributes in page.tags if tag == "circle" and attributes["r"] == "4.5"]
    values = [find_slice(one.report, fields)["metrics"]["macro_f1"]["value"] for fields in ({}, {"subset": "general"}, {"subset": "hard"}, {"subset": "visual"}) for one in seven]
    assert [index for _, index in sorted(zip(dots, range(28), strict=True))] == [index for _, index in sorted(zip(values, range(28), strict=True))]


def test_systems_with_different_k_say_so(tmp_path):
    pairs, _ = shop(12)
    made = [boards.System(name, name, scored(tmp_path, pairs, shop(12, samples=["L4"] * k)[1])) for name, k in (("one", 2), ("two", 3))]
    board = boards.board(made, "t", "")
    assert "pass@k" in board.blocks[0].columns and "k of pass@k: one 2, two 3." in board.notes


def test_unjudged_pairs_of_a_system_are_told(tmp_path):
    pairs, verdicts = shop(12)
    broken = [verdict(one, error="x") if number < 3 else given for number, (one, given) in enumerate(zip(pairs, verdicts, strict=True))]
    board = boards.board([boards.System("one", "one", scored(tmp_path, pairs, verdicts)), boards.System("two", "two", scored(tmp_path, pairs, broken))], "t", "")
    assert [row[-2] for row in board.blocks[0].rows] == ["1.000", ".750"] and any("two: 3 errors" in note for note in board.notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gold": [{"name": "gold.jsonl", "sha256": "1" * 64}]}, "two was scored with other gold pairs (gold.jsonl 111111111111) than one in one.json (gold.jsonl 000000000000)"),
        ({"rulebook": {"name": "mine", "version": "2", "hash": "abc"}}, "two was scored with other rulebook (mine 2 abc) than one"),
        ({"gold": [{"name": "-", "sha256": None}]}, "from a pipe"),
    ],
)
def test_reports_of_different_benchmarks_or_rulebooks_are_refused_naming_both(tmp_path, change, said):
    one = system(tmp_path, "one")
    other = boards.System("two", "two.json", one.report | change)
    with pytest.raises(BadInput) as caught:
        boards.board([one, other], "t", "")
    assert said in str(caught.value) and caught.value.where == "two.json"


def test_the_same_gold_under_another_name_is_the_same(tmp_path):
    one = system(tmp_path, "one")
    moved = boards.System("two", "two.json", one.report | {"gold": [one.report["gold"][0] | {"name": "copy.jsonl"}]})
    assert len(boards.board([one, moved], "t", "").blocks[0].rows) == 2


@pytest.fixture(scope="module")
def lifecycle(tmp_path_factory):
    """Two real reports, a real replay and a real manifest of traces, of the examples."""
    folder = tmp_path_factory.mktemp("lifecycle")
    for name, judge in (("lexical", f"lexical:{EXAMPLES}"), ("rulebook", "rulebook:")):
        assert lore("lore-rair", "run", EXAMPLES, "--judge", judge, "-o", folder / f"{name}.jsonl").code == 0
        assert lore("lore-rair", "score", folder / f"{name}.jsonl", "--gold", EXAMPLES, "--draws", "200", "--json", folder / f"{name}.json").code == 0
    assert lore("lore-synth", EXAMPLES, "-o", folder / "traces.jsonl").code == 0
    log = written(folder / "log.jsonl", [{"query": query, "count": count} for query, count in (("lipstick 4 pack for bridal", 80), ("blakc backpack", 15), ("zelmaro headphones", 5))])
    assert lore("lore-tier", "plan", log, "--cache", folder / "cache", "--tail", "rulebook:", "-o", folder / "plan.json").code == 0
    assert lore("lore-tier", "refresh", "--plan", folder / "plan.json", "--pairs", EXAMPLES, "--judge", "rulebook:", "--cache", folder / "cache").code == 0
    done = lore("lore-tier", "replay", log, "--plan", folder / "plan.json", "--candidates", EXAMPLES, "--gold", EXAMPLES, "-o", folder / "replay.json")
    assert done.code == 0, done.err
    return folder


def board_of(folder, *more):
    return lore("lore-rair", "board", f"lexical={folder / 'lexical.json'}", f"rulebook={folder / 'rulebook.json'}", *more)


def test_the_board_tells_synthesis_and_tiers_as_their_documents_do(lifecycle, tmp_path):
    page = tmp_path / "board.html"
    done = board_of(lifecycle, "--tier", lifecycle / "replay.json", "--synth", lifecycle / "traces.jsonl.manifest.json", "--title", "Lifecycle", "--note", "Simulated.", "--html", page)
    assert done.code == 0, done.err
    text = done.out.decode()
    counts = json.loads((lifecycle / "traces.jsonl.manifest.json").read_text())["counts"]
    replay = json.loads((lifecycle / "replay.json").read_text())
    parsed = page_of(page.read_text("utf-8"))
    rows = {row[0]: row for row in cells(parsed, "human grade")}
    assert [int(rows[grade][5]) for grade in counts["accepted"]] == list(counts["accepted"].values()) and int(rows["all"][5]) == sum(counts["accepted"].values())
    assert f"{percent(counts['first_reading']['acc4'])} of {counts['first_reading']['rows']} rows" in text
    tiers = {row[0]: row for row in cells(parsed, "tier")}
    for tier in replay["tiers"]:
        assert tiers[tier["tier"]][2] == percent(tier["traffic_share"]) and int(tiers[tier["tier"]][4]) == tier["pairs"]
    pages = cells(parsed, "page")
    for row, name in zip(pages[1:], ("engine", "reranked", "filtered", "ideal"), strict=True):
        assert row[1] == measured(replay["goodrate"][name]["query"]) and row[4] == measured(replay["goodrate"][name]["item"])
    assert f"cache answered {percent(replay['cache']['hit_rate'])}" in text
    cost = dict(row for row in cells(parsed, "traffic"))
    assert cost["tiered system"] == milliseconds(replay["cost"]["tiered"]) and cost["model on everything"] == milliseconds(replay["cost"]["model_alone"])
    assert (tmp_path / "board.html.manifest.json").exists() and max(map(len, text.splitlines())) <= 120


def test_quiet_with_a_page_prints_nothing_and_an_existing_page_is_kept(lifecycle, tmp_path):
    page = tmp_path / "board.html"
    done = board_of(lifecycle, "--html", page, "--quiet")
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert board_of(lifecycle, "--html", page).code == 2
    before = page.stat().st_mtime_ns
    assert board_of(lifecycle, "--html", page, "--quiet", "--force").code == 0 and page.stat().st_mtime_ns == before, "the same page is left as it is"
    assert b"rulebook" in board_of(lifecycle, "--quiet").out


def test_what_is_no_board_is_refused(lifecycle, tmp_path):
    report_path = lifecycle / "lexical.json"
    assert lore("lore-rair", "board").code == 2
    assert lore("lore-rair", "board", report_path, report_path).code == 2
    assert lore("lore-rair", "board", f"a={report_path}", f"a={report_path}").code == 2
    assert lore("lore-rair", "board", f"a={tmp_path / 'none.json'}").code == 4
    assert lore("lore-rair", "board", f"a={lifecycle / 'replay.json'}").code == 3
    for option, path in (("--tier", report_path), ("--synth", report_path), ("--tier", lifecycle / "traces.jsonl.manifest.json"), ("--synth", lifecycle / "lexical.json.manifest.json")):
        done = board_of(lifecycle, option, path)
        assert done.code == 3 and path.name in done.err, done.err


def test_a_table_counts_wide_letters_and_shows_control_characters_as_such():
    file = io.StringIO()
    show_table("head\x1b[2J", ["name", "n"], [["涤纶", "1"], ["rug", "22"]], file)
    assert file.getvalue().splitlines() == ["head\ufffd[2J", "name   n", "────────", "涤纶   1", "rug   22"]


def test_numbers_are_written_without_a_leading_or_negative_zero():
    assert [short(0.5, 2), short(-0.0004, 3), short(1, 2), short(-0.25, 2), short(0.25, 2, sign=True)] == [".50", ".000", "1.00", "-.25", "+.25"]
    assert [milliseconds(number) for number in (None, 0.0, 0.03124, 0.5, 1.254, 48.31, 1204.2)] == ["–", "0", "0.0312", "0.500", "1.25", "48.3", "1,204"]
    assert [percent(None), percent(0.1234), percent(0.05, sign=True)] == ["–", "12.3 %", "+5.0 %"]
