"""The head cache: keys, staleness, generations, what happens when the disk, the map or a file fails."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lore_cli.errors import BadInput, LoreError, Missing, UsageError
from lore_cli.judges import JudgeSettings, cached, open_judge
from lore_cli.records import Verdict, change_item, parse
from lore_cli.rulebook import load_rulebook
from lore_cli.tier import cache, status
from tier_shop import ROOT, RULEBOOK, WordJudge, make_plan, pair, refresh, served

VERDICT = parse(Verdict, {"id": "p1", "query": "Navy sofa", "item_id": "i1", "judge": "word", "grade": "L3", "scores": {"L1": 0.1, "L2": 0.1, "L3": 0.6, "L4": 0.2}})


def entry(number: int, now: float = 1000.0) -> tuple[bytes, cached.Entry]:
    query, item = f"query {number}", f"i{number}"
    verdict = parse(Verdict, {"id": f"p{number}", "query": query, "item_id": item, "judge": "word", "grade": "L4"})
    return cached.key_of(query, item), cached.entry_of(verdict, query, "hash", "judge", RULEBOOK, now)


def info(number: int, entries: int) -> cached.GenerationInfo:
    return cached.GenerationInfo(cached.FORMAT, number, entries, "plan", RULEBOOK, {}, None, 0, entries, 0)


def generation(folder, number: int, entries: int = 3):
    builder = cache.Builder(cache.next_build_folder(folder))
    for one in range(entries):
        builder.put(*entry(one))
    builder.commit()
    builder.close()
    cache.publish(folder, builder.folder, info(number, entries), keep=3)


@given(some.text())
def test_normalising_twice_changes_nothing(text):
    once = cached.normalise(text)
    assert cached.normalise(once) == once
    assert once == " ".join(once.split())


@pytest.mark.parametrize(
    ("one", "other"),
    [("  Navy\tSOFA ", "navy sofa"), ("ＮＡＶＹ ｓｏｆａ", "navy sofa"), ("STRASSE", "straße"), ("cafe\u0301", "café"), ("navy\u2028sofa", "navy sofa"), ("navy\u200bsofa", "navy sofa"), ("湖蓝　沙发", "湖蓝 沙发"), ("ﬁre", "fire")],
)
def test_spellings_of_one_query_meet(one, other):
    assert cached.normalise(one) == cached.normalise(other)


def test_keys_do_not_run_query_and_item_together():
    assert cached.key_of("navy", "sofa 1") != cached.key_of("navy sofa", "1")
    assert cached.key_of("\ud800", "1") != cached.key_of("\ud801", "1")  # lone surrogates from a damaged log still have keys


@given(some.text(), some.lists(some.text(), min_size=2, max_size=2, unique=True))
def test_every_item_of_a_query_has_a_key_of_its_own_beside_the_others(query, items):
    one, other = (cached.key_of(query, item * 30) for item in items)
    assert one != other and one[:16] == other[:16] and max(len(one), len(other)) <= 80
    assert cached.key_of(f"  {query.upper()}", "x") == cached.key_of(cached.normalise(f"  {query.upper()}"), "x")


@pytest.mark.parametrize("change", [{"title": "other"}, {"price": 2.0}, {"caption": "a red sofa"}, {"attributes": {"colour": "red"}}, {"brand": "Acme"}])
def test_any_change_a_judge_could_see_changes_the_item_hash(change):
    one = pair("navy sofa", 1, price=1.0)
    assert cached.item_hash(one.item) != cached.item_hash(change_item(one, **change).item)


def test_an_entry_keeps_the_verdict_but_not_the_request():
    _, kept = b"", cached.entry_of(VERDICT, "navy sofa", "hash", "judge", RULEBOOK, 1000.7)
    answered = parse(Verdict, cached.answer_of(kept, pair("Navy Sofa", 1), "cache:x", samples=0))
    assert (answered.id, answered.query, answered.item_id, answered.judge) == ("Navy Sofa/1", "Navy Sofa", "i1", "cache:x")
    assert (answered.grade, answered.scores, answered.raw["cached_from"]) == (VERDICT.grade, VERDICT.scores, "word")
    assert kept.judged_at == 1000


@pytest.mark.parametrize(
    ("item", "rulebook", "now", "expected"),
    [("hash", RULEBOOK, 1100, "hit"), ("hash", RULEBOOK, 1101, "expired"), ("new", RULEBOOK, 1000, "item changed"), ("hash", "new", 1000, "rulebook changed"), ("hash", RULEBOOK, 10, "hit")],
)
def test_when_an_entry_is_stale(item, rulebook, now, expected):
    assert entry(1, 1000)[1].stale(item, rulebook, now, 100) == expected


def test_a_map_that_is_full_grows_and_one_that_may_not_says_so(tmp_path):
    builder = cache.Builder(tmp_path / "a")
    builder._environment.set_mapsize(1 << 16)  # noqa: SLF001: start small
    for number in range(3000):
        builder.put(*entry(number))
    builder.commit()
    builder.close()
    assert len(cached.open_store(tmp_path / "a" / "verdicts.lmdb")) == 3000
    small = cache.Builder(tmp_path / "b", largest_map=1 << 16)
    for number in range(3000):
        small.put(*entry(number))
    with pytest.raises(LoreError, match="outgrew its map"):
        small.commit()
    small.close()


def test_a_full_disk_leaves_the_served_generation(tmp_path):
    """The file-size limit of the process stands in for the disk: the kernel refuses the write either way."""
    plan = make_plan(tmp_path, {"navy sofa": 10})
    refresh(tmp_path, plan, [pair("navy sofa", 1)], WordJudge())
    script = f"""
        import resource, signal, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]
        from pathlib import Path
        from lore_cli.errors import Missing
        from tier_shop import WordJudge, pair, refresh
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        pairs = [pair("navy sofa", number) for number in range(2000)]
        try:
            refresh(Path({str(tmp_path)!r}), {plan!r}, pairs, WordJudge())
        except Missing as error:
            print(error.exit_code, error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.stdout.startswith("4 ") and "served on" in done.stdout, done.stderr
    assert list(served(tmp_path)) == [("navy sofa", "i1")]
    assert cache.served_number(tmp_path / "cache") == 1


def test_a_generation_that_cannot_be_read_back_is_not_published(tmp_path):
    generation(tmp_path, 1)
    builder = cache.Builder(cache.next_build_folder(tmp_path))
    builder.put(*entry(1))
    builder.commit()
    builder.close()
    with pytest.raises(BadInput, match="1 entries can be read back, 5 were written"):
        cache.publish(tmp_path, builder.folder, info(2, 5), keep=3)
    assert cache.served_number(tmp_path) == 1


def test_generations_are_kept_to_the_number_asked_and_roll_back(tmp_path):
    for number in range(1, 6):
        generation(tmp_path, number, entries=number)
    assert cache.generation_numbers(tmp_path) == [3, 4, 5]
    assert cache.roll_back(tmp_path, None) == (5, 4)
    assert cached.read_info(tmp_path / "current").entries == 4
    assert cache.roll_back(tmp_path, 3) == (4, 3)
    with pytest.raises(Missing, match="no generation before 3"):
        cache.roll_back(tmp_path, None)
    with pytest.raises(UsageError, match="kept: 3, 4, 5"):
        cache.roll_back(tmp_path, 9)


def test_a_damaged_generation_is_refused_and_named(tmp_path):
    generation(tmp_path, 1)
    generation(tmp_path, 2, entries=4)
    damaged = tmp_path / "generations" / "0002" / "verdicts.lmdb"
    damaged.write_bytes(b"not a database" * 1000)
    with pytest.raises(BadInput, match="lore-tier rollback"):
        cached.Cache(tmp_path, RULEBOOK)
    assert "damaged" in status.status(tmp_path)["served_state"]
    assert "damaged" in status.table(status.status(tmp_path))
    cache.roll_back(tmp_path, None)
    assert len(cached.Cache(tmp_path, RULEBOOK).store) == 3


def test_a_reader_follows_a_swap_and_keeps_answering_while_the_old_file_goes(tmp_path):
    generation(tmp_path, 1, entries=2)
    reader = cached.Cache(tmp_path, RULEBOOK)
    for number in range(2, 7):
        generation(tmp_path, number, entries=number)  # generation 1 is pruned on the way
    assert reader.store.get(entry(1)[0]).query == "query 1"
    reader.follow()
    assert (reader.info.number, len(reader.store)) == (6, 6)


def test_a_reader_keeps_its_generation_when_the_next_one_is_damaged(tmp_path):
    generation(tmp_path, 1, entries=2)
    reader = cached.Cache(tmp_path, RULEBOOK)
    generation(tmp_path, 2, entries=4)
    (tmp_path / "generations" / "0002" / "verdicts.lmdb").write_bytes(b"not a database" * 1000)
    reader.follow()
    assert (reader.info.number, len(reader.store)) == (1, 2) and "lore-tier rollback" in reader.problem
    generation(tmp_path, 3, entries=5)
    reader.follow()
    assert (reader.info.number, reader.problem) == (3, "")


def test_the_cache_judge_answers_in_order_and_says_what_is_missing(tmp_path):
    rulebook = load_rulebook()
    plan = make_plan(tmp_path, {"navy sofa": 10})
    known = [pair("navy sofa", number) for number in range(3)]
    refresh(tmp_path, plan, known, WordJudge(), now=time.time(), rulebook=rulebook.hash)
    judge = open_judge(f"cache:{tmp_path / 'cache'}", JudgeSettings(rulebook, samples=2))
    asked = [pair("NAVY  sofa", 1), pair("navy sofa", 7), change_item(known[2], title="new title"), known[0]]
    answers = list(judge(asked))
    assert [one.error for one in answers] == [None, "not in cache", "not in cache: item changed", None]
    assert [one.grade for one in answers] == ["L4", None, None, "L3"]
    assert answers[0].samples == ("L4", "L4") and answers[0].latency_ms >= 0
    assert judge.identity()["generation"] == "1"
    with pytest.raises(Missing, match="no published cache generation"):
        open_judge(f"cache:{tmp_path / 'nowhere'}", JudgeSettings(rulebook))


def test_a_generation_of_an_older_format_is_refused_and_a_refresh_replaces_it(tmp_path):
    plan, known = make_plan(tmp_path, {"navy sofa": 10}), [pair("navy sofa", number) for number in range(3)]
    refresh(tmp_path, plan, known, WordJudge())
    description = tmp_path / "cache" / "generations" / "0001" / "generation.json"
    description.write_text(description.read_text().replace(f'"format": {cached.FORMAT}', '"format": 1'))
    with pytest.raises(BadInput, match="format 1; this version reads format") as refused:
        cached.Cache(tmp_path / "cache", RULEBOOK)
    assert "refresh the cache" in refused.value.hint
    summary = refresh(tmp_path, plan, known, WordJudge())
    assert (summary.number, summary.judged) == (2, 3) and "format 1" in summary.problem
    assert len(served(tmp_path)) == 3


def test_the_cache_judge_gives_no_grade_for_a_damaged_entry(tmp_path):
    import lmdb

    rulebook, plan, known = load_rulebook(), make_plan(tmp_path, {"navy sofa": 10}), [pair("navy sofa", number) for number in range(2)]
    refresh(tmp_path, plan, known, WordJudge(), now=time.time(), rulebook=rulebook.hash)
    with lmdb.open(str(tmp_path / "cache/current/verdicts.lmdb"), subdir=False, lock=False, map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
        transaction.put(cached.key_of("navy sofa", "i0"), b'["navy sofa","i0"]')
    answers = list(open_judge(f"cache:{tmp_path / 'cache'}", JudgeSettings(rulebook))(known))
    assert [(one.grade, one.error) for one in answers] == [(None, "not in cache: damaged"), ("L4", None)]


def test_unpublished_work_is_never_pickled(tmp_path):
    """Entries are JSON in LMDB, readable by any language."""
    import lmdb
    import orjson

    generation(tmp_path, 1)
    with lmdb.open(str(tmp_path / "generations/0001/verdicts.lmdb"), subdir=False, readonly=True, lock=False) as environment, environment.begin() as transaction:
        values = [orjson.loads(value) for _, value in transaction.cursor()]
    assert {value[0] for value in values} == {"query 0", "query 1", "query 2"}
    assert unicodedata.is_normalized("NFKC", values[0][0])
    assert sorted(os.listdir(tmp_path / "generations/0001")) == ["generation.json", "verdicts.lmdb"]
