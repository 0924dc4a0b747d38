"""lore-synth clean: what is refused, why, and that nothing else is."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands_run import lore
from lore_cli.path.disjoint import item_words, query_key
from lore_cli.records import Item
from lore_cli.similar import Archive, Similar
from lore_cli.synth.clean import largest_cap
from test_conduct import rows_of
from test_contract import PAIRS, refused, write

CLEAN = ("lore-synth", "clean")
TITLE = "velvet sofa bed with storage in navy blue three seats"


def pair(identity, query="navy sofa bed", title=TITLE, grade="L4", **more):
    return {"id": identity, "query": query, "item": {"id": f"i-{identity}", "title": title}, "grade": grade, **more}


def run(tmp_path, rows, *options):
    """(how it ended, rows kept, rows refused)."""
    out, away = tmp_path / "kept.jsonl", tmp_path / "refused.jsonl"
    done = lore(*CLEAN, write(tmp_path / "rows.jsonl", rows), "-o", out, "--rejected", away, "--force", *options)
    return done, rows_of(out.read_bytes()) if out.exists() else None, rows_of(away.read_bytes()) if away.exists() else None


def reasons(rows):
    return [(row["id"], row["reason"], row.get("duplicate_of")) for row in rows]


def test_what_repeats_is_refused_naming_the_row_kept_and_the_rest_keeps_its_order(tmp_path):
    rows = [
        pair("a", shop={"own": 1}),
        pair("b", "red lamp", "desk lamp in red"),
        {**pair("a", shop={"own": 1}), "id": "c"},  # the same content under another id
        pair("d", "Sofa beds, NAVY", TITLE.upper() + ", new"),  # the same words and one more; another item id
        pair("e", title=TITLE + " new", grade="L2"),  # another grade: a contrast
        pair("f", "navy sofa bed under 300", TITLE + " new"),  # another demand
        pair("g", title=TITLE.replace("navy blue", "black leather")),  # another product
        pair("b", "red lamp", "a completely different bulb"),  # other content under an id that is taken
    ]
    done, kept, away = run(tmp_path, rows)
    assert done.code == 0 and [row["id"] for row in kept] == ["a", "b", "e", "f", "g"] and kept[0] == rows[0]
    assert reasons(away) == [("c", "duplicate", "a"), ("d", "near-duplicate", "a"), ("b", "repeated-id", "b")]
    counts = json.loads((tmp_path / "kept.jsonl.manifest.json").read_bytes())["counts"]["rows"]
    assert counts == {"kept": {"L2": 1, "L4": 4}, "duplicate": {"L4": 1}, "repeated-id": {"L4": 1}, "near-duplicate": {"L4": 1}}
    assert "near-duplicate: 1 (L4 1)" in done.err
    assert [row["id"] for row in run(tmp_path, rows, "--near", 0)[1]] == ["a", "b", "d", "e", "f", "g"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.frozensets(st.sampled_from("abcdefghijklmnopqrst"), max_size=14), max_size=30), st.sampled_from([0.5, 0.75, 0.8, 0.9, 1.0]))
def test_nearly_the_same_is_found_exactly(sets, threshold):
    """Against comparing each with all."""
    near = Similar(threshold)
    for number, words in enumerate(sets):
        alike = [other for other, earlier in enumerate(sets[:number]) if words and len(words & earlier) >= threshold * len(words | earlier) - 1e-9]
        assert near.find("g", words) == (str(alike[0]) if alike else None)
        assert near.find("h", words) is None
        near.add(str(number), "g", words)


def test_the_archive_gives_back_what_shares_a_chain():
    archive = Archive()
    codes = [7 + (number << 20) for number in range(300)]  # one head for all
    for number, code in enumerate(codes):
        assert archive.add(str(number).encode(), (code, 1)) == number
    assert [archive.record(number) for number in archive.filed(codes[250])] == [b"250"]
    assert sorted(archive.filed(1)) == list(range(300)) and not list(archive.filed(8))


def test_what_the_benchmark_holds_is_refused_by_query_and_by_item(tmp_path):
    bench = tmp_path / "bench"
    bench.mkdir()
    write(bench / "all.jsonl", [pair("q", "navy sofa beds"), pair("r", "lamp", "brass desk lamp with usb port for reading and work by night")])
    rows = [pair("a", "sofa bed NAVY", "garden chair"), pair("b", "light", "Brass desk lamps with USB port for reading and work by night"), pair("c", "light", "brass floor lamp")]
    done, kept, away = run(tmp_path, rows, "--benchmark", bench)
    assert done.code == 0 and [row["id"] for row in kept] == ["c"] and reasons(away) == [("a", "benchmark-query", "q"), ("b", "benchmark-item", "r")]
    assert [row["id"] for row in run(tmp_path, rows, "--benchmark", bench / "all.jsonl", "--shared-items")[1]] == ["b", "c"]
    refused(lore(*CLEAN, PAIRS, "--benchmark", tmp_path), 4, "no all.jsonl in it")
    refused(lore(*CLEAN, PAIRS, "--benchmark", tmp_path / "nowhere"), 4, "nowhere: No such file")


def test_a_benchmark_and_its_training_rows_have_nothing_in_common(tmp_path):
    train, bench = tmp_path / "train.jsonl", tmp_path / "bench"
    assert lore("lore-rair", "build", PAIRS, "--share", 0.5, "--rest", train, "-o", bench).code == 0
    assert json.loads(lore(*CLEAN, train, "--near", 0, "--benchmark", bench, "--shared-items", "--log-json", "--require", "kept==1", "-o", "/dev/null").err.splitlines()[0])["reason"] == "kept"
    refused(lore(*CLEAN, bench / "all.jsonl", "--benchmark", bench, "--require", "kept>0"), 1, "kept is 0.0000")


def test_length_counts_prompt_and_completion_and_for_pairs_query_and_title(tmp_path):
    rows = [pair("a", title="x" * 10), pair("b", title="x" * 90), {**pair("c", title="x"), "prompt": "p" * 60, "completion": "c" * 60}]
    _, kept, away = run(tmp_path, rows, "--min-length", 25, "--max-length", 120, "--near", 0)
    assert [row["id"] for row in kept] == ["b"] and reasons(away) == [("a", "too-short", None), ("c", "too-long", None)]


def test_tokens_are_those_of_a_model_directory(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    rows = [pair("a", "one two three", "four five"), pair("b", "onetwothreefourfivesix", "seven")]
    assert [row["id"] for row in run(tmp_path, rows, "--tokenizer", tmp_path, "--max-length", 4)[1]] == ["b"]
    refused(lore(*CLEAN, PAIRS, "--tokenizer", tmp_path / "nowhere"), 4, "tokenizer.json: no such file")
    (tmp_path / "tokenizer.json").write_text("{}")
    refused(lore(*CLEAN, PAIRS, "--tokenizer", tmp_path), 3, "tokenizer.json: no tokenizer")


def test_no_grade_gets_more_than_its_share_and_no_more_rows_go_than_must(tmp_path):
    rows = [pair(f"{number}", f"query {number}", grade=f"L{1 + min(number % 8, 3)}") for number in range(400)]
    rows += [{name: value for name, value in pair(f"u{number}", f"other {number}").items() if name != "grade"} for number in range(5)]
    random.Random(1).shuffle(rows)
    done, kept, away = run(tmp_path, rows, "--balance", 0.4)
    count = {grade: sum(row.get("grade") == grade for row in kept) for grade in ("L1", "L2", "L3", "L4", None)}
    assert done.code == 0 and count == {"L1": 50, "L2": 50, "L3": 50, "L4": 100, None: 5}
    assert {row["reason"] for row in away} == {"balance"} and [row["id"] for row in kept] == [row["id"] for row in rows if row in kept]
    assert run(tmp_path, rows, "--balance", 0.4)[1] == kept != run(tmp_path, rows, "--balance", 0.4, "--seed", 1)[1]
    refused(lore(*CLEAN, write(tmp_path / "two.jsonl", [pair("a"), pair("b", "x", grade="L1")]), "--balance", 0.4), 3, "--balance 0.4 cannot be had", "pass at least 0.5")


@given(st.dictionaries(st.sampled_from(["L1", "L2", "L3", "L4"]), st.integers(1, 40), min_size=2), st.sampled_from([0.5, 0.6, 0.75, 0.9]))
def test_the_cap_is_the_largest_that_holds(counts, share):
    def holds(cap):
        return cap <= share * sum(min(cap, count) for count in counts.values()) + 1e-9

    assert largest_cap(counts, share) == max(cap for cap in range(max(counts.values()) + 1) if holds(cap))


def test_a_requirement_that_is_not_met_ends_with_1_and_publishes_nothing_but_the_refused_rows(tmp_path):
    rows = [pair("a"), {**pair("a"), "id": "b", "item": pair("a")["item"]}]
    done, kept, away = run(tmp_path, rows, "--require", "kept>=0.9", "--require", "L4==1", "--require", "duplicate<0.5")
    refused(done, 1, "kept is 0.5000; required kept>=0.9", "duplicate is 0.5000; required duplicate<0.5")
    assert kept is None and reasons(away) == [("b", "duplicate", "a")] and not (tmp_path / "kept.jsonl.manifest.json").exists()
    assert run(tmp_path, rows, "--require", "kept>=0.5", "--require", "L1<=0")[0].code == 0
    refused(lore(*CLEAN, PAIRS, "--require", "acc2>=1"), 2, "'acc2' is nothing that is measured", "near-duplicate")
    refused(lore(*CLEAN, PAIRS, "--require", "kept"), 2, "'kept' is not a requirement")


def test_nothing_stays_nothing_bad_rows_are_told_and_traces_pass_untouched(tmp_path):
    empty = lore(*CLEAN, "-", stdin=b"")
    assert empty.code == 0 and empty.out == b""
    refused(lore(*CLEAN, "-", stdin=b'{"id": "1"}\n'), 3, "<stdin>:1: query: required field is missing")
    done = lore(*CLEAN, "-", "--on-bad", "skip", stdin=b'{"id": "1"}\n' + PAIRS.read_bytes())
    assert done.code == 5
    traces = lore("lore-synth", PAIRS).out
    assert lore(*CLEAN, "-", "--near", 0, stdin=traces).out == traces
    parquet = tmp_path / "traces.parquet"
    assert lore(*CLEAN, "-", "--near", 0, "-o", parquet, stdin=traces).code == 0
    assert rows_of(lore(*CLEAN, parquet, "--near", 0).out) == rows_of(traces)


def test_words_of_an_item_leave_case_plural_and_order_aside():
    one, other = (Item("i", title, brand="Acme", attributes={"colour": "Navy"}) for title in ("Sofa beds, velvet", "velvet SOFA bed"))
    assert item_words(one) == item_words(other) == {"sofa", "bed", "velvet", "acme", "navy"}
    assert query_key("Sofa beds") == query_key("bed SOFA")
