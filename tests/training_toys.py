"""What the tests of the training rooms share: a toy shop whose grades follow from colour and product, and a model taught on it once per session."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import orjson
import torch

from lore_cli import answer
from lore_cli.answer import Layout
from lore_cli.path.follow import follow
from lore_cli.path.needs import construct
from lore_cli.prompts import pair_prompt
from lore_cli.records import Pair, parse
from lore_cli.rulebook import load_rulebook
from lore_cli.train import encoder, scratch

torch.set_num_threads(1)  # toy models: threads that wait for each other on a busy machine cost more than they help
COLOURS = ("red", "blue", "green", "white")
PRODUCTS = ("lamp", "sofa", "rug")
RULEBOOK = load_rulebook()


def pairs(count: int = 48) -> list[dict]:
    """Graded pairs by the expert. The item has the query's product, its colour, both or neither, in turn."""
    rows = []
    for number in range(count):
        colour, product = COLOURS[number % 4], PRODUCTS[number // 4 % 3]
        other_colour, other_product = COLOURS[(number + 1) % 4], PRODUCTS[(number // 4 + 1) % 3]
        sold, tint = ((product, colour), (product, other_colour), (other_product, colour), (product, None))[number // 12 % 4]
        item = {"id": f"i{number}", "title": f"{tint or ''} {sold}".strip(), "category": sold}
        row = {"id": f"p{number}", "query": f"{colour} {product}", "item": item}
        rows.append({**row, "grade": implied(row).grade})
    return rows


def implied(row: dict) -> answer.Answer:
    """The expert's answer."""
    pair = parse(Pair, row)
    return answer.implied(follow(construct(pair.query, RULEBOOK), pair.item, RULEBOOK), RULEBOOK)


def traces(count: int = 48, layout: Layout = "answer-last") -> list[dict]:
    """Pairs with the text to learn."""
    return [{**row, "prompt": pair_prompt(parse(Pair, row), RULEBOOK), "completion": answer.render(implied(row), layout)} for row in pairs(count)]


def names(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {path.name for path in folder.iterdir()}


def write(path: Path, rows: list[dict]) -> Path:
    """A JSONL file."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def read(path: Path) -> list[dict]:
    """The rows of a JSONL file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


@contextmanager
def at_toy_size() -> Iterator[None]:
    """`--from-scratch tiny` builds models of 0.1M weights in the meantime: what these tests show does not depend on the size."""
    kept = scratch.SIZES["tiny"], encoder.SIZES["tiny"]
    scratch.SIZES["tiny"], encoder.SIZES["tiny"] = scratch.Size(64, 2, 2, 128, 400), encoder.Size(64, 2, 2, 500)
    try:
        yield
    finally:
        scratch.SIZES["tiny"], encoder.SIZES["tiny"] = kept


@lru_cache(maxsize=1)
def graded_by_label() -> Path:
    """A from-scratch model directory that answers with a grade line, right about as often as not: enough for rewards to differ."""
    from commands_run import lore

    folder = Path(tempfile.mkdtemp(prefix="lore-toy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rows = write(folder / "labels.jsonl", traces(48, "label-only"))
    with at_toy_size():
        done = lore("lore-sft", rows, "--from-scratch", "tiny", "--max-steps", 20, "--batch-tokens", 512, "--seed", 1, "-o", folder / "model")
    assert done.code == 0, done.err
    return folder / "model"
