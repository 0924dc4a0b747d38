"""How often the embedded captioner names real photos as a person does, and what a photo costs.

    python benchmarks/captioner.py PHOTOS             the table; PHOTOS is a folder of the photos that tests/photos.json names
    python benchmarks/captioner.py PHOTOS --write     and put it in docs/results.md

tests/photos.json holds the colours and patterns that a person who looked at each photo would accept; '' is a pattern that the rulebook has no name for.
They were written before the captioner's thresholds for photos were chosen, on these same photos: expect a little less on others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Collection
from pathlib import Path

from shared import sections

from lore_cli.rulebook import load_rulebook
from lore_cli.synth.captioner import caption


def parts(said: str, patterns: Collection[str]) -> tuple[str, str]:
    """(pattern or '', main colour) of a caption: `striped navy and white` → ('striped', 'navy')."""
    first, _, rest = said.partition(" ")
    pattern, colours = (first, rest) if first in patterns else ("", said)
    return pattern, colours.partition(" and ")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of photos, in folders or not")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where, rulebook = sections.machine(), load_rulebook()
    seen = json.loads((sections.ROOT / "tests" / "photos.json").read_text("utf-8"))
    files = [file for file in sorted(given.photos.rglob("*.jpg")) if file.stem in seen]
    colours, patterns, spent = [], [], []
    for file in files:
        start = time.process_time()
        said = caption(file, rulebook)
        spent.append((time.process_time() - start) * 1000)
        pattern, colour = parts(said, rulebook.table("pattern").canonical)
        colours.append(colour in seen[file.stem]["colours"])
        patterns.append(pattern in seen[file.stem]["patterns"])
    rows = [[name, f"{sum(hits) / len(hits):.2f} ({sum(hits)} of {len(hits)})"] for name, hits in (("main colour", colours), ("pattern", patterns))]
    body = f"{sections.markdown(['', 'accepted by a person'], rows)}\n\nReal photos of clothes, thresholds chosen on them. Median {statistics.median(spent):.1f} ms of processor time a photo."
    sections.publish("captioner", "The embedded captioner on real photos", "python benchmarks/captioner.py PHOTOS", body, where, given.write)


if __name__ == "__main__":
    main()
