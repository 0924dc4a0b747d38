"""The embedded captioner: main colours and pattern of the product in a picture, by pixel statistics. No model.

It serves where no vision model is given. What it does [ours]: a picture whose border has one colour is a studio's, and what differs from that
colour, shadow aside, is the product. Any other is a photo: its colours are clustered, and those that the middle has more of than the rim are the
product's. The most frequent colour of the product is named after the nearest palette entry in CIELAB; what differs from that colour is a second
tone, whose edges tell stripes, checks, zigzag, dots and flowers apart. A photo's second colour is named too, and its pattern only where two tones
lie clearly apart: folds and light make tones of their own. It names only colours and patterns that the rulebook lists, and says nothing about what the
thing is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lore_cli.images import read_picture
from lore_cli.rulebook import Rulebook
from lore_cli.synth.colours import PALETTE, colour_name, distance, main_colour, to_lab
from lore_cli.synth.patterns import interior, pattern_name, two_tones

if TYPE_CHECKING:
    import numpy as np

VERSION = "pixels-3"
SIDE = 64  # pixels; larger pictures are reduced to it
STUDIO = 0.85  # share of a border that has its median colour, from which the picture is a studio's; photos of clothes have 0.1 to 0.8
BACKGROUND_GAP = 7.0  # CIELAB distance from the background at which a pixel is the product's
TONE_GAP = 13.0  # distance from the main colour at which a pixel is the pattern's
PLAIN_SHARE = 0.07  # a second tone on less of the product is light and shadow
PHOTO_PLAIN_SHARE, PHOTO_LIGHTNESS = 0.17, 0.5  # the same in a photo, where lightness says less
SECOND_GAP, SECOND_SHARE = 25.0, 0.25  # a colour this far from the main one on this much of the product is named too
CLUSTERS, ROUNDS = 8, 8  # of k-means over a photo's colours
CENTRAL = 2.0  # times that a colour's share of the middle is its share of the rim, from which it is the product's


def caption(path: Path, rulebook: Rulebook) -> str:
    """`striped navy`: pattern and main colours of the product in a picture file. Raises `Missing` when it cannot be read as a picture."""
    import numpy as np

    pixels = np.asarray(read_picture(path, SIDE), dtype=np.float32) / 255
    table = rulebook.table("colour")
    colours, pattern = describe(pixels, tuple(name for name in PALETTE if name in table.kinds or name in table.canonical))
    return " ".join(word for word in (pattern if pattern in rulebook.table("pattern").canonical else "", colours) if word)


def describe(pixels: np.ndarray, names: tuple[str, ...]) -> tuple[str, str]:
    """(colour names, pattern name) of a picture, float RGB in [0, 1], shape [height, width, 3]. `navy and white`: the main colour first."""
    lab = to_lab(pixels)
    photo = not _is_studio(pixels)
    inside = _clustered(lab) if photo else foreground(pixels, lab)
    core = inside & interior(inside)
    if core.sum() < 12:
        core = inside
    main = main_colour(lab[core], _central(core.shape)[core])
    alike = core & (distance(lab, main, lightness=PHOTO_LIGHTNESS) < TONE_GAP)
    if photo and alike.any():
        main = lab[alike].mean(axis=0)  # between the folds' light and dark
    tone = core & (distance(lab, main, lightness=PHOTO_LIGHTNESS if photo else 0.8) > TONE_GAP)
    share = float(tone.sum()) / max(int(core.sum()), 1)
    pattern = "plain" if share < (PHOTO_PLAIN_SHARE if photo else PLAIN_SHARE) else pattern_name(core, tone) if two_tones(lab, core, tone) else ""
    return " and ".join(_colour_names(lab, core, main, names, photo)), pattern


def _colour_names(lab: np.ndarray, core: np.ndarray, main: np.ndarray, names: tuple[str, ...], photo: bool) -> list[str]:
    found = [colour_name(main, names, photo)]
    rest = core & (distance(lab, main, lightness=0.8) > SECOND_GAP)
    if photo and rest.sum() > SECOND_SHARE * core.sum():
        found.append(colour_name(main_colour(lab[rest], _central(core.shape)[rest]), names, photo))
    return list(dict.fromkeys(found))


def _border(pixels: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, :2].reshape(-1, 3), pixels[:, -2:].reshape(-1, 3)])


def _is_studio(pixels: np.ndarray) -> bool:
    """Whether the border has one colour."""
    import numpy as np

    border = _border(pixels)
    return bool((distance(to_lab(border), to_lab(np.median(border, axis=0)), lightness=1.0) < BACKGROUND_GAP).mean() >= STUDIO)


def _clustered(lab: np.ndarray) -> np.ndarray:
    """Which pixels of a photo are the product's, bool [height, width]: those of colours that are found more in the middle than on the rim."""
    import numpy as np

    height, width = lab.shape[:2]
    clusters = _kmeans(lab.reshape(-1, 3) * np.array([0.8, 1, 1], dtype=np.float32))
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    middle, rim = np.exp(-3 * (x**2 + y**2)).ravel(), (np.maximum(np.abs(x), np.abs(y)) > 0.85).ravel()
    weight = np.bincount(clusters, middle, CLUSTERS) / middle.sum() - CENTRAL * np.bincount(clusters, rim, CLUSTERS) / max(int(rim.sum()), 1)
    return (weight > 0)[clusters].reshape(height, width)


def _kmeans(points: np.ndarray) -> np.ndarray:
    """The cluster of each of [n, 3] points. Each first centre is the point farthest from those before it, so that no draw is needed."""
    import numpy as np

    gap = ((points - points.mean(axis=0)) ** 2).sum(axis=1)
    centres = np.empty((CLUSTERS, points.shape[1]), dtype=points.dtype)
    for number in range(CLUSTERS):
        centres[number] = points[gap.argmax()]
        gap = np.minimum(gap, ((points - centres[number]) ** 2).sum(axis=1))
    for _ in range(ROUNDS):
        own = ((centres**2).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
        sizes = np.bincount(own, minlength=CLUSTERS)
        sums = np.stack([np.bincount(own, points[:, axis], CLUSTERS) for axis in range(points.shape[1])], axis=1)
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres).astype(points.dtype)
    return own


def foreground(pixels: np.ndarray, lab: np.ndarray) -> np.ndarray:
    """Which pixels are the product's, bool [height, width]: unlike the border's median colour and no shadow on it. All of the middle when nothing stands out."""
    import numpy as np

    ground = np.median(_border(pixels), axis=0)
    gap = distance(lab, to_lab(ground), lightness=1.0)
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


def _central(shape: tuple[int, ...]) -> np.ndarray:
    """Weight of each pixel, [height, width]: the middle of a picture is the product's more surely than its rim."""
    import numpy as np

    y, x = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None], np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    return np.exp(-1.5 * (x**2 + y**2))
