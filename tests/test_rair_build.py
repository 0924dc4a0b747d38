"""Building a benchmark: what is held out, what each subset is made of, and what the card says of it."""

from __future__ import annotations

import hashlib
import json

import pytest

from commands_run import lore
from lore_cli.path.knowledge import load_glossary
from lore_cli.rair.build import Policy, choose, held_out
from lore_cli.path.disjoint import query_key
from lore_cli.records import GRADES, Pair, parse
from rair_rows import BOOK, EXAMPLES, pair, written

GLOSSARY = load_glossary(())


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def built(pairs, training=(), asked=None, **policy):
    made = Policy(**({"share": 1.0, "sizes": {"general": 20, "hard": 20, "visual": 20}} | policy))
    return choose([parse(Pair, row) for row in pairs], [parse(Pair, row) for row in training], asked or {}, BOOK, GLOSSARY, made)


def many(queries, per_query=3, **more):
    return [pair(number * per_query + index, GRADES[(number + index) % 4], query=query, **more) for number, query in enumerate(queries) for index in range(per_query)]


QUERIES = [f"{colour} {thing}" for colour in ("navy", "red", "white", "green") for thing in ("sofa", "rug", "dress", "sneakers", "backpack")]


def test_queries_that_differ_in_words_only_are_held_out_together():
    spellings = ["navy sofa", "sofa navy", "Navy sofas", "navy, sofa sofa"]
    for number in range(40):
        policy = Policy(share=0.5, seed=number)
        assert len({policy.holds_out(parse(Pair, pair(0, query=spelling))) for spelling in spellings}) == 1


def test_about_the_share_of_the_queries_is_held_out_and_nothing_is_in_both():
    aside: list[Pair] = []
    pairs = [parse(Pair, row) for row in many([f"{query} {number}" for query in QUERIES for number in range(20)])]
    held = held_out(pairs, Policy(share=0.25), aside.append)
    assert len(held) + len(aside) == len(pairs)
    assert 0.18 < len(held) / len(pairs) < 0.32
    assert not {query_key(one.query) for one in held} & {query_key(one.query) for one in aside}


def test_an_ungraded_pair_that_is_held_out_is_in_neither_part():
    aside: list[Pair] = []
    assert held_out([parse(Pair, pair(0, None))], Policy(share=1.0), aside.append) == [] and aside == []


def test_a_query_is_in_one_subset_and_gives_at_most_per_query_pairs():
    chosen = built(many([*QUERIES, *(f"{query} not striped" for query in QUERIES)], 5), per_query=2)
    keys = {name: [row.key for row in rows] for name, rows in chosen.subsets.items()}
    assert keys["general"] and keys["hard"]
    assert not set(keys["general"]) & set(keys["hard"])
    assert max(keys[name].count(key) for name in keys for key in keys[name]) == 2


def test_general_takes_the_categories_in_turn():
    chosen = built(many([*(f"{colour} sofa {number}" for colour in ("navy", "red") for number in range(12)), "white rug", "red dress"], 1), sizes={"general": 6, "hard": 0, "visual": 0})
    assert chosen.categories == {"sofa": 4, "rug": 1, "dress": 1}


@pytest.mark.parametrize(
    ("query", "criterion"),
    [("sofa without stripes", "negation"), ("sofa under 300", "price"), ("serum 30 ml", "units"), ("zzgloop", "unlisted"), ("红色 地毯", "script"), ("navy striped leather sofa", "many-needs")],
)
def test_a_query_is_hard_by_what_it_asks(query, criterion):
    chosen = built([*many(QUERIES, 1), pair(90, "L4", query=query)], sizes={"general": 0, "hard": 40, "visual": 0})
    found = {row.pair.query: row.criteria for row in chosen.subsets["hard"]}
    assert criterion in found[query] and all(criterion not in criteria for other, criteria in found.items() if other != query)


def test_the_tail_is_told_by_the_log_where_there_is_one():
    asked = {query_key(query): 100 - number for number, query in enumerate(QUERIES)}
    chosen = built(many(QUERIES, 1), asked=asked, sizes={"general": 0, "hard": 40, "visual": 0})
    assert {row.pair.query for row in chosen.subsets["hard"] if "tail" in row.criteria} == set(QUERIES[-4:])
    counted = [row | {"count": 5 if row["query"].startswith("red") else 50} for row in many(QUERIES, 1)]
    rare = {row.pair.query for row in built(counted, sizes={"general": 0, "hard": 40, "visual": 0}).subsets["hard"] if "tail" in row.criteria}
    assert rare == {query for query in QUERIES if query.startswith("red")}, "by the pairs' own counts"


