"""Captions by a model that sees: one `Look` per picture, its reply cleaned to one line. A refusal or an empty reply is a failure, never a caption."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lore_cli.answer import one_line
from lore_cli.errors import Missing
from lore_cli.images import read_picture
from lore_cli.models import Look
from lore_cli.prompts import load_prompt
from lore_cli.synth.teacher import Teacher, Unusable

LONGEST = 200  # characters of a caption
REFUSALS = (
    "i can't", "i cannot", "i can not", "i'm sorry", "i am sorry", "sorry", "as an ai", "i'm unable", "i am unable", "unable to", "i don't see", "i do not see", "no image", "there is no image",
    "抱歉", "对不起", "很抱歉", "我无法", "无法", "我不能", "作为一个", "作为人工智能", "没有图片", "未提供图片",
)  # fmt: skip
"""How models begin a reply that says nothing about the picture."""
_LABEL = re.compile(r"^(?:caption|answer|说明|图片说明)\s*[:：]\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class VisionCaptioner:
    """Asks `teacher`'s model about each picture."""

    teacher: Teacher

    def captions(self, paths: Sequence[Path]) -> list[str | Exception]:
        """A caption of each picture file, or why there is none. Raises `Missing` when the model reads text only."""
        text = load_prompt("vision", self.teacher.language).render()
        found: list[str | Exception] = [_unreadable(path) or "" for path in paths]
        asked = [number for number, problem in enumerate(found) if not problem]
        replies = self.teacher.ask([Look(text, paths[number]) for number in asked], lambda _, reply: clean_caption(reply))
        for number, reply in zip(asked, replies, strict=True):
            found[number] = Unusable(reply.reason) if reply.answer is None else reply.answer
        return found

    def identity(self) -> dict[str, str]:
        return {"captioner": self.teacher.name, "vision_prompt": load_prompt("vision", self.teacher.language).hash, **{f"vision_{key}": value for key, value in self.teacher.identity().items()}}


def _unreadable(path: Path) -> Missing | None:
    """What is wrong with a picture file, told before anybody is paid for looking at it."""
    try:
        read_picture(path, 64)
    except Missing as problem:
        return problem
    return None


def clean_caption(reply: str) -> str:
    """One line of at most 200 characters, cut at a word. Raises `Unusable` for a reply that is empty or a refusal.

    >>> clean_caption('Caption: "A navy velvet sofa,\\n three seats."')
    'A navy velvet sofa, three seats.'
    """
    text = _LABEL.sub("", one_line(reply)).strip(" \"'“”「」*`")
    if not any(map(str.isalnum, text)):
        raise Unusable("the reply is empty")
    if text.casefold().replace("’", "'").startswith(REFUSALS):
        raise Unusable(f"the model describes no picture: {text[:60]!r}")
    if len(text) <= LONGEST:
        return text
    return (text[: LONGEST + 1].rsplit(" ", 1)[0] if " " in text[:LONGEST] else text)[:LONGEST]
