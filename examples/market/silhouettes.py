"""Silhouettes of the product classes, drawn with a few shapes in a unit of 64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SIZE = 64
SCALE = 3  # drawn larger and reduced, for soft edges
Box = tuple[float, float, float, float]


class Pen:
    """A canvas of SIZE x SIZE units: shapes add to the silhouette, `hole` takes away."""

    def __init__(self) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("L", (SIZE * SCALE, SIZE * SCALE), 0)
        self._draw = ImageDraw.Draw(self.image)

    def box(self, *corners: float, radius: float = 3, hole: bool = False) -> None:
        self._draw.rounded_rectangle([c * SCALE for c in corners], radius * SCALE, fill=0 if hole else 255)

    def disc(self, *corners: float, hole: bool = False) -> None:
        self._draw.ellipse([c * SCALE for c in corners], fill=0 if hole else 255)

    def area(self, *points: tuple[float, float], hole: bool = False) -> None:
        self._draw.polygon([(x * SCALE, y * SCALE) for x, y in points], fill=0 if hole else 255)

    def ring(self, *corners: float, width: float, start: float = 0, end: float = 360) -> None:
        self._draw.arc([c * SCALE for c in corners], start, end, fill=255, width=round(width * SCALE))

    def coverage(self) -> Any:
        """Float32 [SIZE, SIZE] in [0, 1]."""
        cells = np.asarray(self.image, dtype=np.float32).reshape(SIZE, SCALE, SIZE, SCALE)
        return cells.mean(axis=(1, 3)) / 255


def draw(category: str, shape: str, size: str) -> Any:
    """The silhouette of a class; arms, outline, fit and seats change it."""
    pen = Pen()
    _FORMS[category](pen, shape, size)
    return pen.coverage()


def _sofa(pen: Pen, shape: str, size: str) -> None:
    reach = {"2": 20, "3": 26, "4": 29}.get(size[:1], 26)
    left, right = 32 - reach, 32 + reach
    pen.box(left + 3, 20, right - 3, 38)
    pen.box(left, 35, right, 48)
    pen.box(left + 3, 48, left + 7, 53, radius=1)
    pen.box(right - 7, 48, right - 3, 53, radius=1)
    if shape != "armless":
        pen.box(left - 2, 27, left + 6, 49)
        pen.box(right - 6, 27, right + 2, 49)


def _sofa_bed(pen: Pen, shape: str, size: str) -> None:
    _sofa(pen, shape, size)
    pen.area((12, 46), (52, 46), (60, 58), (4, 58))


def _futon(pen: Pen, shape: str, size: str) -> None:
    pen.area((8, 24), (56, 24), (56, 40), (8, 40))
    pen.box(4, 38, 60, 50, radius=2)


def _sofa_cover(pen: Pen, shape: str, size: str) -> None:
    pen.box(8, 18, 56, 40, radius=6)
    pen.area((4, 30), (60, 30), (63, 56), (55, 53), (48, 57), (40, 53), (32, 57), (24, 53), (16, 57), (9, 53), (1, 56))


def _armchair(pen: Pen, shape: str, size: str) -> None:
    pen.box(18, 12, 46, 40, radius=6)
    pen.box(16, 36, 48, 50)
    pen.box(11, 28, 19, 51)
    pen.box(45, 28, 53, 51)
    pen.box(15, 51, 18, 57, radius=1)
    pen.box(46, 51, 49, 57, radius=1)


def _desk_lamp(pen: Pen, shape: str, size: str) -> None:
    pen.area((20, 10), (46, 10), (56, 30), (14, 30))
    pen.box(31, 30, 36, 52, radius=1)
    pen.box(18, 51, 49, 58)


def _floor_lamp(pen: Pen, shape: str, size: str) -> None:
    pen.area((20, 4), (44, 4), (52, 22), (12, 22))
    pen.box(29, 22, 35, 57, radius=1)
    pen.box(18, 56, 46, 61)


def _flat(pen: Pen, shape: str, size: str) -> None:
    """Rugs, cushions: what has an outline and little else."""
    if shape == "round":
        pen.disc(9, 9, 55, 55)
    elif shape == "oval":
        pen.disc(4, 14, 60, 50)
    elif shape == "square":
        pen.box(10, 10, 54, 54, radius=4)
    else:
        pen.box(4, 15, 60, 49, radius=2)


def _cushion_cover(pen: Pen, shape: str, size: str) -> None:
    _flat(pen, "rectangular" if shape == "rectangular" else "square", size)
    pen.area((40, 54), (54, 40), (54, 54), hole=True)


def _curtain(pen: Pen, shape: str, size: str) -> None:
    pen.box(4, 6, 60, 10, radius=1)
    pen.area((7, 10), (29, 10), (24, 58), (5, 58))
    pen.area((35, 10), (57, 10), (59, 58), (40, 58))


def _mug(pen: Pen, shape: str, size: str) -> None:
    pen.ring(36, 22, 58, 46, width=5)
    pen.box(12, 14, 45, 54, radius=4)


def _tumbler(pen: Pen, shape: str, size: str) -> None:
    top = {"350": 18, "700": 8}.get(size[:3], 12)
    pen.box(17, top, 47, top + 6, radius=2)
    pen.area((19, top + 7), (45, top + 7), (41, 58), (23, 58))


def _backpack(pen: Pen, shape: str, size: str) -> None:
    pen.ring(24, 4, 40, 20, width=4, start=180, end=360)
    pen.box(13, 11, 51, 56, radius=11)
    pen.box(8, 30, 15, 52)
    pen.box(49, 30, 56, 52)


def _backpack_cover(pen: Pen, shape: str, size: str) -> None:
    pen.disc(9, 8, 55, 58)
    pen.box(9, 36, 55, 56, radius=10)


def _dress(pen: Pen, shape: str, size: str) -> None:
    hem = {"slim": 11, "loose": 17, "a-line": 23}.get(shape, 17)
    pen.area((22, 6), (27, 6), (32, 13), (37, 6), (42, 6), (44, 18), (39, 30), (32 + hem, 59), (32 - hem, 59), (25, 30), (20, 18))


def _skirt(pen: Pen, shape: str, size: str) -> None:
    hem = 15 if shape == "slim" else 27
    pen.box(20, 12, 44, 17, radius=1)
    pen.area((20, 17), (44, 17), (32 + hem, 54), (32 - hem, 54))


def _top(pen: Pen, shape: str, size: str) -> None:
    wide = {"slim": 13, "loose": 19}.get(shape, 16)
    left, right = 32 - wide, 32 + wide
    pen.box(left, 12, right, 57, radius=2)
    pen.area((left + 2, 11), (left - 8, 20), (left - 11, 46), (left - 4, 47), (left + 4, 26))
    pen.area((right - 2, 11), (right + 8, 20), (right + 11, 46), (right + 4, 47), (right - 4, 26))


def _shirt(pen: Pen, shape: str, size: str) -> None:
    _top(pen, shape, size)
    pen.area((27, 9), (32, 20), (37, 9), hole=True)
    pen.box(31.5, 20, 32.5, 57, radius=0, hole=True)


def _sweater(pen: Pen, shape: str, size: str) -> None:
    _top(pen, shape, size)
    if shape == "v-neck":
        pen.area((25, 10), (32, 24), (39, 10), hole=True)
    else:
        pen.disc(25, 6, 39, 16, hole=True)


def _cardigan(pen: Pen, shape: str, size: str) -> None:
    _top(pen, shape, size)
    pen.area((25, 10), (32, 30), (39, 10), hole=True)
    pen.box(30.5, 28, 33.5, 58, radius=0, hole=True)


def _sneakers(pen: Pen, shape: str, size: str) -> None:
    sole = 8 if shape == "chunky" else 4
    pen.area((8, 18), (22, 18), (30, 28), (52, 35), (58, 42), (58, 48), (6, 48))
    pen.box(5, 46, 60, 46 + sole, radius=2)


def _serum(pen: Pen, shape: str, size: str) -> None:
    pen.box(28, 4, 36, 16, radius=3)
    pen.box(25, 15, 39, 24, radius=1)
    pen.box(18, 25, 46, 59, radius=5)


def _jar(pen: Pen, shape: str, size: str) -> None:
    pen.box(11, 16, 53, 29, radius=3)
    pen.box(13, 30, 51, 54, radius=6)


def _lipstick(pen: Pen, shape: str, size: str) -> None:
    pen.area((25, 26), (25, 10), (39, 4), (39, 26))
    pen.box(22, 25, 42, 40, radius=1)
    pen.box(19, 39, 45, 60, radius=2)


def _gloss(pen: Pen, shape: str, size: str) -> None:
    pen.box(26, 4, 38, 26, radius=2)
    pen.box(22, 27, 42, 60, radius=4)


def _phone_case(pen: Pen, shape: str, size: str) -> None:
    pen.box(16, 3, 48, 61, radius=6)
    pen.box(20, 7, 30, 19, radius=3, hole=True)


def _charger(pen: Pen, shape: str, size: str) -> None:
    pen.box(16, 18, 48, 50, radius=5)
    pen.box(24, 8, 28, 19, radius=0)
    pen.box(36, 8, 40, 19, radius=0)
    pen.ring(30, 40, 58, 62, width=3, start=0, end=180)


def _headphones(pen: Pen, shape: str, size: str) -> None:
    pen.ring(10, 6, 54, 56, width=6, start=180, end=360)
    pen.box(6, 28, 21, 54, radius=6)
    pen.box(43, 28, 58, 54, radius=6)


def _earbuds(pen: Pen, shape: str, size: str) -> None:
    for left in (8, 36):
        pen.disc(left, 12, left + 21, 33)
        pen.box(left + 6, 24, left + 15, 54, radius=4)


def _tent(pen: Pen, shape: str, size: str) -> None:
    reach = {"2": 22, "3": 25, "4": 28}.get(size[:1], 30)
    pen.area((32, 8), (32 + reach, 54), (32 - reach, 54))
    pen.area((32, 26), (38, 54), (26, 54), hole=True)


_FORMS: dict[str, Callable[[Pen, str, str], None]] = {
    "sofa": _sofa,
    "sofa bed": _sofa_bed,
    "futon": _futon,
    "sofa cover": _sofa_cover,
    "armchair": _armchair,
    "desk lamp": _desk_lamp,
    "floor lamp": _floor_lamp,
    "rug": _flat,
    "curtain": _curtain,
    "cushion": lambda pen, shape, size: _flat(pen, shape or "square", size),
    "cushion cover": _cushion_cover,
    "mug": _mug,
    "tumbler": _tumbler,
    "backpack": _backpack,
    "backpack cover": _backpack_cover,
    "dress": _dress,
    "skirt": _skirt,
    "shirt": _shirt,
    "sweater": _sweater,
    "cardigan": _cardigan,
    "sneakers": _sneakers,
    "serum": _serum,
    "face cream": _jar,
    "lipstick": _lipstick,
    "lip gloss": _gloss,
    "phone case": _phone_case,
    "charger": _charger,
    "headphones": _headphones,
    "earbuds": _earbuds,
    "tent": _tent,
}