def test_visual_is_where_the_caption_decides_the_grade():
    seen = pair(0, "L1", query="navy sofa", item={"title": "sofa", "category": "sofa", "caption": "plain red"})
    told = pair(1, "L1", query="green sofa", item={"title": "red sofa", "category": "sofa", "caption": "plain red"})
    chosen = built([seen, told], sizes={"general": 0, "hard": 0, "visual": 5})
    assert [row.pair.id for row in chosen.subsets["visual"]] == ["p0"]
    assert "1 of 5 pairs asked" in chosen.notes["visual"]
    bare = built([pair(0, "L1", item={"image": "a.png"})], sizes={"general": 1, "hard": 0, "visual": 5})
    assert bare.subsets["visual"] == [] and "run lore-synth --stages visual first" in bare.notes["visual"]


def test_the_same_seed_draws_the_same_pairs_in_any_order_of_input():
    pairs = many([f"{query} {number}" for query in QUERIES for number in range(4)], 2)
    small = {"general": 10, "hard": 10, "visual": 0}
    ids = [{row.pair.id for rows in built(given, seed=seed, sizes=small).subsets.values() for row in rows} for given, seed in ((pairs, 1), (pairs[::-1], 1), (pairs, 2))]
    assert ids[0] == ids[1] != ids[2]


def test_the_command_writes_a_benchmark_whose_card_is_true(tmp_path):
    done = lore("lore-rair", "build", EXAMPLES, "--share", "0.5", "--rest", tmp_path / "train.jsonl", "--licence", "CC0", "-o", tmp_path / "bench")
    assert done.code == 0, done.err
    folder = tmp_path / "bench"
    card = json.loads((folder / "card.json").read_text())
    assert set(card["files"]) == {"general.jsonl", "hard.jsonl", "visual.jsonl", "all.jsonl", "rulebook.toml"}
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in card["files"].items())
    every, training = rows_of(folder / "all.jsonl"), rows_of(tmp_path / "train.jsonl")
    assert {row["id"] for row in every} == {row["id"] for name in ("general", "hard", "visual") for row in rows_of(folder / f"{name}.jsonl")}
    assert not {query_key(row["query"]) for row in every} & {query_key(row["query"]) for row in training}
    assert card["training"]["pairs"] == len(training) and card["training"]["shared_queries"] == 0
    assert sum(card["subsets"][name]["pairs"] for name in card["subsets"]) == len(every)
    assert card["licence"] == "CC0" and card["rulebook"]["hash"] == BOOK.hash and str(tmp_path) not in json.dumps(card)
    assert all(row["subset"] in card["subsets"] and row["difficulty"] is not None for row in every), "unknown fields ride along"
    assert (tmp_path / "bench.manifest.json").exists() and (tmp_path / "train.jsonl.manifest.json").exists()


def test_the_same_command_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        assert lore("lore-rair", "build", EXAMPLES, "--share", "0.6", "-o", tmp_path / name).code == 0
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1]


def test_image_paths_stay_true_in_the_benchmark(tmp_path):
    assert lore("lore-rair", "build", EXAMPLES, "--share", "1", "-o", tmp_path / "bench").code == 0
    images = [row["item"]["image"] for row in rows_of(tmp_path / "bench" / "all.jsonl") if "image" in row["item"]]
    assert images and all((tmp_path / "bench" / image).is_file() for image in images)
    lost = written(tmp_path / "lost.jsonl", [pair(0, "L4", item={"image": "nowhere.png"})])
    done = lore("lore-rair", "build", lost, "--share", "1", "-o", tmp_path / "other")
    assert done.code == 0 and "1 images are not where their rows say" in done.err


def test_rows_of_a_held_out_query_are_left_out_of_training(tmp_path):
    rows = [pair(0, query="navy sofa", split="test"), pair(1, query="Sofas navy", split="train"), pair(2, query="red rug", split="train")]
    source = written(tmp_path / "pairs.jsonl", rows)
    done = lore("lore-rair", "build", source, "--where", "split=test", "--rest", tmp_path / "train.jsonl", "-o", tmp_path / "bench")
    assert done.code == 0, done.err
    assert [row["id"] for row in rows_of(tmp_path / "train.jsonl")] == ["p2"]
    assert json.loads((tmp_path / "bench" / "card.json").read_text())["training"]["left_out_for_a_shared_query"] == 1


