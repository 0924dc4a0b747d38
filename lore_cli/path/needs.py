"""Path construction: the needs of a query, each mapped to one of the 18 attribute dimensions, the category first.

LORE's path construction understands the query's subject and its modifiers. This one is deterministic [ours]:
1. listed surface forms and glossary terms by longest match, spelling mended within one edit;
2. the head noun before "for", "with", "in" is the category; what follows "for" is what it must fit ("cover for sofa bed" is a cover);
3. what no table lists is still a demand: a product word, a brand at the front, a model with digits, else a function in the shopper's words.
"""

from __future__ import annotations

from collections.abc import Sequence

from lore_cli.answer import clean_value
from lore_cli.path.chunks import Chunk, chunk
from lore_cli.path.knowledge import EMPTY, Glossary, Vocabulary, compose, vocabulary
from lore_cli.path.text import GAP, Tokens, is_han, tokenise
from lore_cli.records import Need
from lore_cli.rulebook import Rulebook

_CACHED = 100_000
HEAD_WORDS = 2


def construct(query: str, rulebook: Rulebook, glossary: Glossary = EMPTY) -> tuple[Need, ...]:
    """The needs of a query, never empty: category first when one is named, then in the order of the query. A query of stop words is one category need."""
    known = vocabulary(rulebook, glossary)
    needs = known.needs_of.get(query)
    if needs is None:
        if len(known.needs_of) >= _CACHED:
            known.needs_of.clear()
        needs = known.needs_of[query] = _construct(query, known)
    return needs


def _construct(query: str, known: Vocabulary) -> tuple[Need, ...]:
    tokens = mended(tokenise(query), known)
    head, target, details = _parts(chunk(tokens, known))
    needs = [*_head_needs(head, target, known), *_target_needs(target), *_detail_needs(details)]
    unique = {(need.attribute, need.value): need for need in reversed(needs)}
    ordered = sorted(dict.fromkeys(unique[need.attribute, need.value] for need in needs), key=lambda need: need.attribute != "category" or need.negated)
    return tuple(ordered) or (Need("category", clean_value(tokens.text)),)


def mended(tokens: Tokens, known: Vocabulary) -> Tokens:
    """The same tokens with misspelt stems of known words corrected."""
    return Tokens(tokens.text, tokens.words, known.speller.mend(tokens.stems), tokens.spans)


def _parts(chunks: Sequence[Chunk]) -> tuple[list[Chunk], list[Chunk], list[Chunk]]:
    """The product itself, what it is for, and what comes with it."""
    marker = next((index for index, part in enumerate(chunks) if part.kind == "target"), None)
    if marker is not None and is_han(chunks[marker].text):
        return _han_parts(chunks, marker)
    head: list[Chunk] = []
    target: list[Chunk] = []
    details: list[Chunk] = []
    role = head
    for part in chunks:
        if part.kind == "target" and (head or target):
            role = target
        elif part.kind in ("with", "place") and head:
            role = details
        role.append(part)
    return head, target, details


def _han_parts(chunks: Sequence[Chunk], marker: int) -> tuple[list[Chunk], list[Chunk], list[Chunk]]:
    """`适用于X的Y` and `X用Y` name the target before the product, `Y适用于X` after it."""
    before, after = list(chunks[:marker]), list(chunks[marker + 1 :])
    of = next((index for index, part in enumerate(after) if part.text == "的"), None)
    if of is not None and of + 1 < len(after):
        return before + after[of + 1 :], after[:of], []
    if len(chunks[marker].text) == 1 and after:
        return after, before, []
    return before, after, []


def _head_needs(head: Sequence[Chunk], target: Sequence[Chunk], known: Vocabulary) -> list[Need]:
    position = max((index for index, part in enumerate(head) if _is_category(part)), default=None)
    if position is None:
        category, used, needs = _unlisted_category(head, target, known)
    else:
        category, used, needs = _listed_category(head, position, known)
    after: list[Need] = []
    for run in _runs([part for index, part in enumerate(head) if index not in used]):
        after += _run_needs(run, at_front=bool(head) and run[0] is head[0], category_listed=position is not None, known=known)
    return [*([Need("category", category)] if category else []), *after, *needs]


def _is_category(part: Chunk) -> bool:
    return part.kind == "listed" and part.dimension == "category" and not part.negated


def _listed_category(head: Sequence[Chunk], position: int, known: Vocabulary) -> tuple[str, set[int], list[Need]]:
    """The last listed category is the product, unless a part noun follows: `curtain rod`. Another one before it is what an accessory fits."""
    category, used, needs = head[position].text, {position}, []
    part = head[position + 1] if position + 1 < len(head) else None
    if part and part.kind == "word" and known.is_in("part", part.text):
        used.add(position + 1)
        listed = compose(part.text, category, known.rulebook)
        if listed:
            needs.append(Need("compatibility", category))
        category = listed or f"{category} {part.text}"
    elif position and _is_category(head[position - 1]):
        used.add(position - 1)
        relation = "compatibility" if category in known.rulebook.table("category").accessories.get(head[position - 1].text, ()) else "function-effect"
        needs.append(Need(relation, head[position - 1].text))
    return category, used, needs


