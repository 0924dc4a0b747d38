"""Colour names: the palette, CIELAB, the main colour of some pixels and its name."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PALETTE: dict[str, tuple[str, ...]] = {
    "black": ("101010", "1c1c1e"), "white": ("ffffff", "f7f7f7"), "grey": ("808080", "8e8e90"), "charcoal": ("3a3d42", "45484c"), "silver": ("b8bcc2", "c0c0c0"),
    "blue": ("1f5fd6", "3a6fd0"), "navy": ("141f52", "1b2544"), "cobalt": ("0a2ea0", "0047ab"), "sky blue": ("87ceeb", "8fc4ee"), "lake blue": ("2f95c2", "3a8fb7"),
    "teal": ("008080", "0b7a7d"), "green": ("2e8b45", "228b22"), "olive": ("6b6e2e", "5f6b3a"), "mint": ("a2e4c4", "98e0c0"), "red": ("d01f28", "c81e1e"),
    "burgundy": ("731529", "800020"), "pink": ("f8aac4", "ffb6c1"), "rose": ("d65a78", "c9637f"), "orange": ("f0821e", "f28c28"), "yellow": ("f9da3c", "f2d230"),
    "gold": ("c8a032", "cfa43a"), "brown": ("643e24", "6b4226"), "tan": ("be9162", "c19a6b"), "beige": ("dac6a2", "d9c7a8"), "ivory": ("f6eed6", "f5efdc"),
    "purple": ("763498", "6f3fa0"),
}  # fmt: skip

FADED = {"navy": ("1d2233", "252c3c", "2a3346", "3a4a60"), "grey": ("6a6c70",), "blue": ("566a9c",)}
"""What photos show of dyed cloth beside the palette's own notion [ours]."""
SHADED_LIGHT, SHADED_CHROMA = 0.5, 45.0  # in photos a strong colour (CIELAB chroma) is seen at half its light as well as in full


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


def main_colour(colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The main colour of [n, 3] CIELAB values with weights [n]: of the three fullest cells of a coarse histogram, the one with most weight within 10 of it."""
    import numpy as np

    cells = np.floor(colours / 9.0).astype(np.int64) + 64
    keys = (cells[:, 0] << 14) | (cells[:, 1] << 7) | cells[:, 2]
    _, owners = np.unique(keys, return_inverse=True)
    counts = np.bincount(owners, weights)
    best, most = colours[0], -1.0
    for cell in np.argsort(-counts, kind="stable")[:3]:
        centre = colours[owners == cell].mean(axis=0)
        near = distance(colours, centre, lightness=1.0) < 10
        centre = colours[near].mean(axis=0) if near.any() else centre
        total = float(weights[distance(colours, centre, lightness=1.0) < 10].sum())
        if total > most:
            best, most = centre, total
    return np.asarray(best)


@lru_cache(maxsize=8)
def _palette(names: tuple[str, ...], photo: bool) -> Any:
    import numpy as np

    entries = [(name, code) for name in names for code in (*PALETTE[name], *(FADED.get(name, ()) if photo else ()))]
    codes = np.array([[int(code[at : at + 2], 16) / 255 for at in (0, 2, 4)] for _, code in entries], dtype=np.float32)
    labels, colours = [name for name, _ in entries], to_lab(codes)
    if photo:
        strong = np.hypot(colours[:, 1], colours[:, 2]) > SHADED_CHROMA
        labels += [name for name, is_strong in zip(labels, strong, strict=True) if is_strong]
        colours = np.concatenate([colours, to_lab(_encoded(_linear()[np.rint(codes[strong] * 255).astype(np.uint8)] * SHADED_LIGHT))])
    return labels, colours


def _encoded(linear: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] of linear light."""
    import numpy as np

    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def colour_name(colour: np.ndarray, names: tuple[str, ...], photo: bool = False) -> str:
    """The name among `names` whose palette entry is nearest to a CIELAB colour; '' without names. photo: under the light of a room, not of a studio."""
    if not names:
        return ""
    labels, colours = _palette(names, photo)
    return labels[int(distance(colours, colour, lightness=0.9).argmin())]


def distance(colours: np.ndarray, centre: np.ndarray, lightness: float) -> np.ndarray:
    """CIELAB distance of [..., 3] to one colour; lightness counts `lightness` times, since light on a product varies more than its hue."""
    import numpy as np

    light, a, b = (colours[..., channel] - centre[channel] for channel in range(3))
    return np.sqrt((lightness * light) ** 2 + a * a + b * b)
