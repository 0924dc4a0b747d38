"""Query understanding, the first half of LORE's path construction: subject, modifiers, intent, exclusions, alternatives, spelling.

The paper names the parts and gives no method; ours reads subject, modifiers and intent off the needs, whoever found them, and the rest
off the query's words [ours].
"""

from __future__ import annotations

from collections.abc import Sequence

from lore_cli.path.chunks import Chunk, chunk
from lore_cli.path.knowledge import EMPTY, Glossary, Vocabulary, vocabulary
from lore_cli.path.needs import mended
from lore_cli.path.text import GAP, Tokens, is_han, tokenise
from lore_cli.records import Need, Understanding
from lore_cli.rulebook import Rulebook

_CACHED = 4096  # the rows of a query stand together as a rule
_EITHER = frozenset({"or", "或", "者", "还", "是"})


def understand(query: str, needs: Sequence[Need], rulebook: Rulebook, glossary: Glossary = EMPTY) -> Understanding:
    """What the query means as a whole, given its needs.

    >>> from lore_cli.rulebook import load_rulebook
    >>> understand("red or blue velvet sofa", [Need("category", "sofa"), Need("colour", "red")], load_rulebook()).alternatives
    (('red', 'blue'),)
    """
    known, key = vocabulary(rulebook, glossary), (query, tuple(needs))
    meaning = known.meanings.get(key)
    if meaning is None:
        if len(known.meanings) >= _CACHED:
            known.meanings.clear()
        meaning = known.meanings[key] = _understand(query, needs, known)
    return meaning


def _understand(query: str, needs: Sequence[Need], known: Vocabulary) -> Understanding:
    tokens = tokenise(query)
    right = mended(tokens, known)
    subject = next((need.value for need in needs if need.attribute == "category" and not need.negated), None)
    wanted = [need for need in needs if not need.negated]
    return Understanding(
        intent=_intent(wanted, subject),
        subject=subject,
        modifiers=tuple(need.value for need in wanted if need.attribute != "category" or need.value != subject),
        excluded=tuple(need.value for need in needs if need.negated),
        alternatives=_alternatives(right, known),
        corrected=_corrected(tokens, right),
    )


def _intent(wanted: Sequence[Need], subject: str | None) -> str:
    asked = {need.attribute for need in wanted}
    if "compatibility" in asked:
        return "accessory"
    if "series-model" in asked:
        return "model"
    return "product" if subject or "brand" in asked else "use"


def _alternatives(tokens: Tokens, known: Vocabulary) -> tuple[tuple[str, ...], ...]:
    """Listed values of one dimension with nothing but "or" between them."""
    found: list[list[Chunk]] = []
    for part in chunk(tokens, known):
        if part.kind != "listed" or part.negated:
            continue
        last = found[-1][-1] if found else None
        between = tokens.words[last.end : part.start] if last else ()
        if last and last.dimension == part.dimension and between and set(between) <= _EITHER:
            found[-1].append(part)
        else:
            found.append([part])
    return tuple(tuple(part.text for part in run) for run in found if len(run) > 1)


def _corrected(tokens: Tokens, right: Tokens) -> str | None:
    """The query with every mended word in place; None when all words were right."""
    if tokens.stems == right.stems:
        return None
    pairs = zip(tokens.words, tokens.stems, right.stems, strict=True)
    words = [word if before == after else after for word, before, after in pairs if word != GAP]
    return "".join(words) if any(map(is_han, words)) else " ".join(words)
