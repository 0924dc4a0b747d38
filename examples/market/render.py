"""Product pictures: a plain silhouette per class in the product's true colour and pattern, on a grey background with shadow and noise.

Colours are the usual sRGB notions of their names; the pattern's second colour is neutral, so the main colour keeps the larger area.
"""

from __future__ import annotations

import io
import random
from functools import lru_cache
from typing import Any

import numpy as np
from catalogue import Product
from silhouettes import SIZE, draw

PALETTE: dict[str, tuple[int, int, int]] = {
    "black": (22, 22, 24),
    "white": (250, 250, 250),
    "grey": (130, 130, 132),
    "charcoal": (62, 65, 70),
    "blue": (40, 95, 215),
    "navy": (20, 33, 85),
    "cobalt": (10, 45, 165),
    "sky blue": (135, 200, 240),
    "lake blue": (45, 150, 195),
    "teal": (0, 125, 125),
    "green": (40, 145, 65),
    "olive": (105, 110, 45),
    "mint": (160, 228, 195),
    "red": (210, 30, 38),
    "burgundy": (115, 20, 42),
    "pink": (247, 170, 195),
    "rose": (215, 90, 120),
    "orange": (240, 130, 30),
    "yellow": (248, 218, 60),
    "gold": (200, 160, 50),
    "silver": (180, 184, 192),
    "brown": (100, 62, 36),
    "tan": (190, 145, 98),
    "beige": (218, 198, 162),
    "ivory": (246, 238, 214),
    "purple": (118, 52, 152),
}
BACKGROUND = (216, 215, 212)
ACCENT_DARK, ACCENT_LIGHT = (70, 70, 72), (244, 244, 242)
NOISE = 3  # grey levels, either way


def picture(product: Product, seed: int) -> bytes:
    """The PNG of a product, SIZE x SIZE, RGB. Deterministic in (seed, product)."""
    from PIL import Image

    rng = random.Random(f"{seed}:picture:{product.id}")
    truth = product.truth
    mask, shade, shadow = _form(product.category, truth.get("shape-fit", ("",))[0], truth.get("size-specification", ("",))[0])
    base = np.array(PALETTE[truth["colour"][0]], dtype=np.float32)
    accent = np.array(ACCENT_DARK if base.mean() > 140 else ACCENT_LIGHT, dtype=np.float32)
    stamp = _pattern(truth["pattern"][0], rng.randrange(4))[..., None]
    grain = np.roll(_texture(seed), (rng.randrange(SIZE), rng.randrange(SIZE)), (0, 1))
    surface = (base * (1 - stamp) + accent * stamp) * shade[..., None]
    ground = np.array(BACKGROUND, dtype=np.float32) * shadow[..., None]
    pixels = ground * (1 - mask[..., None]) + surface * mask[..., None] + grain[..., None]
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@lru_cache(maxsize=None)
def _form(category: str, shape: str, size: str) -> tuple[Any, Any, Any]:
    """Of a silhouette: coverage in [0, 1], light on it, and the background's light with the shadow, all float32 [SIZE, SIZE]."""
    mask = draw(category, shape, size)
    across = np.linspace(1.07, 0.93, SIZE, dtype=np.float32)
    shade = np.broadcast_to(across, (SIZE, SIZE)) * np.linspace(1.03, 0.97, SIZE, dtype=np.float32)[:, None]
    fallen = np.zeros_like(mask)
    fallen[3:, 3:] = mask[:-3, :-3]
    edge = mask - np.minimum.reduce([mask, np.roll(mask, 1, 0), np.roll(mask, -1, 0), np.roll(mask, 1, 1), np.roll(mask, -1, 1)])
    return mask, shade * (1 - 0.18 * edge), 1 - 0.16 * fallen


@lru_cache(maxsize=None)
def _pattern(name: str, phase: int) -> Any:
    """Where the second colour stands, float32 [SIZE, SIZE] in [0, 1]; about a quarter to a third of the area."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + phase * 2
    if name == "striped":
        stamp = (x % 9) < 3
    elif name == "checked":
        stamp = ((x % 12) < 3) | ((y % 12) < 3)
        return (stamp * 0.55 + (((x % 12) < 3) & ((y % 12) < 3)) * 0.45).astype(np.float32)
    elif name == "dotted":
        stamp = _discs(x, y, 10, 2.9)
    elif name == "floral":
        petals = [_discs(x + dx, y + dy, 14, 2.2) for dx, dy in ((0, 3), (0, -3), (3, 0), (-3, 0))]
        stamp = np.logical_or.reduce(petals)
    elif name == "zigzag":
        stamp = ((y + np.abs(x % 12 - 6)) % 10) < 3
    else:
        stamp = np.zeros((SIZE, SIZE), dtype=bool)
    return stamp.astype(np.float32)


def _discs(x: Any, y: Any, step: int, radius: float) -> Any:
    row = np.floor(y / step)
    across = (x + (row % 2) * step / 2) % step - step / 2
    return across**2 + (y % step - step / 2) ** 2 < radius**2


@lru_cache(maxsize=1)
def _texture(seed: int) -> Any:
    """The noise that every picture shifts to a place of its own."""
    return np.random.default_rng(seed).integers(-NOISE, NOISE + 1, (SIZE, SIZE)).astype(np.float32)
