"""Pattern names: what the second tone of a product makes, by its edges and spots."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SEPARATION = 2.4  # distance of two tones over the sum of their spreads, from which they are two
DISCS, PETALS = 0.66, 0.42  # share of its bounding box that a dot fills at least, a flower; less are pieces of lines: crossings, corners


def two_tones(lab: np.ndarray, core: np.ndarray, tone: np.ndarray) -> bool:
    """Whether second tone and main colour are two colours, not the light and dark of one: they lie further apart than each is spread, and few pixels lie between."""
    import numpy as np

    one, other = lab[core & ~tone], lab[tone]
    between = other.mean(axis=0) - one.mean(axis=0)
    length = float(np.linalg.norm(between))
    spread = float(((one - one.mean(axis=0)) @ between).std() + ((other - other.mean(axis=0)) @ between).std()) / max(length, 1e-6)
    return length > SEPARATION * spread


def pattern_name(core: np.ndarray, tone: np.ndarray) -> str:
    """Which pattern the second tone makes, by the directions of its edges (share of gradient energy near 0, 45, 90 and 135 degrees)."""
    import numpy as np

    level = tone.astype(np.float32)
    smooth = (4 * level + 2 * sum(np.roll(level, s, a) for s in (-1, 1) for a in (0, 1)) + sum(np.roll(level, (s, t), (0, 1)) for s in (-1, 1) for t in (-1, 1))) / 16
    down = np.roll(smooth, -1, 0) - np.roll(smooth, 1, 0)
    across = np.roll(smooth, -1, 1) - np.roll(smooth, 1, 1)
    inner = core & interior(core)
    inner &= interior(inner)
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
    edge = core & ~interior(core)
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


def interior(mask: np.ndarray) -> np.ndarray:
    """True where all four neighbours are; never on the picture's rim."""
    import numpy as np

    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1] = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return inner
