"""Prompts as files: how a verdict is asked for.

A template is `NAME.LANG.txt`, or `NAME.txt` where the language does not matter. Its first line declares the placeholders,
a line `---` ends the head, the body follows. Filling happens in one pass over the declared placeholders: a value is never
looked at again, so a query that contains `{{item}}` stays that text (queries and titles are hostile; see `answer.shown`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lore_cli.answer import LAYOUTS, LIMITS, Layout, item_lines, shown
from lore_cli.errors import BadInput, UsageError
from lore_cli.records import SOURCES, Pair
from lore_cli.rulebook import Rulebook

_FOLDER = Path(__file__).parent
_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")
_sections: dict[tuple[str, str], dict[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template cut at its placeholders: `parts` alternates text and placeholder name. `hash` identifies the file's content."""

    name: str
    placeholders: frozenset[str]
    parts: tuple[str, ...]
    hash: str

    def render(self, **fields: str) -> str:
        """The text with every placeholder filled, in one pass. Raises TypeError when `fields` are not exactly the declared ones."""
        if fields.keys() != self.placeholders:
            raise TypeError(f"prompt '{self.name}' takes {sorted(self.placeholders)}, got {sorted(fields)}")
        return "".join([fields[part] if index % 2 else part for index, part in enumerate(self.parts)])


@lru_cache(maxsize=32)
def load_prompt(name: str, language: str = "en") -> Prompt:
    """Read the template `name` in `language`. Raises `UsageError` listing the templates when there is none, `BadInput` when the file is malformed.

    `NAME+LAYOUT` is the template with a last line that asks for a layout (`layout_mark`), for models that were taught several.
    """
    name, layout = _asked(name)
    mark = layout_mark(layout) if layout else ""
    files = [_FOLDER / f"{name}.{language}.txt", _FOLDER / f"{name}.txt"]
    file = next((file for file in files if re.fullmatch(r"[a-z0-9_-]+", name) and file.is_file()), None)
    if file is None:
        known = ", ".join(sorted(found.name.removesuffix(".txt") for found in _FOLDER.glob("*.txt")))
        raise UsageError(f"there is no prompt '{name}' for language '{language}'", hint=f"available: {known}")
    content = file.read_text("utf-8") + mark
    head, separator, body = content.partition("\n---\n")
    declared = frozenset(head.removeprefix("placeholders:").split())
    parts = tuple(_PLACEHOLDER.split(body))
    if not separator or not head.startswith("placeholders:") or frozenset(parts[1::2]) != declared:
        raise BadInput(f"declares {sorted(declared)} but uses {sorted(set(parts[1::2]))}", where=str(file), line=1)
    return Prompt(file.name.removesuffix(".txt"), declared, parts, hashlib.sha256(content.encode()).hexdigest()[:16])


def layout_mark(layout: Layout) -> str:
    """The last line of a prompt to a model that was taught several layouts: which one is wanted [ours]."""
    return f"answer: {layout}\n"


def layout_asked(name: str) -> Layout | None:
    """The layout that a prompt's name asks for, None where it names none."""
    return _asked(name)[1]


def _asked(name: str) -> tuple[str, Layout | None]:
    template, plus, layout = name.partition("+")
    if plus and layout not in LAYOUTS:
        raise UsageError(f"there is no layout '{layout}' to ask for by the prompt '{name}'", hint=f"layouts: {', '.join(LAYOUTS)}")
    return template, layout or None  # type: ignore[return-value]


def pair_prompt(pair: Pair, rulebook: Rulebook, name: str = "short", language: str = "en") -> str:
    """The text that asks for a verdict on `pair`, ending in a newline. Raises `UsageError` for a template that asks for something else.

    `judge` is the full protocol for general models; `naive` leaves the reasoning to the model and knows no attributes and no rules. `short` is
    the query and the item's fields in lower case, for models that were fine-tuned on the task: they carry the protocol in their weights. Any record
    with query and item will do.
    """
    prompt, (template, _) = load_prompt(name, language), _asked(name)
    query, item = shown(pair.query, LIMITS["query"]), item_lines(pair.item)
    if template == "short":
        return prompt.render(query=query.lower(), item=item.lower())
    fields = {"query": query, "item": item, **_rulebook_sections(rulebook, language)}
    if not prompt.placeholders <= fields.keys():
        raise UsageError(f"the prompt '{name}' does not ask for a verdict on a pair", hint="prompts for a pair are short, judge and naive")
    return prompt.render(**{placeholder: fields[placeholder] for placeholder in prompt.placeholders})


def _rulebook_sections(rulebook: Rulebook, language: str) -> dict[str, str]:
    """The rulebook's lists as text; kept per rulebook content, since every pair of a run needs the same."""
    key = (rulebook.hash, language)
    if key not in _sections:
        zh = language == "zh"
        rules = []
        for rule in rulebook.rules:
            only = f" [{', '.join(sorted(rule.categories))}]" if rule.categories else ""
            rules.append(f"- {rule.id} (cap {rule.cap}){only}: {rule.text.get(language, rule.text['en'])}")
        _sections[key] = {
            "grades": "\n".join(f"- {grade}: {text.get(language, text['en'])}" for grade, text in rulebook.grades.items()),
            "dimensions": "\n".join(f"- {d.id}: {d.zh if zh else d.text}" for d in rulebook.dimensions.values()),
            "rules": "\n".join(rules),
            "sources": ", ".join(SOURCES),
        }
    return _sections[key]
