"""The answer a model writes, and how it is asked for.

One short line per need keeps need, evidence and match of one attribute next to each other; then the cited rules, then
the grade (`answer-last`), or the grade first and the reasons after it (`answer-first`, so that serving reads one token):

    category = sofa bed ; found sofa bed [title] ; exact
    colour = navy ; found dark blue [caption] ; close
    rules: R9
    grade: L3

`parse` is strict: what does not hold to the form is an `AnswerError`, never a guess. `label-only` is the bare grade line.
`free` is any reasoning text with the grade as its last line: naive chain of thought, whose matches nobody can check.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lore_cli.records import GRADES, SOURCES, Grade, Item, Match, Need
from lore_cli.rulebook import Rulebook

Layout = Literal["answer-last", "answer-first", "label-only", "free"]
LAYOUTS: tuple[Layout, ...] = ("answer-last", "answer-first", "label-only", "free")

_LINE = re.compile(r"(?P<attribute>[a-z-]+) = (?P<need>[^;\n]+) ; (?:found (?P<found>[^;\n\[\]]+) \[(?P<source>[a-z]+)\]|(?P<silent>not found)) ; (?P<state>[a-z-]+)")
_RULES = re.compile(r"rules: (none|\S+(?: \S+)*)")
_GRADE = re.compile(r"grade: (\S+)")
GRADE_CUE = "grade:"
LIMITS = {
    "query": 200, "title": 300, "category": 100, "brand": 100, "attributes": 40, "attribute name": 60, "attribute": 200, "caption": 300, "description": 160,
}  # fmt: skip
"""What of a pair a model is shown, in characters (`attributes`: how many, in alphabetical order); the rest is cut off. The figures are ours."""
_CLEAN = re.compile(r"[^\s;\[\]=]+(?: [^\s;\[\]=]+)*")
_STRUCTURE = re.compile(r"[;\[\]=]")
_TAG = re.compile("[<>＜＞]")
_TAG_MARKS = str.maketrans("<>＜＞", "‹›‹›")
_ROLE = re.compile(r"\[(/?[A-Z_]{3,20})\]")


class AnswerError(ValueError):
    """A reply that does not hold to the answer format. The text says which line and what was expected."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply read back: its matches, the rules it cites and its grade; of a `free` one the grade and the text before it."""

    matches: tuple[Match, ...]
    rules: tuple[str, ...]
    grade: Grade
    reasoning: str = ""


def need_text(need: Need) -> str:
    """How a need is written in an answer: the value, with `not ` before an excluded one."""
    return f"not {need.value}" if need.negated else need.value


def render(answer: Answer, layout: Layout = "answer-last") -> str:
    """The text of an answer. `parse(render(answer), rulebook, layout) == answer` for every answer the rulebook allows."""
    grade = f"{GRADE_CUE} {answer.grade}"
    if layout == "label-only":
        return grade
    if layout == "free":
        return f"{answer.reasoning}\n{grade}"
    reasons = [*(_match_line(match) for match in answer.matches), f"rules: {' '.join(answer.rules) or 'none'}"]
    return "\n".join([grade, *reasons] if layout == "answer-first" else [*reasons, grade])


def parse(text: str, rulebook: Rulebook, layout: Layout = "answer-last") -> Answer:
    """Read a reply strictly. Raises `AnswerError` for anything but the format: a missing or extra line, an unknown attribute, state, source, rule or grade."""
    lines = text.strip().split("\n")
    if layout == "label-only":
        if len(lines) != 1:
            raise AnswerError(f"expected the grade line alone, got {len(lines)} lines")
        return Answer((), (), _grade(lines[0], 1))
    if layout == "free":
        return _free(text.strip())
    if len(lines) < 3:
        raise AnswerError(f"expected at least one attribute line, the rules and the grade; got {len(lines)} line(s)")
    if layout == "answer-first":
        grade_line, reasons, first = (lines[0], 1), lines[1:], 2
    else:
        grade_line, reasons, first = (lines[-1], len(lines)), lines[:-1], 1
    matches = tuple(_match(line, number, rulebook) for number, line in enumerate(reasons[:-1], first))
    return Answer(matches, _rules(reasons[-1], first + len(reasons) - 1, rulebook), _grade(*grade_line))


def layout_of(text: str) -> Layout:
    """The layout that a completion is written in, told by where its grade and rules stand. Every text has exactly one."""
    lines = text.strip().split("\n")
    if len(lines) == 1:
        return "label-only"
    if lines[0].startswith(GRADE_CUE):
        return "answer-first"
    return "answer-last" if lines[-2].startswith("rules:") else "free"


def answer_pattern(rulebook: Rulebook, layout: Layout = "answer-last") -> str:
    """A regular expression of the answers that `parse` reads, for servers that hold a reply to one: it matches every rendered answer, and what it matches parses.

    Written in what the dialects of Python, Rust and JavaScript share: no look-around, no named groups. Where `\\s` is narrower than Python's, a value may
    hold a rare space that `parse` refuses. Of a `free` answer it says that the last line is the grade, not that no line before it is of another layout.
    """
    grade = f"{GRADE_CUE} ({'|'.join(GRADES)})"
    if layout == "label-only":
        return grade
    if layout == "free":
        return rf"([^\n]*\n)+{grade}"
    word = r"[^\s;=\[\]]+"
    value = f"{word}( {word})*"
    found = rf"found {value} \[({'|'.join(SOURCES)})\] ; (exact|close|conflict)"
    line = f"({'|'.join(rulebook.dimensions)}) = {value} ; ({found}|not found ; unknown)\n"
    rule = f"({'|'.join(re.escape(rule.id) for rule in rulebook.rules)})"
    reasons = f"({line})+rules: (none|{rule}( {rule})*)"
    return f"{grade}\n{reasons}" if layout == "answer-first" else f"{reasons}\n{grade}"


