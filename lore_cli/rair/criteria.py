"""What makes a pair hard, or decided by its image: stated criteria that anyone can recompute from the benchmark's card.

Most are properties of the query as the deterministic expert reads it; two need the pair. They describe difficulty for text matching
in general, with one exception that the card names: `baseline` is about this shop's lexical baseline, which is therefore weak on it by construction.
"""

from __future__ import annotations

import msgspec

from lore_cli.path.follow import follow
from lore_cli.path.knowledge import Glossary, vocabulary
from lore_cli.path.needs import construct, mended
from lore_cli.path.text import tokenise
from lore_cli.records import Need, Pair
from lore_cli.rulebook import Rulebook

MANY_NEEDS = 3
COMMON_SHARE = 0.5  # a criterion that holds for more queries than this singles nothing out and is not used to choose

QUERY_CRITERIA: dict[str, str] = {
    "negation": "the query excludes a value",
    "units": "the query names a measurement, a size or a quantity with a number",
    "price": "the query limits the price",
    "glossary": "the query uses a term of the shop's glossary",
    "unlisted": "the rulebook lists no category that the query names",
    "many-needs": f"the query makes {MANY_NEEDS} demands or more",
    "script": "the query is not written in Latin script alone",
    "tail": "the query is among the fifth of queries that are asked least",
}
PAIR_CRITERIA: dict[str, str] = {
    "baseline": "the lexical baseline, fitted on the other pairs, puts this pair on the wrong side of relevance (so that baseline is weak here by construction)",
    "image-decides": "an asked visual attribute is unknown from the text, known from the image's caption, and the grade under the rulebook depends on it",
}
HARD: tuple[str, ...] = (*QUERY_CRITERIA, "baseline")


def query_criteria(query: str, needs: tuple[Need, ...], rulebook: Rulebook, glossary: Glossary) -> set[str]:
    """The criteria that a query meets, `tail` aside, which depends on the other queries."""
    categories = [need.value for need in needs if need.attribute == "category"]
    known = vocabulary(rulebook, glossary)
    tokens = mended(tokenise(query), known)
    tests = {
        "negation": any(need.negated for need in needs),
        "units": any(need.attribute in ("size-specification", "quantity-package") and any(map(str.isdigit, need.value)) for need in needs),
        "price": any(need.attribute == "price-condition" for need in needs),
        "glossary": any(known.glossary.longest(tokens.stems, index) for index in range(len(tokens))),
        "unlisted": not any(known.rulebook.table("category").name(value) in known.rulebook.table("category").canonical for value in categories),
        "many-needs": len(needs) >= MANY_NEEDS,
        "script": any(letter.isalpha() and ord(letter) > 0x24F for letter in query),
    }
    return {name for name, holds in tests.items() if holds}


def least_asked(counts: dict[str, int], share: float = 0.2) -> set[str]:
    """The queries asked at most as often as the one at the `share` quantile; none when all are asked equally often."""
    if not counts or min(counts.values()) == max(counts.values()):
        return set()
    border = sorted(counts.values())[max(0, int(len(counts) * share) - 1)]
    return {query for query, count in counts.items() if count <= border}


def image_decides(pair: Pair, needs: tuple[Need, ...], rulebook: Rulebook) -> bool:
    """Whether the caption settles an asked visual attribute that the text leaves unknown, and the implied grade changes with it."""
    if not pair.item.caption:
        return False
    blind = follow(needs, msgspec.structs.replace(pair.item, caption=None), rulebook)
    seeing = follow(needs, pair.item, rulebook)
    settled = any(
        rulebook.dimensions[without.attribute].visual and without.state == "unknown" and given.state != "unknown" and given.source == "caption"
        for without, given in zip(blind, seeing, strict=True)
    )
    return settled and rulebook.grade(blind)[0] != rulebook.grade(seeing)[0]


def asked_category(needs: tuple[Need, ...], rulebook: Rulebook) -> str:
    """The category that a query asks for, in the rulebook's name for it; empty when it names none."""
    return next((rulebook.table("category").name(need.value) for need in needs if need.attribute == "category" and not need.negated), "")


def needs_of(query: str, rulebook: Rulebook, glossary: Glossary) -> tuple[Need, ...]:
    """The expert's reading of a query."""
    return construct(query, rulebook, glossary)
