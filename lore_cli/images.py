"""Image paths in rows: relative to the file that holds the row, and kept true when rows move to a file elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Relocation:
    """Rows whose image paths are relative to `source` go to a file in `target`. A path with no file behind it is left as it is and counted."""

    source: Path
    target: Path
    missing: int = 0

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its image path relative to the target; the same object where nothing changes."""
        image = row["item"].get("image")
        if not image or os.path.isabs(image) or self.source == self.target:
            return row
        if not (self.source / image).is_file():
            self.missing += 1
            return row
        return row | {"item": row["item"] | {"image": Path(os.path.relpath(self.source / image, self.target)).as_posix()}}
