"""Stage `visual`: what the picture shows, as a caption. It adds `item.caption`; a language model also reads caption and needs into `evidence`.

The embedded captioner looks at pixels, a vision model at the picture; a text model cannot, so it is given the caption and says what it tells about
each visual attribute asked for. A caption that is there already (a shop's, say) is kept. An item without an image stays without a caption.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lore_cli.answer import LIMITS, clean_value, item_lines, need_text, one_line, shown
from lore_cli.errors import BadInput, Missing
from lore_cli.images import is_url
from lore_cli.prompts import load_prompt
from lore_cli.records import Evidence, Trace, change, change_item
from lore_cli.rulebook import Rulebook
from lore_cli.synth import Dropped
from lore_cli.synth.captioner import VERSION, caption
from lore_cli.synth.fetch import Refused, fetch_picture
from lore_cli.synth.teacher import Teacher, Unusable

_REMEMBERED = 50_000
_LINE = re.compile(r"([a-z-]+) = ([^;=\[\]\n]+)")


class Captioner(Protocol):
    """Describes pictures; `identity` is what determines its captions."""

    def captions(self, paths: Sequence[Path]) -> list[str | Exception]:
        """A caption of each picture file, or why there is none: `Missing` for a file that is none, any other for one that could not be described."""
        ...

    def identity(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class PixelCaptioner:
    """The embedded captioner."""

    rulebook: Rulebook

    def captions(self, paths: Sequence[Path]) -> list[str | Exception]:
        return [self._one(path) for path in paths]

    def identity(self) -> dict[str, str]:
        return {"captioner": VERSION}

    def _one(self, path: Path) -> str | Exception:
        try:
            return caption(path, self.rulebook)
        except Missing as problem:
            return problem


@dataclass(frozen=True, slots=True)
class Captioned:
    """Captions for rows without one. `folder`: what image paths are relative to; fail_fast: raise at the first file that is missing; urls: whether pictures are fetched.

    An item is shown for many queries: its picture is looked at once.
    """

    rulebook: Rulebook
    folder: Path
    fail_fast: bool = False
    captioner: Captioner | None = None
    urls: bool = False
    name: str = "visual"
    seen: dict[str, str] = field(default_factory=dict)

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]:
        wanted = list(dict.fromkeys(image for trace in traces if (image := _uncaptioned(trace)) and image not in self.seen))
        if len(self.seen) + len(wanted) > _REMEMBERED:
            self.seen.clear()
            wanted = list(dict.fromkeys(filter(None, map(_uncaptioned, traces))))
        problems: dict[str, Exception] = {}
        with tempfile.TemporaryDirectory() as fetched:
            paths: dict[str, Path] = {}
            for number, image in enumerate(wanted):
                try:
                    paths[image] = self._path(image, Path(fetched) / str(number))
                except Refused as problem:
                    problems[image] = problem
            for image, said in zip(paths, self._captioner().captions(list(paths.values())), strict=True):
                if isinstance(said, str):
                    self.seen[image] = said
                else:
                    problems[image] = said
        return [self._one(trace, problems) for trace in traces]

    def identity(self) -> dict[str, str]:
        return {**self._captioner().identity(), "rulebook": self.rulebook.hash, "image_urls": "allow" if self.urls else "refuse"}

    def _captioner(self) -> Captioner:
        return self.captioner or PixelCaptioner(self.rulebook)

    def _path(self, image: str, target: Path) -> Path:
        """The file of an image, fetched into `target` where it is a URL. Raises `Refused`."""
        if not is_url(image):
            return self.folder / image
        if not self.urls:
            raise Refused(f"image {image}: addresses are not fetched (--image-urls allow fetches public ones)")
        fetch_picture(image, target)
        return target

    def _one(self, trace: Trace, problems: dict[str, Exception]) -> Trace | Dropped:
        image = _uncaptioned(trace)
        if not image:
            return trace
        if image in self.seen:
            return change_item(trace, caption=self.seen[image])
        problem = problems[image]
        if not isinstance(problem, Missing):
            return Dropped(trace, "failed", f"visual: {problem}")
        if self.fail_fast:
            raise BadInput(problem.message, where=f"row '{trace.id}'", field="item.image", hint="pass --images DIR, or --on-bad skip to go on without such rows") from problem
        return Dropped(trace, "failed", f"visual: {problem.message}")


def _uncaptioned(trace: Trace) -> str | None:
    return trace.item.image if trace.item.caption is None and trace.item.image else None


@dataclass(frozen=True, slots=True)
class TaughtVisual:
    """Captions as above, then a language model says what each caption tells about the visual attributes asked for. Rows without caption or such needs pass."""

    captioned: Captioned
    teacher: Teacher
    name: str = "visual"

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]:
        rows = self.captioned(traces)
        asked = [place for place, row in enumerate(rows) if isinstance(row, Trace) and row.item.caption and self._visual_needs(row)]
        prompts = [self._prompt(rows[place]) for place in asked]  # type: ignore[arg-type]
        answers = self.teacher.ask(prompts, lambda number, reply: self._read(rows[asked[number]], reply))  # type: ignore[arg-type]
        for place, reply in zip(asked, answers, strict=True):
            trace = rows[place]
            assert isinstance(trace, Trace)
            if reply.answer is not None:
                kept = tuple(piece for piece in trace.evidence or () if piece.source != "caption")
                rows[place] = change(trace, evidence=(*kept, *reply.answer))
            else:
                rows[place] = Dropped(trace, "rejected" if reply.replied else "failed", f"visual: {reply.reason}")
        return rows

    def identity(self) -> dict[str, str]:
        return {**self.captioned.identity(), **self.teacher.identity(), "visual_prompt": load_prompt("visual", self.teacher.language).hash}

    def _visual_needs(self, trace: Trace) -> list[str]:
        dimensions = self.captioned.rulebook.dimensions
        return [f"{need.attribute} = {need_text(need)}" for need in trace.needs or () if dimensions[need.attribute].visual]

    def _prompt(self, trace: Trace) -> str:
        needs = one_line(", ".join(self._visual_needs(trace)))
        return load_prompt("visual", self.teacher.language).render(needs=needs, caption=shown(trace.item.caption or "", LIMITS["caption"]), item=item_lines(trace.item))

    def _read(self, trace: Trace, reply: str) -> tuple[Evidence, ...]:
        """Lines `attribute = value`, or `none`. What the caption does not say is refused: a text model has not seen the picture."""
        if reply.strip() == "none":
            return ()
        found = []
        for number, line in enumerate(reply.strip().split("\n"), 1):
            parts = _LINE.fullmatch(line.strip())
            if not parts or parts[1] not in self.captioned.rulebook.dimensions or not self.captioned.rulebook.dimensions[parts[1]].visual:
                raise Unusable(f"line {number} is no visual evidence: {line[:60]!r}")
            if one_line(parts[2].casefold()) not in one_line((trace.item.caption or "").casefold()):
                raise Unusable(f"line {number}: the caption does not say {parts[2]!r}")
            found.append(Evidence(parts[1], clean_value(parts[2]), "caption"))
        return tuple(dict.fromkeys(found))
