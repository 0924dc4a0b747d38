"""Labelling sheets: the way out and back, raters who disagree, and lines that are no ratings."""

from __future__ import annotations

import csv
import io
import json
import random

import pytest

from commands_run import lore
from lore_cli.rair import sheets
from lore_cli.rair.agreement import krippendorff_alpha
from lore_cli.records import GRADES
from rair_rows import EXAMPLES, pair, written

HOSTILE = '=HYPERLINK("http://evil.example","free") ; "quoted"\nsecond line, with comma'
KINDS = pytest.mark.parametrize("kind", sheets.KINDS)


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def take(folder, *typed, pairs=EXAMPLES):
    return lore("lore-rair", "sheet", "import", *typed, "--pairs", pairs, "-o", folder / "labelled.jsonl", "--force")


@KINDS
def test_a_sheet_of_graded_pairs_comes_back_as_these_grades(kind, tmp_path):
    rows = [pair(number, GRADES[number % 4], query=f"{number}% of „wolle“ & ,;\t{number}", item={"id": f"i-{number}", "title": HOSTILE, "description": HOSTILE}) for number in range(9)]
    rows += [pair(9, "L2", query="-plain sofa") | {"id": "-9"}, pair(10, "L1", query="'quoted'"), pair(11, "L4", query="=1+1")]
    source = written(tmp_path / "pairs.jsonl", rows)
    assert lore("lore-rair", "sheet", "export", source, "--kind", kind, "--rated", "-o", tmp_path / "ann").code == 0
    done = take(tmp_path, tmp_path / "ann", pairs=source)
    assert done.code == 0, done.err
    back = rows_of(tmp_path / "labelled.jsonl")
    assert [{name: row[name] for name in rows[0]} for row in back] == [{name: row[name] for name in rows[0]} for row in rows]
    assert all(row["ratings"] == {"ann": row["grade"]} and row["decided"] == "single" for row in back)


def test_a_csv_sheet_shows_the_item_hides_the_grade_and_holds_no_formula(tmp_path):
    source = written(tmp_path / "pairs.jsonl", [pair(0, "L4", query="@sum", item={"title": HOSTILE, "attributes": {"colour": "red", "size": "L"}, "price": 9.5})])
    done = lore("lore-rair", "sheet", "export", source, "--quiet")
    assert done.code == 0
    [row] = csv.DictReader(io.StringIO(done.out.decode("utf-8-sig")))
    assert row["title"] == f"'{HOSTILE}" and row["attributes"] == "colour: red; size: L" and row["price"] == "9.5" and row["rating"] == ""
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t", "\r") for cell in row.values())


