"""Studies over seeds: verdicts of several trainings held against those of what they began with, on the same pairs, seeds together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from shared.commands import lore

from lore_cli.stream import encode

METRICS = {"pass_at_1": "pass@1", "pass_at_k": "pass@8", "acc4": "greedy Acc@4", "macro_f1": "greedy Macro-F1", "adherence": "adherence"}
GOAL = 0.5  # of the gap
Metrics = dict[str, dict[str, float]]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def compared(folder: Path, gold: Path, sides: Iterable[tuple[int, Path, Path]]) -> Metrics:
    """By metric: a (before), b (after), difference, lo, hi. sides: (seed, verdicts before, verdicts after). What is pooled lies in `folder`."""
    seeds, before, after = zip(*sides, strict=True)
    folder.mkdir(parents=True, exist_ok=True)
    together = pooled(folder / "gold.jsonl", seeds, [gold] * len(seeds))
    base, verdicts = pooled(folder / "before.jsonl", seeds, before), pooled(folder / "after.jsonl", seeds, after)
    report = folder / "compared.json"
    lore("lore-rair", "compare", base, verdicts, "--gold", together, "--json", report, "--force")
    return next(entry["metrics"] for entry in json.loads(report.read_bytes())["slices"] if not entry["slice"])


def pooled(target: Path, seeds: Sequence[int], files: Sequence[Path]) -> Path:
    """Rows of all seeds in one file, each with its seed in its id; verdicts as if one judge had given them all."""

    def rows() -> Iterator[dict[str, object]]:
        for seed, file in zip(seeds, files, strict=True):
            for row in lines(file):
                yield row | {"id": f"{row['id']}#{seed}"} | ({"judge": target.stem} if "judge" in row else {})

    target.write_bytes(b"".join(map(encode, rows())))
    return target


def cells(found: Metrics) -> list[str]:
    """Each metric with its difference and interval, as a row of a table has them."""
    return [f"{found[name]['b']:.3f} ({found[name]['difference']:+.3f} [{found[name]['lo']:+.3f}, {found[name]['hi']:+.3f}])" for name in METRICS]


def closed(found: Metrics) -> float:
    """(pass@1 − pass@1 before) / (pass@8 before − pass@1 before)."""
    return found["pass_at_1"]["difference"] / (found["pass_at_k"]["a"] - found["pass_at_1"]["a"])


def counts(model: Path) -> dict[str, float]:
    """What the run that made a model counted."""
    return dict(json.loads((model.parent / f"{model.name}.manifest.json").read_bytes())["counts"])
