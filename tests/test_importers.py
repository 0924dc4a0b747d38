"""The importers on small files of each public layout, and on the real ones where they are at hand; what they write is what our commands read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lore_cli.records import Pair, QueryCount, parse

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"


def needs(*parts: str) -> Any:
    return pytest.mark.skipif(not DATA.joinpath(*parts).exists(), reason=f"needs ../shared/data/{'/'.join(parts)}")


def run(script: str, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def imported(name: str, *arguments: object, code: int = 0, stdin: bytes = b"") -> tuple[list[dict[str, Any]], str]:
    """(rows, messages) of an importer that ends with `code`."""
    done = run(f"examples/importers/{name}.py", *arguments, stdin=stdin)
    assert done.returncode == code, done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def judged(pairs: Path) -> list[dict[str, Any]]:
    done = run("bin/lore-rair", "run", pairs, "--judge", "rulebook:", "--quiet")
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def planned(log: Path, folder: Path) -> dict[str, Any]:
    done = run("bin/lore-tier", "plan", log, "-o", folder / "plan.json", "--quiet")
    assert done.returncode == 0, done.stderr.decode()
    return json.loads((folder / "plan.json").read_text())


# ------------------------------------------------------------------------------------------------ WANDS

QUERY = "query_id\tquery\tquery_class\n0\tnavy sofa\tSofas\n7\toak shelf\tBookcases\n"
PRODUCT = (
    "product_id\tproduct_name\tproduct_class\tcategory hierarchy\tproduct_description\tproduct_features\trating_count\n"
    '11\tnavy velvet sofa\tSofas\tFurniture / Sofas\t"a ""soft"" sofa"\tcolor:navy|material : velvet|color : blue|empty:\t3\n'
    "12\tred sofa\t\t\t\t\t\n"
)
LABEL = "id\tquery_id\tproduct_id\tlabel\n0\t0\t11\tExact\n1\t0\t12\tPartial\n2\t7\t12\tIrrelevant\n"


@pytest.fixture
def wands(tmp_path: Path) -> Path:
    for name, text in (("query", QUERY), ("product", PRODUCT), ("label", LABEL)):
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def test_wands_labels_become_graded_pairs(wands: Path):
    rows, said = imported("wands", wands)
    assert [(row["id"], row["query"], row["item"]["id"], row["grade"], row["label"]) for row in rows] == [
        ("wands-0", "navy sofa", "11", "L4", "Exact"), ("wands-1", "navy sofa", "12", "L2", "Partial"), ("wands-2", "oak shelf", "12", "L1", "Irrelevant"),
    ]  # fmt: skip
    assert rows[0]["item"] == {
        "id": "11", "title": "navy velvet sofa", "category": "Sofas", "category_path": "Furniture / Sofas", "description": 'a "soft" sofa',
        "attributes": {"color": "navy, blue", "material": "velvet"},
    }  # fmt: skip
    assert rows[1]["item"] == {"id": "12", "title": "red sofa"} and "3 pairs" in said
    assert all(parse(Pair, row) for row in rows)


def test_wands_as_parquet_is_judged_by_our_commands(wands: Path):
    imported("wands", wands, "-o", wands / "pairs.parquet")
    assert [verdict["grade"] for verdict in judged(wands / "pairs.parquet")] == ["L4", "L2", "L1"]
    _, said = imported("wands", wands, "-o", wands / "pairs.parquet", code=2)
    assert "--force" in said


def test_wands_grades_can_be_read_another_way(wands: Path):
    rows, _ = imported("wands", wands, "--grades", "Exact=L4,Partial=L3,Irrelevant=L1")
    assert [row["grade"] for row in rows] == ["L4", "L3", "L1"]
    for wrong in ("Exact=L4", "Exact=L5,Partial=L3,Irrelevant=L1", "exact=L4,Partial=L3,Irrelevant=L1", ""):
        assert "--grades" in imported("wands", wands, "--grades", wrong, code=2)[1]


BAD_WANDS = {
    "an unknown label": ("label", LABEL.replace("Partial", "Maybe"), 3, "label.csv:3: label: 'Maybe' is unknown (allowed: Exact, Partial, Irrelevant)"),
    "an unknown query": ("label", LABEL.replace("7\t12", "8\t12"), 3, "label.csv:4: query_id: '8' is unknown"),
    "an unknown product": ("label", LABEL.replace("0\t11", "0\t99"), 3, "label.csv:2: product_id: '99' is unknown"),
    "a missing column": ("label", LABEL.replace("product_id", "product"), 3, "label.csv:1: product_id: no such column"),
    "a short row": ("label", LABEL + "3\t0\n", 3, "label.csv:5: has not the header's 4 columns"),
    "a long row": ("label", LABEL + "3\t0\t11\tExact\tx\n", 3, "label.csv:5: has not the header's 4 columns"),
    "no query text": ("query", QUERY.replace("oak shelf", " "), 3, "query.csv:3: query: is empty"),
    "bytes that are no text": ("query", QUERY.encode().replace(b"oak", b"\xff\xfe"), 3, "query.csv:"),
    "an empty file": ("product", "", 3, "product.csv:1: product_id: no such column (found: none)"),
    "a missing file": ("product", None, 4, "product.csv: No such file"),
}


@pytest.mark.parametrize("case", BAD_WANDS)
def test_wands_that_are_not_wands_are_told_with_file_and_line(case: str, wands: Path):
    name, content, code, reason = BAD_WANDS[case]
    file = wands / f"{name}.csv"
    file.unlink()
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    output = wands / "pairs.jsonl"
    _, said = imported("wands", wands, "-o", output, code=code)
    assert reason in said and not output.exists()


@needs("wands", "query.csv")
def test_the_real_wands_queries_are_a_log(tmp_path: Path):
    imported("wands", DATA / "wands", "--queries", "-o", tmp_path / "log.jsonl")
    assert planned(tmp_path / "log.jsonl", tmp_path)["traffic"] == 480


# ------------------------------------------------------------------------------------------------ ESCI

EXAMPLE = {"example_id": 5, "query": "navy sofa", "query_id": 1, "product_id": "B01", "product_locale": "us", "esci_label": "E", "small_version": 1, "split": "train"}
PRODUCT_ROW = {"product_id": "B01", "product_title": "Navy sofa", "product_brand": "Acme", "product_color": "navy", "product_bullet_point": "soft", "product_description": "A sofa.", "product_locale": "us"}


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    import polars

    if path.suffix == ".parquet":
        polars.DataFrame(rows).write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def esci_tables(folder: Path, suffix: str = "parquet") -> tuple[Path, Path]:
    labels = zip("ESCI", ("B01", "B02", "B03", "B01"), ("us", "us", "us", "es"), strict=True)
    examples = [EXAMPLE | {"example_id": n, "product_id": product, "esci_label": label, "product_locale": locale} for n, (label, product, locale) in enumerate(labels, 5)]
    products = [PRODUCT_ROW, PRODUCT_ROW | {"product_id": "B02", "product_title": "Red sofa", "product_color": None}, PRODUCT_ROW | {"product_id": "B03", "product_title": "Sofa cover"}]
    products.append(PRODUCT_ROW | {"product_locale": "es", "product_title": "Sofá azul"})
    return table(folder / f"examples.{suffix}", examples), table(folder / f"products.{suffix}", products)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_esci_examples_and_products_are_joined(suffix: str, tmp_path: Path):
    examples, products = esci_tables(tmp_path, suffix)
    rows, _ = imported("esci", examples, "--products", products)
    assert [(row["id"], row["item"]["title"], row["grade"], row["label"]) for row in rows] == [
        ("esci-5", "Navy sofa", "L4", "E"), ("esci-6", "Red sofa", "L2", "S"), ("esci-7", "Sofa cover", "L1", "C"), ("esci-8", "Sofá azul", "L1", "I"),
    ]  # fmt: skip
    assert rows[0]["item"] == {"id": "B01", "title": "Navy sofa", "brand": "Acme", "description": "A sofa. soft", "attributes": {"color": "navy"}}
    assert rows[0]["split"] == "train" and rows[0]["query_id"] == 1 and all(parse(Pair, row) for row in rows)
    only, _ = imported("esci", examples, "--products", products, "--where", "product_locale=us")
    assert [row["id"] for row in only] == ["esci-5", "esci-6", "esci-7"]


def test_esci_joined_already_needs_no_products(tmp_path: Path):
    joined = table(tmp_path / "joined.parquet", [EXAMPLE | PRODUCT_ROW | {"esci_label": "Substitute"}])
    imported("esci", joined, "-o", tmp_path / "pairs.jsonl")
    (verdict,) = judged(tmp_path / "pairs.jsonl")
    assert verdict["item_id"] == "B01" and json.loads((tmp_path / "pairs.jsonl").read_text())["grade"] == "L2"


def test_esci_pairs_without_product_text_are_left_out_and_counted(tmp_path: Path):
    examples, _ = esci_tables(tmp_path)
    products = table(tmp_path / "few.jsonl", [PRODUCT_ROW])
    rows, said = imported("esci", examples, "--products", products, "--where", "product_locale=us", code=5)
    assert [row["item"]["id"] for row in rows] == ["B01"] and "1 pairs; 2 left out" in said and "B02" in said
    kept, _ = imported("esci", examples, "--ids-as-titles")
    assert [row["item"] for row in kept] == [{"id": product, "title": product} for product in ("B01", "B02", "B03", "B01")]


def test_a_judgement_list_becomes_pairs(tmp_path: Path):
    ratings = [{"docId": f"B0{n}", "rating": rating} for n, rating in enumerate(("100.000", "10", "1.0", "0"), 1)]
    listed = tmp_path / "judgements.json"
    listed.write_text(json.dumps({"name": "x", "judgmentRatings": [{"query": "navy sofa", "ratings": ratings}]}))
    rows, _ = imported("esci", listed, "--ids-as-titles")
    assert [(row["id"], row["grade"]) for row in rows] == [("esci-1", "L4"), ("esci-2", "L2"), ("esci-3", "L1"), ("esci-4", "L1")]
    wrapped = table(tmp_path / "feed.jsonl", [{"put": "id:shop:product::B01", "fields": {"id": "B01", "title": "Navy sofa", "color": "navy", "bullets": "soft"}}])
    rows, _ = imported("esci", listed, "--products", wrapped, code=5)
    assert [row["item"] for row in rows] == [{"id": "B01", "title": "Navy sofa", "description": "soft", "attributes": {"color": "navy"}}]
    listed.write_text(json.dumps({"judgmentRatings": [{"query": "navy sofa", "ratings": [{"docId": "B01", "rating": "5"}]}]}))
    assert "judgements.json:1: rating: found '5'" in imported("esci", listed, "--ids-as-titles", code=3)[1]


BAD_ESCI = {
    "an unknown label": ({"esci_label": "X"}, 3, ":1: esci_label: found 'X' (allowed: E, S, C, I,"),
    "no label": ({"esci_label": None}, 3, ":1: esci_label: required field is missing"),
    "no query": ({"query": ""}, 3, ":1: query: required field is missing"),
    "no product": ({"product_id": None}, 3, ":1: product_id: required field is missing"),
}


@pytest.mark.parametrize("case", BAD_ESCI)
def test_esci_rows_that_lack_something_are_told_with_file_and_row(case: str, tmp_path: Path):
    change, code, reason = BAD_ESCI[case]
    bad = table(tmp_path / "bad.jsonl", [{**EXAMPLE, **PRODUCT_ROW, **change}])
    assert f"bad.jsonl{reason}" in imported("esci", bad, code=code)[1]


def test_esci_files_that_cannot_be_read(tmp_path: Path):
    assert "nothing.parquet" in imported("esci", tmp_path / "nothing.parquet", code=4)[1]
    (tmp_path / "short.parquet").write_bytes(esci_tables(tmp_path)[0].read_bytes()[:200])
    assert "not a readable Parquet file" in imported("esci", tmp_path / "short.parquet", code=3)[1]
    (tmp_path / "bad.jsonl").write_text(json.dumps(EXAMPLE | PRODUCT_ROW) + "\n{oops\n")
    assert "bad.jsonl:2: not valid JSON" in imported("esci", tmp_path / "bad.jsonl", code=3)[1]
    (tmp_path / "bad.json").write_text("[]")
    assert "bad.json: is no judgement list" in imported("esci", tmp_path / "bad.json", code=3)[1]


@needs("esci", "sample-examples.parquet")
def test_the_real_esci_sample_is_judged_and_its_judgement_list_read(tmp_path: Path):
    imported("esci", DATA / "esci" / "sample-examples.parquet", "--products", DATA / "esci" / "sample-products.jsonl", "-o", tmp_path / "pairs.jsonl")
    assert len(judged(tmp_path / "pairs.jsonl")) == 16 and all("error" not in verdict for verdict in judged(tmp_path / "pairs.jsonl"))
    rows, _ = imported("esci", DATA / "esci" / "esci_us_judgments.json", "--ids-as-titles")
    assert len(rows) == 6678 and len({row["query"] for row in rows}) == 150 and set(Counter(row["label"] for row in rows)) == set("ESCI")


# ------------------------------------------------------------------------------------------------ UBI


def ubi(*documents: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def asked(request: str, text: str) -> dict[str, Any]:
    return {"query_id": request, "user_query": text, "client_id": "c", "timestamp": "2025-01-01T00:00:00Z"}


def event(action: str, request: str | None, **fields: Any) -> dict[str, Any]:
    return {"action_name": action, "query_id": request, "event_attributes": {"object": {"object_id": "B01"}}, **fields}


UBI = (
    {"index": {"_index": "ubi_queries", "_id": "1"}}, asked("a", "navy sofa"), {"index": {"_index": "ubi_queries"}}, asked("b", " navy  sofa "), asked("c", "rug"),
    event("impression", "a"), event("click", "a"), event("click", "b"), event("add_to_cart", "a"), event("click", "c"), event("item_click", "c"),
    event("click", "d", user_query="mug"), event("search", "e", message="mu"), event("page_exit", None), asked("a", "navy sofa"),
)  # fmt: skip


def test_ubi_requests_and_clicks_become_a_log(tmp_path: Path):
    rows, said = imported("ubi", "-", stdin=ubi(*UBI))
    assert rows == [{"query": "navy sofa", "count": 2, "clicks": 2}, {"query": "mug", "count": 1, "clicks": 1}, {"query": "rug", "count": 1, "clicks": 2}]
    assert "3 queries, 4 requests, 5 clicks; 2 events belong to no request" in said
    assert all(parse(QueryCount, row) for row in rows)


def test_ubi_documents_may_come_in_any_order_and_from_several_files(tmp_path: Path):
    one, other = tmp_path / "events.ndjson", tmp_path / "queries.ndjson"
    one.write_bytes(ubi(*(document for document in UBI if "action_name" in document)))
    other.write_bytes(ubi(*(document for document in UBI if "action_name" not in document)) + b"\n")
    assert imported("ubi", one, other)[0] == imported("ubi", "-", stdin=ubi(*UBI))[0]


def test_what_counts_as_a_click_can_be_said():
    rows, _ = imported("ubi", "-", "--click", "add_to_cart", stdin=ubi(*UBI))
    assert {row["query"]: row["clicks"] for row in rows} == {"navy sofa": 1, "mug": 0, "rug": 0}


BAD_UBI = {
    "no JSON": (b"{oops\n", "<stdin>:1: not valid JSON"),
    "no object": (b"[1]\n", "<stdin>:1: is no object"),
    "neither query nor event": (ubi(asked("a", "x"), {"name": "x"}), "<stdin>:2: is neither a query"),
    "a query without its id": (ubi({"user_query": "x", "query_id": None}), "<stdin>:1: query_id: found None"),
    "a query id that is a number": (ubi({"user_query": "x", "query_id": 5}), "<stdin>:1: query_id: found 5"),
    "a query that is no text": (ubi({"user_query": 5, "query_id": "a"}), "<stdin>:1: user_query: found 5"),
    "an action that is no text": (ubi({"action_name": 5, "query_id": "a"}), "<stdin>:1: is neither a query"),
}


@pytest.mark.parametrize("case", BAD_UBI)
def test_what_is_not_ubi_is_told_with_its_line(case: str):
    content, reason = BAD_UBI[case]
    assert reason in imported("ubi", "-", code=3, stdin=content)[1]


def test_ubi_from_nothing_is_an_empty_log_and_no_file_is_missing(tmp_path: Path):
    assert imported("ubi", "-")[0] == []
    assert "nothing.ndjson: No such file" in imported("ubi", tmp_path / "nothing.ndjson", code=4)[1]


@needs("ubi", "ubi_queries_events.ndjson")
def test_the_real_ubi_sample_is_planned(tmp_path: Path):
    imported("ubi", DATA / "ubi" / "ubi_queries_events.ndjson", "-o", tmp_path / "log.jsonl")
    made = planned(tmp_path / "log.jsonl", tmp_path)
    assert made["traffic"] == sum(json.loads(line)["count"] for line in (tmp_path / "log.jsonl").read_bytes().splitlines()) > 200
    assert made["queries"] > 100


def test_every_importer_explains_itself_with_its_command():
    for name in ("wands", "esci", "ubi"):
        done = run(f"examples/importers/{name}.py", "--help")
        assert done.returncode == 0 and f"python examples/importers/{name}.py" in done.stdout.decode()
        assert f"examples/importers/{name}.py" in (ROOT / "examples/importers/README.md").read_text()
