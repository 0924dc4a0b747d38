"""The embedded captioner: main colour and pattern of the product in a picture, by pixel statistics. No model.

It serves where no vision model is given. What it does [ours]: the border of the picture gives the background; what differs from it,
shadow aside, is the product; the most frequent colour of the product is named after the nearest palette entry in CIELAB; what differs from
that colour is a second tone, whose edges tell stripes, checks, zigzag, dots and flowers apart. It names only colours and patterns that the
rulebook lists, and says nothing about what the thing is.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lore_cli.errors import Missing
from lore_cli.rulebook import Rulebook

if TYPE_CHECKING:
    import numpy as np

VERSION = "pixels-2"
SIDE = 64  # pixels; larger pictures are reduced to it
BACKGROUND_GAP = 7.0  # CIELAB distance from the background at which a pixel is the product's
TONE_GAP = 13.0  # distance from the main colour at which a pixel is the pattern's
SEPARATION = 2.4  # distance of two tones over the sum of their spreads, from which they are two
DISCS, PETALS = 0.66, 0.42  # share of its bounding box that a dot fills at least, a flower; less are pieces of lines: crossings, corners
PLAIN_SHARE = 0.07  # a second tone on less of the product is light and shadow

PALETTE: dict[str, tuple[str, ...]] = {
    "black": ("101010", "1c1c1e"), "white": ("ffffff", "f7f7f7"), "grey": ("808080", "8e8e90"), "charcoal": ("3a3d42", "45484c"), "silver": ("b8bcc2", "c0c0c0"),
    "blue": ("1f5fd6", "3a6fd0"), "navy": ("141f52", "1b2544"), "cobalt": ("0a2ea0", "0047ab"), "sky blue": ("87ceeb", "8fc4ee"), "lake blue": ("2f95c2", "3a8fb7"),
    "teal": ("008080", "0b7a7d"), "green": ("2e8b45", "228b22"), "olive": ("6b6e2e", "5f6b3a"), "mint": ("a2e4c4", "98e0c0"), "red": ("d01f28", "c81e1e"),
    "burgundy": ("731529", "800020"), "pink": ("f8aac4", "ffb6c1"), "rose": ("d65a78", "c9637f"), "orange": ("f0821e", "f28c28"), "yellow": ("f9da3c", "f2d230"),
    "gold": ("c8a032", "cfa43a"), "brown": ("643e24", "6b4226"), "tan": ("be9162", "c19a6b"), "beige": ("dac6a2", "d9c7a8"), "ivory": ("f6eed6", "f5efdc"),
    "purple": ("763498", "6f3fa0"),
}  # fmt: skip


def caption(path: Path, rulebook: Rulebook) -> str:
    """`striped navy`: pattern and main colour of the product in a picture file. Raises `Missing` when it cannot be read as a picture."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (SIDE, SIDE))
            if picture.mode in ("RGBA", "LA", "P"):
                layered = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)  # type: ignore[assignment]
            plain = picture.convert("RGB")
            if max(plain.size) > SIDE:
                plain.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
            pixels = np.asarray(plain, dtype=np.float32) / 255
    except Exception as error:  # what decoders raise at broken files is not one family: OSError, SyntaxError, struct.error, DecompressionBombError …
        reason = error.strerror if isinstance(error, FileNotFoundError) else "not a readable picture"
        raise Missing(f"image {path}: {reason}", hint="check the path, or pass --images DIR") from error
    colour, pattern = describe(pixels, tuple(name for name in PALETTE if name in rulebook.table("colour").kinds or name in rulebook.table("colour").canonical))
    return " ".join(word for word in (pattern if pattern in rulebook.table("pattern").canonical else "", colour) if word)


def describe(pixels: np.ndarray, names: tuple[str, ...]) -> tuple[str, str]:
    """(colour name, pattern name) of a picture, float RGB in [0, 1], shape [height, width, 3]."""

    lab = to_lab(pixels)
    inside = foreground(pixels, lab)
    core = inside & _shift_all(inside)
    if core.sum() < 12:
        core = inside
    main = _mode(lab[core], _central(core.shape)[core])
    colour = _nearest(main, names)
    gap = _distance(lab, main, lightness=0.8)
    tone = core & (gap > TONE_GAP)
    share = float(tone.sum()) / max(int(core.sum()), 1)
    if share < PLAIN_SHARE:
        return colour, "plain"
    return colour, _pattern(core, tone) if _two_tones(lab, core, tone) else ""


