"""Images of rows: read as pictures whatever the file is like; paths relative to the file that holds the row, kept true when rows move elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lore_cli.errors import Missing

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 64_000_000  # of a picture as its head states it; more is no product photo but a decompression bomb


def read_picture(path: Path, side: int) -> Image:
    """The picture in a file: the first frame, upright, on white where it is transparent, RGB, at most `side` pixels wide and high.

    Raises `Missing` when there is no file, it holds no whole picture, or one of more than `MOST_PIXELS`.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise Missing(f"image {path}: {picture.width} x {picture.height} pixels (allowed: {MOST_PIXELS:,})", hint="give a smaller picture")
            picture.draft("RGB", (side, side))
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I;16"):
                upright = upright.convert("I").point(lambda level: level / 256).convert("L")  # 16 bits a level
            if upright.mode in ("RGBA", "LA", "P", "PA") or "transparency" in upright.info:
                layered = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
            plain = upright.convert("RGB")
            if max(plain.size) > side:
                plain.thumbnail((side, side), Image.Resampling.BOX)
            return plain
    except Missing:
        raise
    except Exception as error:  # what decoders raise at broken files is not one family: OSError, SyntaxError, struct.error, DecompressionBombError …
        reason = error.strerror if isinstance(error, FileNotFoundError) else "not a readable picture"
        raise Missing(f"image {path}: {reason}", hint="check the path, or pass --images DIR") from error


def is_url(image: str) -> bool:
    """Whether an item's image is an address rather than a path.

    >>> is_url("HTTPS://shop.example/a.jpg"), is_url("images/a.jpg")
    (True, False)
    """
    return image[:8].casefold().startswith(("http://", "https://"))


@dataclass
class Relocation:
    """Rows whose image paths are relative to `source` go to a file in `target`. A path with no file behind it is left as it is and counted."""

    source: Path
    target: Path
    missing: int = 0

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its image path relative to the target; the same object where nothing changes."""
        image = row["item"].get("image")
        if not image or is_url(image) or os.path.isabs(image) or self.source == self.target:
            return row
        if not (self.source / image).is_file():
            self.missing += 1
            return row
        return row | {"item": row["item"] | {"image": Path(os.path.relpath(self.source / image, self.target)).as_posix()}}
