"""Stage `knowledge`: what the query asks for, with injected knowledge. Pair → Trace with `understanding` and `needs`.

The expert reads glossary and taxonomy itself; a language model is shown the entries that the query mentions, and its needs are checked: known
attributes, the subject first, no demand that query and knowledge do not make.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lore_cli.answer import LIMITS, clean_value, need_text, one_line, shown
from lore_cli.path.demanded import demanded
from lore_cli.path.knowledge import Entry, Glossary, vocabulary
from lore_cli.path.needs import construct, mended
from lore_cli.path.taxonomy import lineage
from lore_cli.path.text import normalise, tokenise
from lore_cli.path.understanding import understand
from lore_cli.prompts import load_prompt
from lore_cli.records import Need, Trace, change
from lore_cli.rulebook import Rulebook
from lore_cli.synth import Dropped, checks
from lore_cli.synth.teacher import Teacher, Unusable

_NEED = re.compile(r"([a-z-]+) = (not )?([^;=\[\]\n]+)")
_MOST_NEEDS = 12
_MOST_ENTRIES = 12
_MOST_PATHS = 3


@dataclass(frozen=True, slots=True)
class ExpertKnowledge:
    """Path construction by the deterministic expert."""

    rulebook: Rulebook
    glossary: Glossary
    name: str = "knowledge"

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]:
        return [understood(trace, construct(trace.query, self.rulebook, self.glossary), self.rulebook, self.glossary) for trace in traces]

    def identity(self) -> dict[str, str]:
        return {"rulebook": self.rulebook.hash, "knowledge": self.glossary.hash}


@dataclass(frozen=True, slots=True)
class TaughtKnowledge:
    """Path construction by a language model. A query is asked once a batch; a reply that is not needs line by line is asked again, then rejected."""

    rulebook: Rulebook
    glossary: Glossary
    teacher: Teacher
    name: str = "knowledge"

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]:
        queries = list(dict.fromkeys(trace.query for trace in traces))
        replies = self.teacher.ask([self._prompt(query) for query in queries], lambda number, reply: self._read(queries[number], reply))
        by_query = dict(zip(queries, replies, strict=True))
        results: list[Trace | Dropped] = []
        for trace in traces:
            reply = by_query[trace.query]
            if reply.answer is not None:
                results.append(understood(trace, reply.answer, self.rulebook, self.glossary))
            else:
                results.append(Dropped(trace, "rejected" if reply.replied else "failed", f"knowledge: {reply.reason}"))
        return results

    def identity(self) -> dict[str, str]:
        prompt = load_prompt("knowledge", self.teacher.language).hash
        return {**self.teacher.identity(), "rulebook": self.rulebook.hash, "knowledge": self.glossary.hash, "knowledge_prompt": prompt}

    def _prompt(self, query: str) -> str:
        chinese = self.teacher.language == "zh"
        dimensions = "\n".join(f"- {d.id}: {d.zh if chinese else d.text}" for d in self.rulebook.dimensions.values())
        entries = [*map(_entry_line, entries_in(query, self.glossary)), *taxonomy_lines(query, self.rulebook, self.glossary)][:_MOST_ENTRIES]
        return load_prompt("knowledge", self.teacher.language).render(dimensions=dimensions, glossary="\n".join(entries) or "-", query=shown(query, LIMITS["query"]))

    def _read(self, query: str, reply: str) -> tuple[Need, ...]:
        needs = read_needs(reply, self.rulebook)
        problem = checks.subject_first(needs) or demanded(needs, query, entries_in(query, self.glossary), self.rulebook, self.glossary)
        if problem:
            raise Unusable(problem)
        return needs


def understood(trace: Trace, needs: tuple[Need, ...], rulebook: Rulebook, glossary: Glossary) -> Trace:
    """The trace with needs and what the query means as a whole."""
    return change(trace, understanding=understand(trace.query, needs, rulebook, glossary), needs=needs)


def entries_in(query: str, glossary: Glossary) -> list[Entry]:
    """The glossary entries whose term stands in the query, longest term first, at most twelve."""
    text = one_line(normalise(query))
    held = [entry for entry in glossary.entries if one_line(normalise(entry.term)) in text]
    return sorted(held, key=lambda entry: -len(entry.term))[:_MOST_ENTRIES]


def taxonomy_lines(query: str, rulebook: Rulebook, glossary: Glossary) -> list[str]:
    """What the taxonomy says of words of the query: where a category stands and which attributes it has, then the allowed values among the words."""
    if not glossary.categories:
        return []
    known = vocabulary(rulebook, glossary)
    tokens = mended(tokenise(query), known)
    found, index = [], 0
    while index < len(tokens):
        length, meanings = known.listed.longest(tokens.stems, index) or (1, ())
        found += [(tokens.surface(index, index + length), dimension, value) for dimension, value in meanings]
        index += length
    named = [(surface, row, known.branches.allowed(row)) for surface, dimension, value in found if dimension == "category" for row in known.branches.rows.get(value, ())[:_MOST_PATHS]]
    categories = [f"- {surface}: category, {' > '.join(lineage(row))}; its attributes: {', '.join(allowed) or 'none'}" for surface, row, allowed in named]
    values = [f"- {surface}: {dimension} = {value}" for surface, dimension, value in found if any(value in allowed.get(dimension, ()) for _, _, allowed in named)]
    return [one_line(line) for line in dict.fromkeys((*categories, *values))]


def _entry_line(entry: Entry) -> str:
    meaning = ", ".join(f"{need.attribute} = {need_text(need)}" for need in entry.needs)
    return one_line(f"- {entry.term}: {meaning}" + (f" ({entry.note})" if entry.note else ""))


def read_needs(reply: str, rulebook: Rulebook) -> tuple[Need, ...]:
    """Needs from lines `attribute = value` or `attribute = not value`. Raises `Unusable` for any other line, an unknown attribute, no need or too many."""
    needs = []
    for number, line in enumerate(reply.strip().split("\n"), 1):
        parts = _NEED.fullmatch(line.strip())
        if not parts:
            raise Unusable(f"the reply is no list of needs: line {number} is {line[:60]!r}")
        attribute, negation, value = parts.groups()
        if attribute not in rulebook.dimensions:
            raise Unusable(f"the reply is no list of needs: line {number} names '{attribute}', which is not an attribute dimension")
        needs.append(Need(attribute, clean_value(shown(value, LIMITS["query"])), bool(negation)))
    if not needs or len(needs) > _MOST_NEEDS:
        raise Unusable(f"the reply is no list of needs: {len(needs)} needs, at most {_MOST_NEEDS} are read")
    return tuple(dict.fromkeys(needs))