def test_qrels_are_read_by_ir_measures_and_may_name_queries_by_a_field(tmp_path):
    measures = pytest.importorskip("ir_measures")
    source = written(tmp_path / "pairs.jsonl", [pair(number, GRADES[number], query=f"two words {number // 2}", query_id=70 + number // 2) for number in range(4)])
    assert lore("lore-rair", "sheet", "export", source, "--kind", "trec", "--query-id", "query_id", "-o", tmp_path / "rater.qrels").code == 0
    found = [(row.query_id, row.doc_id, row.relevance) for row in measures.read_trec_qrels(str(tmp_path / "rater.qrels"))]
    assert found == [("70", "i0", 0), ("70", "i1", 1), ("71", "i2", 2), ("71", "i3", 3)]
    assert take(tmp_path, tmp_path / "rater.qrels", "--query-id", "query_id", pairs=source).code == 0
    assert [row["grade"] for row in rows_of(tmp_path / "labelled.jsonl")] == list(GRADES)


def ballot(path, *ratings, header="id,rating"):
    path.write_text("\n".join([header, *ratings]) + "\n", "utf-8")
    return path


@pytest.fixture
def three(tmp_path):
    """Three raters of five pairs: agreed, a majority, open, one rater, nobody."""
    source = written(tmp_path / "pairs.jsonl", [pair(number, None) for number in range(5)])
    return source, [
        ballot(tmp_path / "ann.csv", "p0,L4", "p1,L4", "p2,L4", "p3,L2"),
        ballot(tmp_path / "ben.csv", "p0,l4", "p1,L1", "p2,L3"),
        ballot(tmp_path / "cem.csv", "p0;note; L4 ", "p1;;L4", "p2;;L1", header="\ufeffID;comment;Rating"),  # a spreadsheet's own way
    ]


def test_several_raters_decide_by_majority_and_what_is_open_has_no_grade(three, tmp_path):
    source, ballots = three
    done = take(tmp_path, *ballots, pairs=source)
    assert done.code == 5 and "3 raters (1 single, 1 unanimous, 1 majority, 1 open), 1 rated by nobody" in done.err
    back = {row["id"]: (row.get("grade"), row["decided"]) for row in rows_of(tmp_path / "labelled.jsonl")}
    assert back == {"p0": ("L4", "unanimous"), "p1": ("L4", "majority"), "p2": (None, "open"), "p3": ("L2", "single")}
    counts = json.loads((tmp_path / "labelled.jsonl.manifest.json").read_text())["counts"]
    assert counts["alpha"] == pytest.approx(krippendorff_alpha([["L4"] * 3, ["L4", "L1", "L4"], ["L4", "L3", "L1"], ["L2"]]))
    assert counts["unrated"] == 1 and counts["raters"] == ["ann", "ben", "cem"] and f"alpha {counts['alpha']:.3f}" in done.err


def test_an_adjudicator_settles_what_the_others_disagree_on_and_does_not_count_as_a_rater(three, tmp_path):
    source, ballots = three
    chief = ballot(tmp_path / "chief.csv", "p0,L1", "p1,L2", "p2,L3")
    done = take(tmp_path, *ballots, chief, "--adjudicator", "chief", pairs=source)
    assert done.code == 0, done.err
    back = {row["id"]: (row["grade"], row["decided"]) for row in rows_of(tmp_path / "labelled.jsonl")}
    assert back == {"p0": ("L4", "unanimous"), "p1": ("L2", "adjudicated"), "p2": ("L3", "adjudicated"), "p3": ("L2", "single")}
    before = krippendorff_alpha([["L4"] * 3, ["L4", "L1", "L4"], ["L4", "L3", "L1"], ["L2"]])
    assert json.loads((tmp_path / "labelled.jsonl.manifest.json").read_text())["counts"]["alpha"] == pytest.approx(before)
    assert take(tmp_path, *ballots, "--adjudicator", "nobody", pairs=source).code == 2


def test_a_column_rater_tells_raters_of_one_sheet_apart(three, tmp_path):
    source, _ = three
    assert take(tmp_path, ballot(tmp_path / "all.csv", "p0,L4,ann", "p0,L4,ben", "p1,L1,ann", header="id,rating,rater"), pairs=source).code == 0
    assert [row["ratings"] for row in rows_of(tmp_path / "labelled.jsonl")] == [{"ann": "L4", "ben": "L4"}, {"ann": "L1"}]


BAD = [
    ("id,rating", "p1,", "rating: is blank (allowed: L1, L2, L3, L4)"),
    ("id,rating", "p1,5", "rating: found '5' (allowed: L1, L2, L3, L4)"),
    ("id,rating", "p0,L1", "rating: 'sheet' has rated pair 'p0' before"),
    ("id,rating", "1.2E+17,L1", "id: '1.2E+17': no pairs of --pairs are this"),
    ("query,docid,rating", "sofa 0,i1,4", "rating: found '4' (allowed: 0, 1, 2, 3)"),
    ("query,docid,rating", "sofa 0,i9,1", "query, docid: 'sofa 0', 'i9': no pairs"),
]


@pytest.mark.parametrize(("header", "line", "told"), BAD)
def test_a_line_that_is_no_rating_is_refused_by_number_or_skipped_into_a_file(header, line, told, three, tmp_path):
    good = "p0,L4" if header == "id,rating" else "sofa 0,i0,3"
    source, sheet = three[0], ballot(tmp_path / "sheet.csv", good, line, header=header)
    done = take(tmp_path, sheet, pairs=source)
    assert done.code == 3 and f"{sheet}:3: {told}" in done.err and not (tmp_path / "labelled.jsonl").exists()
    done = take(tmp_path, sheet, "--on-bad", "skip", "--rejects", tmp_path / "rejects.jsonl", pairs=source)
    assert done.code == 5 and [row["grade"] for row in rows_of(tmp_path / "labelled.jsonl")] == ["L4"]
    [refused] = rows_of(tmp_path / "rejects.jsonl")
    assert (refused["line"], refused["text"]) == (3, "\t".join(line.split(",")))


def test_the_line_told_is_where_a_row_begins_though_cells_before_it_have_several(three, tmp_path):
    done = take(tmp_path, ballot(tmp_path / "sheet.csv", '"one\ntwo",p0,L4', "x,p1,L9", header="title,id,rating"), pairs=three[0])
    assert done.code == 3 and "sheet.csv:4: rating" in done.err


def test_what_is_no_sheet_is_refused(three, tmp_path):
    source, _ = three
    for name, content, code, told in (
        ("letter.csv", b"Dear all,\nno.\n", 3, "letter.csv:1: is no sheet"),
        ("empty.csv", b"", 3, "is no sheet"),
        ("latin.csv", "id,rating\np0,L4,Größe\n".encode("latin-1"), 3, "is not UTF-8 text"),
    ):
        (tmp_path / name).write_bytes(content)
        done = take(tmp_path, tmp_path / name, pairs=source)
        assert done.code == code and told in done.err, done.err
    assert take(tmp_path, tmp_path / "none.csv", pairs=source).code == 4
    assert lore("lore-rair", "sheet", "import", "--pairs", source).code == 2
    twice = written(tmp_path / "twice.jsonl", [pair(0, query="q"), pair(1, query="q", item={"id": "i0"})])
    done = take(tmp_path, ballot(tmp_path / "quepid.csv", "q,i0,1", header="query,docid,rating"), pairs=twice)
    assert done.code == 3 and "2 pairs of --pairs are this" in done.err


def test_what_cannot_be_exported_is_refused_and_nothing_gives_a_sheet_of_names_only(tmp_path):
    ungraded = written(tmp_path / "pairs.jsonl", [pair(0, None)])
    done = lore("lore-rair", "sheet", "export", ungraded, "--kind", "trec")
    assert done.code == 3 and "row 'p0': grade" in done.err
    spaced = written(tmp_path / "spaced.jsonl", [pair(0, "L4", item={"id": "a b"})])
    done = lore("lore-rair", "sheet", "export", spaced, "--kind", "trec")
    assert done.code == 3 and "item.id: found 'a b'" in done.err
    done = lore("lore-rair", "sheet", "export", spaced, "--kind", "trec", "--query-id", "nothing")
    assert done.code == 3 and "nothing: found ''" in done.err
    assert lore("lore-rair", "sheet", "export", ungraded, "--kind", "quepid").out.splitlines()[1] == b"sofa 0,i0,"
    empty = lore("lore-rair", "sheet", "export", written(tmp_path / "empty.jsonl", []))
    assert empty.code == 0 and len(empty.lines) == 1


def test_alpha_is_that_of_an_independent_implementation():
    reference, numpy = pytest.importorskip("krippendorff"), pytest.importorskip("numpy")
    draw = random.Random(5)
    for _ in range(40):
        units = [[draw.choice(GRADES[: draw.randint(2, 4)]) for _ in range(draw.randint(0, 4))] for _ in range(draw.randint(4, 30))]
        table = numpy.array([[GRADES.index(unit[rater]) if rater < len(unit) else numpy.nan for unit in units] for rater in range(4)])
        for ordinal, level in ((True, "ordinal"), (False, "nominal")):
            mine = krippendorff_alpha(units, ordinal)
            if mine is not None:
                assert mine == pytest.approx(reference.alpha(table, level_of_measurement=level, value_domain=[0, 1, 2, 3]), abs=1e-12)
    assert krippendorff_alpha([]) is None and krippendorff_alpha([["L4", "L4"], ["L4"]]) is None