def test_every_graded_pair_that_is_held_out_can_be_had_too(tmp_path):
    rows = [pair(number, "L4" if number else None, query=f"{QUERIES[number % 20]} {number // 3}") for number in range(60)]
    source = written(tmp_path / "pairs.jsonl", rows)
    done = lore("lore-rair", "build", source, "--share", "0.5", "--general", "3", "--hard", "0", "--rest", tmp_path / "train.jsonl", "--held-out", tmp_path / "held.jsonl", "-o", tmp_path / "bench")
    assert done.code == 0, done.err
    held, training, bench = (rows_of(path) for path in (tmp_path / "held.jsonl", tmp_path / "train.jsonl", tmp_path / "bench" / "all.jsonl"))
    assert {row["id"] for row in bench} < {row["id"] for row in held} and not {query_key(row["query"]) for row in held} & {query_key(row["query"]) for row in training}
    assert {row["id"] for row in held} | {row["id"] for row in training} == {row["id"] for row in rows if "grade" in row or row in training}


def test_what_training_elsewhere_has_is_not_held_out(tmp_path):
    sofa = {"title": "Velvet three seat sofa with oak legs and two cushions"}
    rows = [pair(0, query="navy sofa"), pair(1, query="green rug", item=sofa), pair(2, query="white dress", item={"title": "Linen dress"})]
    source = written(tmp_path / "pairs.jsonl", rows)
    trained = written(tmp_path / "trained.jsonl", [pair(7, query="Sofas, navy", item={"title": "Desk"}), pair(8, None, query="lamp", item=sofa | {"title": f"{sofa['title']} new"})])
    for options, kept, left_out in (((), {"p2"}, {"query": 1, "item": 1}), (("--shared-items",), {"p1", "p2"}, {"query": 1, "item": 0})):
        done = lore("lore-rair", "build", source, "--share", "1", "--train", trained, *options, "-o", tmp_path / "bench", "--force")
        assert done.code == 0, done.err
        assert {row["id"] for row in rows_of(tmp_path / "bench" / "all.jsonl")} == kept
        card = json.loads((tmp_path / "bench" / "card.json").read_text())
        assert card["trained_elsewhere"]["left_out"] == left_out and card["trained_elsewhere"]["files"][0]["name"] == "trained.jsonl"
    assert "1 pairs by their query, 0 by their item" in done.err
    assert lore("lore-rair", "build", source, "--share", "1", "--train", tmp_path / "none.jsonl", "-o", tmp_path / "other").code == 4
    everything = lore("lore-rair", "build", source, "--share", "1", "--train", source, "-o", tmp_path / "other")
    assert everything.code == 3 and "--train" in everything.err and not (tmp_path / "other").exists()


def test_the_card_counts_items_that_training_nearly_has(tmp_path):
    long = "Velvet three seat sofa with oak legs and two cushions"
    rows = [pair(0, query="navy sofa", item={"title": long}, split="test"), pair(1, query="rug", item={"title": f"{long} new"}, split="train"), pair(2, query="lamp", item={"title": "Desk lamp"}, split="train")]
    done = lore("lore-rair", "build", written(tmp_path / "pairs.jsonl", rows), "--where", "split=test", "-o", tmp_path / "bench")
    assert done.code == 0, done.err
    training = json.loads((tmp_path / "bench" / "card.json").read_text())["training"]
    assert (training["shared_items"], training["near_items"]) == (0, 1)


def test_what_cannot_be_built_is_refused(tmp_path):
    done = lore("lore-rair", "build", EXAMPLES, "--where", "split=nowhere", "-o", tmp_path / "bench")
    assert done.code == 3 and "no graded pair is held out by split=nowhere" in done.err and not (tmp_path / "bench").exists()
    assert lore("lore-rair", "build", EXAMPLES, "--where", "split", "-o", tmp_path / "bench").code == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert lore("lore-rair", "build", EXAMPLES, "--share", "1", "-o", tmp_path / "mine", "--force").code == 2
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_an_existing_benchmark_is_replaced_only_with_force(tmp_path):
    arguments = ("build", EXAMPLES, "--share", "1", "-o", tmp_path / "bench")
    assert lore("lore-rair", *arguments).code == 0
    assert lore("lore-rair", *arguments).code == 2
    assert lore("lore-rair", *arguments, "--general", "3", "--force").code == 0
    assert len(rows_of(tmp_path / "bench" / "general.jsonl")) == 3