def adheres(answer: Answer, rulebook: Rulebook) -> bool:
    """Rule adherence: the grade and the rules are those that the answer's own matches imply; never so without matches."""
    return bool(answer.matches) and rulebook.grade(answer.matches) == (answer.grade, answer.rules)


def item_lines(item: Item, description_chars: int = LIMITS["description"]) -> str:
    """An item as a model reads it: one `field: value` line each, every value `shown` and no longer than `LIMITS` says."""
    key = f"lines {description_chars}"
    if key not in item.__dict__:  # a row's item goes into several prompts: its text is kept beside it
        item.__dict__[key] = _item_lines(item, description_chars)
    return item.__dict__[key]


def _item_lines(item: Item, description_chars: int) -> str:
    fields = [("title", item.title), ("category", item.category), ("brand", item.brand)]
    attributes = sorted(item.attributes.items())[: LIMITS["attributes"]]
    lines = [f"{name}: {shown(value, LIMITS[name])}" for name, value in fields if value is not None]
    lines += [f"{shown(name, LIMITS['attribute name'])}: {shown(str(value), LIMITS['attribute'])}" for name, value in attributes]
    if item.price is not None:
        lines.append(f"price: {item.price:g}")
    if item.caption is not None:
        lines.append(f"caption: {shown(item.caption, LIMITS['caption'])}")
    if item.description:
        lines.append(f"description: {shown(item.description, description_chars)}")
    return "\n".join(lines)


def shown(text: str, limit: int) -> str:
    """Text from a shop or a shopper as it may stand in a prompt: at most `limit` characters of one line, and nothing that a prompt or a chat template is built of.

    Data must not pass for instructions (OWASP LLM01, prompt injection). The policy is ours:
    1. any run of whitespace and line separators is one space; control, bidirectional and zero-width characters are left out;
    2. `<` and `>` are written `‹` and `›`, so that neither the marks around data nor special tokens (`<|im_start|>`, `</s>`) can be forged;
    3. role marks in brackets (`[INST]`, `[SEP]`) are written in parentheses.

    >>> shown("sofa >>> \\n<|im_start|>system [INST]", 100)
    'sofa ››› ‹|im_start|›system (INST)'
    """
    kept = text[: 4 * limit]
    if not kept.isprintable():
        kept = "".join(mark for mark in one_line(kept) if mark.isprintable())
    if _TAG.search(kept):
        kept = kept.translate(_TAG_MARKS)
    if "[" in kept:
        kept = _ROLE.sub(r"(\1)", kept)
    return one_line(kept)[:limit].rstrip()


def one_line(text: str) -> str:
    """Any run of whitespace, line separators included, as one space."""
    return " ".join(text.split())


def clean_value(text: str) -> str:
    """A value as it may stand in an answer line: one line, without the characters that structure it."""
    return text if _CLEAN.fullmatch(text) else one_line(_STRUCTURE.sub(" ", text)) or "?"


def _match_line(match: Match) -> str:
    found = f"found {clean_value(match.found)} [{match.source}]" if match.found and match.source else "not found"
    return f"{match.attribute} = {clean_value(match.need)} ; {found} ; {match.state}"


def _match(line: str, number: int, rulebook: Rulebook) -> Match:
    parts = _LINE.fullmatch(line)
    if not parts:
        raise AnswerError(f"line {number}: not of the form 'attribute = need ; found value [source] ; state': {line[:80]!r}")
    attribute, need, found, source, _, state = parts.groups()
    for value in (need, found or need):
        if value != clean_value(value):
            raise AnswerError(f"line {number}: {value[:40]!r} is not written as {clean_value(value)[:40]!r}")
    if attribute not in rulebook.dimensions:
        raise AnswerError(f"line {number}: '{attribute}' is not an attribute dimension")
    if source is not None and source not in SOURCES:
        raise AnswerError(f"line {number}: '{source}' is not a source ({', '.join(SOURCES)})")
    if state not in ("exact", "close", "unknown", "conflict"):
        raise AnswerError(f"line {number}: '{state}' is not a match state")
    if (state == "unknown") != (found is None):
        raise AnswerError(f"line {number}: state '{state}' {'needs' if found is None else 'contradicts'} found evidence")
    return Match(attribute, need, state, found, source)  # type: ignore[arg-type]


def _rules(line: str, number: int, rulebook: Rulebook) -> tuple[str, ...]:
    parts = _RULES.fullmatch(line)
    if not parts:
        raise AnswerError(f"line {number}: expected 'rules: …', got {line[:80]!r}")
    if parts[1] == "none":
        return ()
    known = {rule.id for rule in rulebook.rules}
    ids = tuple(parts[1].split(" "))
    for rule in ids:
        if rule not in known:
            raise AnswerError(f"line {number}: '{rule}' is not a rule")
    return ids


def _free(text: str) -> Answer:
    if layout_of(text) != "free":
        raise AnswerError(f"expected reasoning in free text and then the grade, got the form '{layout_of(text)}'")
    reasoning, _, last = text.rpartition("\n")
    return Answer((), (), _grade(last, text.count("\n") + 1), reasoning.rstrip())


def _grade(line: str, number: int) -> Grade:
    parts = _GRADE.fullmatch(line)
    if not parts or parts[1] not in GRADES:
        raise AnswerError(f"line {number}: expected 'grade: ' and one of {', '.join(GRADES)}, got {line[:80]!r}")
    return parts[1]  # type: ignore[return-value]


def implied(matches: Sequence[Match], rulebook: Rulebook) -> Answer:
    """The answer that follows from matches under the rulebook."""
    grade, rules = rulebook.grade(matches)
    return Answer(tuple(matches), rules, grade)
