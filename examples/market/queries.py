"""Shoppers' queries: one to four needs drawn from a concept of the catalogue, then put into words, English or Chinese.

The words vary as shoppers' do: synonyms, order, phrases after the noun, other units, a slip of the finger, a term from the
glossary instead of plain values, an excluded value, the broader or a neighbouring value instead of the product's own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from catalogue import Concept, Partition, near_values
from shop import HELD_OUT_DIMENSIONS, ProductClass, Shop, Term, surfaces

from lore_cli.records import Need

CHINESE, TERM, NEGATED, MISSPELT = 0.10, 0.20, 0.08, 0.07  # shares of the queries
WEIGHTS = {"colour": 3.0, "pattern": 2.2, "material": 2.0, "brand": 0.7, "price-condition": 0.45, "compatibility": 3.0, "size-specification": 1.4}
UNTRANSLATED = ("size-specification", "quantity-package", "series-model", "brand", "compatibility")  # no Chinese name: written as they are
NOT_IN_CHINESE = ("quantity-package",)
EXCLUDABLE = ("material", "pattern", "colour", "ingredient-component")
FRONT = ("brand", "series-model", "season-time", "size-specification", "quantity-package", "style", "function-effect", "ip-theme")
FRONT += ("shape-fit", "pattern", "colour", "material")  # the usual order of words before an English noun
BETWEEN_CHINESE = re.compile(r"(?<=[\u3400-\u9fff]) (?=[\u3400-\u9fff])")
AFTER = {"audience": "for {}", "occasion-scene": "for {}", "compatibility": "for {}", "ingredient-component": "with {}", "price-condition": "{}"}


@dataclass(frozen=True, slots=True)
class Query:
    """A query with what was truly meant. `knowledge`: what it takes to read it (term, misspelling, negation, units)."""

    text: str
    language: str
    needs: tuple[Need, ...]
    category: str
    knowledge: frozenset[str]
    unseen: bool


def make_queries(shop: Shop, partition: Partition, count: int, seed: int, taken: set[str]) -> Iterator[Query]:
    """`count` queries of this partition whose texts are not in `taken`, which grows. Every term gets its turn."""
    rng = random.Random(f"{seed}:queries:{partition.split}")
    turn = 0
    names = list(shop.classes)
    weights = [shop.classes[name].weight for name in names]
    made = 0
    while made < count:
        term = None
        chinese = rng.random() < CHINESE
        if rng.random() < TERM:
            term = shop.terms[turn % len(shop.terms)]
            turn += 1
            chinese = term.language == "zh"
        category = rng.choice([name for name in term.categories if name in shop.classes]) if term else rng.choices(names, weights)[0]
        query = _query(shop, partition, shop.classes[category], term, "zh" if chinese else "en", rng)
        if query is None or query.text in taken:
            turn -= term is not None
            continue
        taken.add(query.text)
        made += 1
        yield query


def _query(shop: Shop, partition: Partition, product: ProductClass, term: Term | None, language: str, rng: random.Random) -> Query | None:
    concepts = partition.concepts[product.name]
    fitting = [concept for concept in concepts if not term or all(need.value in concept.profile.get(need.attribute, ()) for need in term.needs)]
    concept = rng.choice(fitting or concepts)
    subject = Need("category", _broader(shop, "category", product.name, rng) if not term and rng.random() < 0.15 else product.name)
    needs = list(term.needs) if term else []
    wanted = rng.choices((0, 1, 2, 3), (0.05, 0.36, 0.40, 0.19))[0] - len(needs)
    needs += _needs(shop, product, concept, {need.attribute for need in needs}, wanted, language, rng)
    positive = [place for place, need in enumerate(needs) if need.attribute in EXCLUDABLE and (not term or need not in term.needs)]
    if positive and rng.random() < NEGATED * 1.6:
        place = rng.choice(positive)
        others = [v for v in product.dims[needs[place].attribute] if " + " not in v and v not in (needs[place].value, "plain")]
        others = [v for v in others if shop.rulebook.compare(needs[place].attribute, v, needs[place].value) == "conflict"]
        if others:
            needs[place] = Need(needs[place].attribute, rng.choice(others), negated=True)
    all_needs = (subject, *needs)
    held = [need for need in all_needs if (product.name, need.attribute, need.value) in shop.held_out]
    if held and partition.split == "train":
        return None
    knowledge = {"term"} if term else set()
    knowledge |= {"negation"} if any(need.negated for need in needs) else set()
    words = _chinese(all_needs, term, rng) if language == "zh" else _english(shop, all_needs, term, knowledge, rng)
    if language == "en" and rng.random() < MISSPELT / (1 - CHINESE) * 1.1:
        names = {word for need in needs if need.attribute in UNTRANSLATED for word in need.value.split()}
        slipped = _misspell(words, {"without", "under", *names, *(term.term if term else "").split()}, rng)
        knowledge |= {"misspelling"} if slipped != words else set()
        words = slipped
    return Query(words, language, all_needs, product.name, frozenset(knowledge), bool(held))


def _needs(shop: Shop, product: ProductClass, concept: Concept, have: set[str], count: int, language: str, rng: random.Random) -> list[Need]:
    """`count` further needs from the concept's profile, each of another dimension."""
    options = [dim for dim in concept.profile if dim not in have and dim not in product.unasked and len(product.dims.get(dim, ("", ""))) > 1]
    options += ["price-condition"]
    if language == "zh":
        options = [dim for dim in options if dim not in NOT_IN_CHINESE and not _untranslatable(dim, concept)]
    needs: list[Need] = []
    while options and len(needs) < count:
        dimension = rng.choices(options, [WEIGHTS.get(dim, 1.0) * (6 if _is_held_out(shop, concept, dim) else 1) for dim in options])[0]
        options.remove(dimension)
        if dimension == "price-condition":
            price = shop.prices[concept.price]
            limit = min((limit for limit in shop.limits if limit >= price), default=shop.limits[-1])
            needs.append(Need(dimension, f"{'over' if rng.random() < 0.12 else 'under'} {limit}"))
            continue
        value = rng.choice(concept.profile[dimension])
        if value == "plain" and rng.random() < 0.7:
            continue
        if dimension in HELD_OUT_DIMENSIONS and not concept.unseen and rng.random() < 0.22:
            value = rng.choice([_broader(shop, dimension, value, rng), *near_values(shop, dimension, value)])
        needs.append(Need(dimension, value))
    return needs