def to_lab(pixels: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB values in [0, 1]; shape [..., 3] both."""
    import numpy as np

    linear = _linear()[np.rint(pixels * 255).astype(np.uint8)]
    matrix = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]], dtype=np.float32)
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883], dtype=np.float32)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@lru_cache(maxsize=1)
def _linear() -> Any:
    """Linear light of the 256 sRGB levels."""
    import numpy as np

    levels = np.arange(256, dtype=np.float32) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(np.float32)


def foreground(pixels: np.ndarray, lab: np.ndarray) -> np.ndarray:
    """Which pixels are the product's, bool [height, width]: unlike the border's median colour and no shadow on it. All of the middle when nothing stands out."""
    import numpy as np

    border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, :2].reshape(-1, 3), pixels[:, -2:].reshape(-1, 3)])
    ground = np.median(border, axis=0)
    gap = _distance(lab, to_lab(ground), lightness=1.0)
    red, green, blue = (pixels[..., channel] / max(float(ground[channel]), 0.02) for channel in range(3))
    light = (red + green + blue) / 3
    tint = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    shadow = (tint < 0.045) & (light > 0.72) & (light < 1.02) if ground.mean() > 0.5 else np.zeros(gap.shape, dtype=bool)
    found = (gap > BACKGROUND_GAP) & ~shadow
    neighbours = sum(np.roll(found, step, axis).astype(np.int8) for step in (-1, 1) for axis in (0, 1))
    found = (found & (neighbours >= 2)) | (neighbours >= 4)
    if found.mean() < 0.02 or found.mean() > 0.97:
        height, width = found.shape
        y, x = np.mgrid[0:height, 0:width]
        found = ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) < 0.3**2
        found |= not found.any()  # pictures of a pixel or two
    return found


def _shift_all(mask: np.ndarray) -> np.ndarray:
    """True where all four neighbours are; never on the picture's rim."""
    import numpy as np

    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1] = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return inner


def _mode(colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The main colour of [n, 3] CIELAB values with weights [n]: of the three fullest cells of a coarse histogram, the one with most weight within 10 of it."""
    import numpy as np

    cells = np.floor(colours / 9.0).astype(np.int64) + 64
    keys = (cells[:, 0] << 14) | (cells[:, 1] << 7) | cells[:, 2]
    _, owners = np.unique(keys, return_inverse=True)
    counts = np.bincount(owners, weights)
    best, most = colours[0], -1.0
    for cell in np.argsort(-counts, kind="stable")[:3]:
        centre = colours[owners == cell].mean(axis=0)
        near = _distance(colours, centre, lightness=1.0) < 10
        centre = colours[near].mean(axis=0) if near.any() else centre
        total = float(weights[_distance(colours, centre, lightness=1.0) < 10].sum())
        if total > most:
            best, most = centre, total
    return np.asarray(best)


def _central(shape: tuple[int, ...]) -> np.ndarray:
    """Weight of each pixel, [height, width]: the middle of a picture is the product's more surely than its rim."""
    import numpy as np

    y, x = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None], np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    return np.exp(-1.5 * (x**2 + y**2))


@lru_cache(maxsize=4)
def _palette(names: tuple[str, ...]) -> Any:
    import numpy as np

    entries = [(name, code) for name in names for code in PALETTE[name]]
    codes = np.array([[int(code[at : at + 2], 16) / 255 for at in (0, 2, 4)] for _, code in entries], dtype=np.float32)
    return [name for name, _ in entries], to_lab(codes)


def _nearest(colour: np.ndarray, names: tuple[str, ...]) -> str:
    if not names:
        return ""
    labels, colours = _palette(names)
    return labels[int(_distance(colours, colour, lightness=0.9).argmin())]


def _distance(colours: np.ndarray, centre: np.ndarray, lightness: float) -> np.ndarray:
    """CIELAB distance of [..., 3] to one colour; lightness counts `lightness` times, since light on a product varies more than its hue."""
    import numpy as np

    light, a, b = (colours[..., channel] - centre[channel] for channel in range(3))
    return np.sqrt((lightness * light) ** 2 + a * a + b * b)


