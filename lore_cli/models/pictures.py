"""Pictures as models are given them: checked, turned upright, at most 1024 pixels a side, without transparency or metadata [ours]."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from lore_cli.errors import require

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_BYTES, LARGEST_PIXELS = 20 << 20, 20_000_000
SIDE = 1024  # pixels: about what vision models look at
_QUALITY = 90


class BadPicture(Exception):
    """An image file that cannot be shown to a model. The text names the file and says why."""


def open_picture(path: Path) -> Image:
    """The picture of a file as RGB, its first frame, over white where it is transparent, no side longer than `SIDE`.

    Raises `BadPicture` for a file that is missing, over 20 MiB or 20 megapixels, or no picture, and `Missing` without Pillow.
    """
    require("PIL", "vision")
    from PIL import Image, ImageOps

    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise BadPicture(f"image {path.name}: {size / (1 << 20):.0f} MiB (at most {LARGEST_BYTES >> 20})")
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), Image.open(path) as image:
            width, height = image.size
            if width * height > LARGEST_PIXELS:
                raise BadPicture(f"image {path.name}: {width} × {height} pixels (at most {LARGEST_PIXELS // 1_000_000} megapixels)")
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((SIDE, SIDE))
            seen = upright.convert("RGBA")
    except BadPicture:
        raise
    except OSError as error:
        raise BadPicture(f"image {path.name}: {error.strerror or 'not a picture that can be read'}") from error
    except Exception as error:  # Pillow's readers raise whatever they stumble over in a damaged file
        raise BadPicture(f"image {path.name}: not a picture that can be read") from error
    white = Image.new("RGBA", seen.size, "white")
    return Image.alpha_composite(white, seen).convert("RGB")


def data_url(path: Path) -> str:
    """The picture of a file as a `data:` URL holding a JPEG. Raises as `open_picture` does."""
    content = io.BytesIO()
    open_picture(path).save(content, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