def _unlisted_category(head: Sequence[Chunk], target: Sequence[Chunk], known: Vocabulary) -> tuple[str | None, set[int], list[Need]]:
    """The last words before "for" or "with" name the product: `pool filter`, or an accessory of what follows: `cover for sofa bed`."""
    words = [index for index, part in enumerate(head) if part.kind == "word" and not part.negated and not any(map(str.isdigit, part.text))]
    if not words:
        return None, set(), []
    last = next((index for index in reversed(words) if not known.is_in("gathering", head[index].text)), words[-1])
    gathered = {index for index in words if index > last}  # `oven combo` is an oven, and what gathers it is no demand
    fits = next((part.text for part in target if _is_category(part)), None)
    listed = compose(head[last].text, fits, known.rulebook) if fits else None
    if listed:
        return listed, {last}, []
    run = [last]
    joined = is_han(head[last].text)
    words = [index for index in words if head[index].end - head[index].start == 1]  # `heavy duty` is no part of the name
    while run[0] - 1 in words and (len(run) < HEAD_WORDS or (joined and is_han(head[run[0] - 1].text))):
        run.insert(0, run[0] - 1)
    return clean_value(("" if joined else " ").join(head[index].text for index in run)), set(run) | gathered, []


def _runs(parts: Sequence[Chunk]) -> list[list[Chunk]]:
    """Consecutive words together (`north face`, `iphone 14`), every other chunk by itself; markers and gaps fall away."""
    runs: list[list[Chunk]] = []
    for part in parts:
        bare = part.kind == "measure" and part.measure is not None and not part.measure.kind
        joins = runs and runs[-1][-1].kind == "word" and runs[-1][-1].end == part.start and not runs[-1][-1].negated
        if joins and (bare or (part.kind == "word" and not part.negated)):
            runs[-1].append(part)
        elif part.kind in ("listed", "known", "measure", "price", "word"):
            runs.append([part])
    return runs


def _run_needs(run: Sequence[Chunk], *, at_front: bool, category_listed: bool, known: Vocabulary) -> list[Need]:
    first = run[0]
    if _is_category(first):
        return [Need("function-effect", first.text)]  # another product beside the one asked for says what it is like: one thing is asked for
    if first.kind != "word" or first.negated:
        return _chunk_needs(first)
    if len(run) > 1 and run[-1].kind == "measure":
        return [Need("series-model", clean_value(" ".join(part.text for part in run)))]
    plain = [part.text for part in run if not known.is_in("modifier", part.text)]
    needs = [Need("size-specification" if known.is_in("size", part.text) else "function-effect", part.text) for part in run if part.text not in plain]
    if any(is_han(word) for word in plain):
        return [*needs, Need("function-effect", "".join(plain))]
    sized = [word for word in plain if known.is_in("size", word)]
    named = [word for word in plain if word not in sized]
    needs += [Need("size-specification", word) for word in sized]
    if at_front and category_listed and len(named) == 1 and named[0].isalpha() and run[0].text == named[0]:
        return [Need("brand", clean_value(named[0])), *needs]
    return [*[Need("series-model", clean_value(word)) for word in named], *needs]


def _chunk_needs(part: Chunk) -> list[Need]:
    if part.kind == "known":
        return list(part.needs)
    if part.kind in ("listed", "measure", "price") or part.negated:
        return [Need(part.dimension, clean_value(part.text), part.negated)]
    return []


def _target_needs(target: Sequence[Chunk]) -> list[Need]:
    """What follows "for": a listed category or unlisted words must fit, other listed values keep their dimension (`for women`)."""
    needs: list[Need] = []
    for run in _runs(target):
        if run[0].kind == "word" and not run[0].negated:
            joint = "" if is_han(run[0].text) else " "
            needs.append(Need("compatibility", clean_value(joint.join(part.text for part in run))))
        elif _is_category(run[0]):
            needs.append(Need("compatibility", run[0].text))
        else:
            needs += _chunk_needs(run[0])
    return needs


def _detail_needs(details: Sequence[Chunk]) -> list[Need]:
    """What comes with or in it: a listed category or unlisted words are components, other values keep their dimension."""
    needs: list[Need] = []
    for run in _runs(details):
        if run[0].kind == "word" and not run[0].negated:
            joint = "" if is_han(run[0].text) else " "
            needs.append(Need("ingredient-component", clean_value(joint.join(part.text for part in run if part.text != GAP))))
        elif _is_category(run[0]):
            needs.append(Need("ingredient-component", run[0].text))
        else:
            needs += _chunk_needs(run[0])
    return needs