def _two_tones(lab: np.ndarray, core: np.ndarray, tone: np.ndarray) -> bool:
    """Whether second tone and main colour are two colours, not the light and dark of one: they lie further apart than each is spread, and few pixels lie between."""
    import numpy as np

    one, other = lab[core & ~tone], lab[tone]
    between = other.mean(axis=0) - one.mean(axis=0)
    length = float(np.linalg.norm(between))
    spread = float(((one - one.mean(axis=0)) @ between).std() + ((other - other.mean(axis=0)) @ between).std()) / max(length, 1e-6)
    return length > SEPARATION * spread


def _pattern(core: np.ndarray, tone: np.ndarray) -> str:
    """Which pattern the second tone makes, by the directions of its edges (share of gradient energy near 0, 45, 90 and 135 degrees)."""
    import numpy as np

    level = tone.astype(np.float32)
    smooth = (4 * level + 2 * sum(np.roll(level, s, a) for s in (-1, 1) for a in (0, 1)) + sum(np.roll(level, (s, t), (0, 1)) for s in (-1, 1) for t in (-1, 1))) / 16
    down = np.roll(smooth, -1, 0) - np.roll(smooth, 1, 0)
    across = np.roll(smooth, -1, 1) - np.roll(smooth, 1, 1)
    inner = core & _shift_all(core)
    inner &= _shift_all(inner)
    energy = (down**2 + across**2) * inner
    if energy.sum() <= 0:
        return "plain"
    closed, fill = _blobs(tone & core, core)
    if closed > 0.5 and fill > PETALS:
        return "dotted" if fill > DISCS else "floral"
    angle = np.arctan2(down, across) % np.pi
    sector = np.floor((angle + np.pi / 8) / (np.pi / 4)).astype(np.int64) % 4
    flat, rising, upright, falling = (float(energy[sector == number].sum() / energy.sum()) for number in range(4))
    if max(flat, rising, upright, falling) > 0.66:
        return "striped"
    return "zigzag" if rising + falling > flat + upright else "checked"


def _blobs(tone: np.ndarray, core: np.ndarray) -> tuple[float, float]:
    """(share of the second tone in separate spots about as wide as high, median share of its bounding box that a spot fills: 0.79 for discs, less for petals).

    What touches the product's edge may be cut, and counts for neither side unless it is long.
    """
    import numpy as np

    labels = np.where(tone, np.arange(1, tone.size + 1).reshape(tone.shape), 0)
    for _ in range(24):
        spread = labels.copy()
        np.maximum(spread[1:], labels[:-1], out=spread[1:])
        np.maximum(spread[:-1], labels[1:], out=spread[:-1])
        np.maximum(spread[:, 1:], labels[:, :-1], out=spread[:, 1:])
        np.maximum(spread[:, :-1], labels[:, 1:], out=spread[:, :-1])
        spread *= tone
        if np.array_equal(spread, labels):
            break
        labels = spread
    edge = core & ~_shift_all(core)
    rows, columns = np.nonzero(tone)
    order = np.argsort(labels[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    starts = np.flatnonzero(np.diff(labels[rows, columns], prepend=0))
    ends = np.append(starts[1:], len(rows))
    heights = np.maximum.reduceat(rows, starts) - np.minimum.reduceat(rows, starts) + 1
    widths = np.maximum.reduceat(columns, starts) - np.minimum.reduceat(columns, starts) + 1
    cuts = np.maximum.reduceat(edge[rows, columns].astype(np.int8), starts) > 0
    extent = min(np.ptp(axis) + 1 for axis in np.nonzero(core))
    areas, longer = ends - starts, np.maximum(heights, widths)
    line = (longer > 0.6 * extent) | (longer > 2.5 * np.minimum(heights, widths))
    lines = int(areas[line & ~(cuts & (longer < 0.3 * extent))].sum())
    spot = ~line & ~cuts & (areas >= 5)
    spots = int(areas[spot].sum())
    fill = float(np.median(areas[spot] / (heights * widths)[spot])) if spots else 0.0
    return (spots / (spots + lines) if spots + lines else 0.0), fill