def _untranslatable(dimension: str, concept: Concept) -> bool:
    """Whether a Chinese query cannot name this: seats and persons have no Chinese unit, and a cover's `armchair` would read as the product."""
    counted = dimension == "size-specification" and concept.profile[dimension][0].split()[1] in ("seater", "person")
    return counted or (dimension == "compatibility" and concept.category == "sofa cover")


def _is_held_out(shop: Shop, concept: Concept, dimension: str) -> bool:
    return concept.unseen and (concept.category, dimension, concept.profile.get(dimension, ("",))[0]) in shop.held_out


def _broader(shop: Shop, dimension: str, value: str, rng: random.Random) -> str:
    parents = [parent for parent, kinds in shop.rulebook.table(dimension).kinds.items() if value in kinds]
    return rng.choice(parents) if parents else value


def _english(shop: Shop, needs: tuple[Need, ...], term: Term | None, knowledge: set[str], rng: random.Random) -> str:
    """The query in English; adds `units` to `knowledge` where a measurement is put in other units than listings mostly use."""
    front: list[str] = []
    after: list[str] = []
    by_front = sorted(needs[1:], key=lambda need: FRONT.index(need.attribute) if need.attribute in FRONT else 99)
    if rng.random() < 0.3:
        rng.shuffle(by_front)
    for need in by_front:
        if term and need in term.needs:
            continue
        text = _surface(shop, need, knowledge, rng)
        if need.negated:
            after.append(f"{rng.choice(('without', 'no', 'not', 'without'))} {text}")
        elif need.attribute in AFTER:
            short = need.attribute in ("audience", "occasion-scene") and rng.random() < 0.3
            (front if short else after).append(text if short else AFTER[need.attribute].format(text))
        elif text.startswith(("with", "no ")) or rng.random() < 0.18:
            after.append(text)
        else:
            front.append(text)
    names = surfaces("category", needs[0].value)
    noun = [names[0] if rng.random() < 0.6 else rng.choice(names)]
    if term:
        front.insert(rng.randint(0, len(front)), term.term)
        noun = [] if term.implied and rng.random() < 0.5 else noun
    rng.shuffle(after)
    after.sort(key=lambda phrase: phrase.startswith(("under ", "over ")))  # a limit stands last: "under 100 v-neck" could be read as volts
    filler = [rng.choice(("best", "new", "buy", "a"))] if rng.random() < 0.06 else []
    return " ".join(filler + front + noun + after)


def _surface(shop: Shop, need: Need, knowledge: set[str], rng: random.Random) -> str:
    units = [form for form in shop.measures.get(need.value, ()) if need.attribute == "size-specification"]
    if units and rng.random() < 0.35:
        knowledge.add("units")
        return rng.choice(units)
    forms = surfaces(need.attribute, need.value)
    return forms[0] if rng.random() < 0.6 else rng.choice(forms)


def _chinese(needs: tuple[Need, ...], term: Term | None, rng: random.Random) -> str:
    words = [term.term] if term else []
    tail = []
    for need in needs[1:]:
        if term and need in term.needs:
            continue
        if need.attribute == "price-condition":
            word, limit = need.value.split()
            tail.append(f"{limit} {'以下' if word == 'under' else '以上'}")
        elif need.attribute in UNTRANSLATED:
            words.append(need.value)
        else:
            text = rng.choice(surfaces(need.attribute, need.value, "zh"))
            words.append(f"不要 {text}" if need.negated else text)
    noun = rng.choice(surfaces("category", needs[0].value, "zh"))
    if not (term and term.implied and rng.random() < 0.5):
        words.insert(0 if rng.random() < 0.15 and not term else len(words), noun)
    text = " ".join(words + tail)
    joined = rng.random() < 0.3 and "不要" not in text
    return BETWEEN_CHINESE.sub("", text) if joined else text


def _misspell(text: str, protected: set[str], rng: random.Random) -> str:
    """One edit inside one word of five letters or more; the first letter stays."""
    words = text.split(" ")
    places = [place for place, word in enumerate(words) if len(word) >= 5 and word.isascii() and word.isalpha() and word not in protected]
    if not places:
        return text
    place = rng.choice(places)
    word = words[place]
    at = rng.randint(1, len(word) - 2)
    before, letter, after = word[:at], word[at], word[at + 1 :]
    missing, swapped, doubled, wrong = after, after[0] + letter + after[1:], letter + letter + after, rng.choice("aeiorst") + after
    words[place] = before + rng.choice((missing, swapped, doubled, wrong))
    return " ".join(words)
