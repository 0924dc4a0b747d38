"""A judge that is shown a part of each item: its text alone, or its picture alone, as RAIR asks whether the picture was needed.

No judge looks at pixels: the visual evidence is the item's caption, which the visual stage or the shop wrote. So `text` leaves out caption and image, and
`image` leaves the caption alone: no title, category, brand, attributes, price or description [ours]. An item without a caption cannot be judged
by its picture: that is a verdict with `error`, not a low grade.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lore_cli.judges import Judge
from lore_cli.records import Item, Pair, Verdict, change
from lore_cli.stream import chunks

MODALITIES = ("both", "text", "image")
_WINDOW = 512  # pairs sorted together into those that can be judged and those that cannot


@dataclass(frozen=True, slots=True)
class PartialView:
    """`judge`, shown the `text` or the `image` of items."""

    judge: Judge
    modality: str

    @property
    def name(self) -> str:
        return f"{self.judge.name} ({self.modality} only)"

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        for window in chunks(pairs, _WINDOW):
            answers = iter(self.judge(view(pair, self.modality) for pair in window if self._visible(pair)))
            for pair in window:
                if self._visible(pair):
                    yield change(next(answers), judge=self.name)
                else:
                    yield Verdict(pair.id, pair.query, pair.item.id, self.name, error="the item has no caption to judge by (lore-synth --stages visual writes them)")

    def identity(self) -> dict[str, str]:
        return {**self.judge.identity(), "modality": self.modality}

    def _visible(self, pair: Pair) -> bool:
        return self.modality == "text" or bool(pair.item.caption)


def view(pair: Pair, modality: str) -> Pair:
    """The pair with the part of its item that `modality` shows."""
    item = pair.item
    if modality == "image":
        return change(pair, item=Item(id=item.id, title="", image=item.image, caption=item.caption))
    shown = {name: value for name in ("category", "brand", "attributes", "description", "price") if (value := getattr(item, name))}
    return change(pair, item=Item(id=item.id, title=item.title, **shown))
