"""The simulated market holds what its README says: disjoint splits, the grade mix, all three difficulties, the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from lore_cli.records import GRADES, Item, Pair, QueryCount, parse
from lore_cli.rulebook import load_rulebook

SCRIPT = Path(__file__).parents[1] / "examples" / "market" / "generate.py"
DIFFICULTIES = {"knowledge", "visual", "rules"}


def make(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), "-o", str(folder), *options], capture_output=True, text=True, check=False)


def rows(market: Path, name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (market / name).read_bytes().splitlines()]


def digest(market: Path) -> dict[str, str]:
    return {str(file.relative_to(market)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(market.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market") / "small"
    done = make(folder, "--small", "--seed", "7")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pairs(market: Path) -> list[dict[str, Any]]:
    return rows(market, "pairs.jsonl")


def test_same_seed_same_bytes_and_another_seed_others(market: Path, tmp_path: Path) -> None:
    assert make(tmp_path / "again", "--small", "--seed", "7").returncode == 0
    assert digest(tmp_path / "again") == digest(market)
    assert make(tmp_path / "other", "--small", "--seed", "8").returncode == 0
    assert digest(tmp_path / "other")["pairs.jsonl"] != digest(market)["pairs.jsonl"]


def test_rows_are_records(market: Path, pairs: list[dict[str, Any]]) -> None:
    assert len({parse(Pair, row).id for row in pairs}) == len(pairs) > 200
    assert all(row["grade"] in GRADES and row["count"] >= 1 for row in pairs)
    assert sum(parse(QueryCount, row).count for row in rows(market, "log.jsonl")) == pytest.approx(200_000, rel=0.01)


def test_splits_share_no_query_and_no_item(pairs: list[dict[str, Any]]) -> None:
    split = {name: [row for row in pairs if row["split"] == name] for name in ("train", "test")}
    assert split["train"] and split["test"]
    assert not {row["query"] for row in split["train"]} & {row["query"] for row in split["test"]}
    assert not {row["item"]["id"] for row in split["train"]} & {row["item"]["id"] for row in split["test"]}


def test_unseen_combinations_stay_out_of_training(market: Path, pairs: list[dict[str, Any]]) -> None:
    truth = {row["id"]: row["attributes"] for row in rows(market, "truth.jsonl")}
    needs = {row["query"]: row["needs"] for row in rows(market, "query_truth.jsonl")}
    unseen = {row["query"] for row in pairs if row.get("unseen")}
    sold = {
        (truth[row["item"]["id"]]["category"][0], dimension, value)
        for row in pairs
        if row["split"] == "train"
        for dimension, values in truth[row["item"]["id"]].items()
        for value in values
    }
    assert unseen and all(row["split"] == "test" for row in pairs if row.get("unseen"))
    for query in unseen:
        category, *rest = needs[query]
        assert any((category["value"], need["attribute"], need["value"]) not in sold for need in rest), query


def test_grades_and_difficulties_are_mixed(pairs: list[dict[str, Any]]) -> None:
    share = {grade: count / len(pairs) for grade, count in Counter(row["grade"] for row in pairs).items()}
    for grade, aim in {"L1": 0.2, "L2": 0.2, "L3": 0.2, "L4": 0.4}.items():
        assert share[grade] == pytest.approx(aim, abs=0.08)
    for name in ("train", "test"):
        assert {tag for row in pairs if row["split"] == name for tag in row["difficulty"]} == DIFFICULTIES


def test_pictures_exist_and_differ(market: Path, pairs: list[dict[str, Any]]) -> None:
    from PIL import Image

    images = {row["item"]["image"] for row in pairs}
    assert len({(market / image).read_bytes() for image in images}) == len(images)
    with Image.open(market / min(images)) as picture:
        assert picture.size == (64, 64) and picture.mode == "RGB"


def test_visual_pairs_say_nothing_of_the_missing_look(market: Path, pairs: list[dict[str, Any]]) -> None:
    """A visual pair's listing names neither the true colour nor the true pattern that the query asks about."""
    truth = {row["id"]: row["attributes"] for row in rows(market, "truth.jsonl")}
    needs = {row["query"]: row["needs"] for row in rows(market, "query_truth.jsonl")}
    rulebook = load_rulebook()
    for row in (row for row in pairs if "visual" in row["difficulty"]):
        item = parse(Item, row["item"])
        told = " ".join([item.title, *item.attributes.values(), item.description or ""])
        asked = {need["attribute"] for need in needs[row["query"]]} & {"colour", "pattern"}
        assert asked
        silent = [name for name in asked if not any(form in told for form in rulebook.table(name).surfaces(truth[item.id][name][0]))]
        assert silent


def test_candidates_are_the_pairs_without_what_only_the_simulation_knows(market: Path, pairs: list[dict[str, Any]]) -> None:
    candidates = rows(market, "candidates.jsonl")
    assert [row["id"] for row in candidates] == [row["id"] for row in pairs]
    assert not {"grade", "difficulty", "unseen"} & {key for row in candidates for key in row}
    by_query: dict[str, list[int]] = {}
    for row in candidates:
        by_query.setdefault(row["query"], []).append(row["rank"])
    assert all(ranks == list(range(1, len(ranks) + 1)) for ranks in by_query.values())


def test_log_follows_zipf_and_both_splits_reach_the_head(market: Path, pairs: list[dict[str, Any]]) -> None:
    counts = [row["count"] for row in rows(market, "log.jsonl")]
    assert counts == sorted(counts, reverse=True)
    assert all(counts[0] / counts[rank - 1] == pytest.approx(rank, rel=0.01) for rank in (2, 10, 40))
    split = {row["query"]: row["split"] for row in pairs}
    assert {split[row["query"]] for row in rows(market, "log.jsonl")[:10]} == {"train", "test"}


def test_glossary_holds_what_the_rulebook_does_not(market: Path, pairs: list[dict[str, Any]]) -> None:
    rulebook = load_rulebook()
    known = {form for dimension in rulebook.dimensions for form in rulebook.table(dimension).canonical}
    glossary = rows(market, "glossary.jsonl")
    assert len(glossary) > 20
    for row in glossary:
        assert row["term"] not in known
        assert all(need["attribute"] in rulebook.dimensions for need in row["needs"])
    queries = {row["query"] for row in pairs}
    assert any(row["term"] in query for row in glossary for query in queries)


def test_an_existing_directory_is_refused(market: Path) -> None:
    before = digest(market)
    done = make(market, "--small", "--seed", "8")
    assert done.returncode == 2 and "--force" in done.stderr and "Traceback" not in done.stderr
    assert digest(market) == before


def test_too_few_items_are_refused(tmp_path: Path) -> None:
    done = make(tmp_path / "few", "--items", "60")
    assert done.returncode == 2 and "too few" in done.stderr
    assert not (tmp_path / "few").exists()
