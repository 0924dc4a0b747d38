"""Text as the deterministic expert reads it: tokens, stems, spelling, longest match of known phrases.

Words of alphabetic scripts are tokens; Chinese and Japanese characters are tokens one by one, so the longest match over known
surface forms is also the word segmentation. Numbers are tokens in one spelling: `1/2`, `.5` and `0.50` are all `0.5`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

Payload = TypeVar("Payload")

_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_NUMBER = r"\d+(?:,\d{3})+(?:\.\d+)?|\d+[ -]\d+/\d+(?!\d*/)|\d+/\d+|\d*\.?\d+"
_TOKEN = re.compile(rf"(?P<number>{_NUMBER})|(?P<mark>(?<=\d)\s?[\"”″]|(?<=\d)['’′](?!\w))|(?P<han>[{_HAN}])|(?P<word>(?:(?![{_HAN}])[^\W\d_])+(?:['’](?:(?![{_HAN}])[^\W\d_])+)?)|(?P<gap>[,;:|()\[\]/+!?]|\s[-–—]\s|。|、)")
_ENTITY = re.compile(r"&(?:amp|quot|apos|lt|gt|nbsp);")
GAP = ","
_SHORT = 200  # characters
_MARKS = {'"': "in", "”": "in", "″": "in", "'": "ft", "’": "ft", "′": "ft"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text cut into tokens: `words` folded, `stems` without inflection, `spans` into `text` (the normalised form)."""

    text: str
    words: tuple[str, ...]
    stems: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.words)

    def surface(self, start: int, end: int) -> str:
        """The normalised text from token `start` up to token `end`."""
        return self.text[self.spans[start][0] : self.spans[end - 1][1]]


def normalise(text: str) -> str:
    """NFKC and case folding: full-width digits, ligatures and capitals in one form."""
    plain = _ENTITY.sub(" ", text)
    return plain.lower() if plain.isascii() else unicodedata.normalize("NFKC", plain).casefold().replace("⁄", "/")


def tokenise(text: str) -> Tokens:
    """Cut a text into tokens. Punctuation that separates phrases is the token `,`; an inch or foot mark after a number is `in` or `ft`.

    Queries, values and titles come again and again, from one check to the next and from row to row: the tokens of short texts are kept.
    """
    return _tokens_of_short(text) if len(text) <= _SHORT else _tokens(text)


def _tokens(text: str) -> Tokens:
    folded = normalise(text)
    words: list[str] = []
    spans: list[tuple[int, int]] = []
    for found in _TOKEN.finditer(folded):
        kind, word = found.lastgroup, found.group()
        if kind == "number":
            word = number_text(word)
        elif kind == "mark":
            word = _MARKS[word.strip()]
        elif kind == "gap":
            word = GAP
        elif kind == "word" and "’" in word:
            word = word.replace("’", "'")
        words.append(word)
        spans.append(found.span())
    return Tokens(folded, tuple(words), tuple(map(stem, words)), tuple(spans))


_tokens_of_short = lru_cache(maxsize=16_384)(_tokens)


@lru_cache(maxsize=65_536)
def number_text(text: str) -> str:
    """A number in one spelling: `'1-1/2' -> '1.5'`, `'8,000' -> '8000'`. What is no finite number stays as it is."""
    try:
        if "/" in text:
            parts = re.split(r"[ -]", text)
            top, bottom = parts[-1].split("/")
            value = (float(parts[0]) if len(parts) == 2 else 0.0) + float(top) / float(bottom)
        else:
            value = float(text.replace(",", ""))
    except (ZeroDivisionError, ValueError):
        return text
    return f"{value:.10g}"


def is_number(word: str) -> bool:
    """Whether a token is a number."""
    return word[:1].isdigit()


def amount(number: str) -> float:
    """What a number token amounts to; NaN, equal to nothing, for a number in form only (`1/0`)."""
    try:
        return float(number)
    except ValueError:
        return math.nan


def is_han(word: str) -> bool:
    """Whether a token is a Chinese or Japanese character."""
    return "\u3040" <= word[:1] <= "\u30ff" or "\u3400" <= word[:1] <= "\u9fff" or "\uf900" <= word[:1] <= "\ufaff"


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A word without possessive and plural: `women's -> women`, `dresses -> dress`, `batteries -> battery`, `sofas -> sofa`."""
    word = word.removesuffix("'s")
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    return word[:-1]


@lru_cache(maxsize=65_536)
def root(stemmed: str) -> str:
    """What is left of a stem without its ending, if that is four letters or more: `railing`, `rail` and `rails` share `rail`, `cleaner` and `cleaning` `clean`."""
    for ending in ("ings", "ing", "ers", "er", "ors", "or", "ed", "e"):
        if stemmed.endswith(ending) and len(stemmed) - len(ending) >= 4 and stemmed.isalpha():
            base = stemmed[: -len(ending)]
            return base[:-1] if len(base) > 4 and base[-1] == base[-2] and base[-1] not in "sl" else base
    return stemmed


class Phrases(Generic[Payload]):
    """Surface forms with what they stand for; `longest` finds the longest that starts at a token. Plural forms match too."""

    def __init__(self, forms: Iterable[tuple[str, Payload]] | Mapping[str, Payload]) -> None:
        """Forms given earlier win over later ones that read the same."""
        self._by_first: dict[str, list[tuple[int, tuple[str, ...], Payload]]] = {}
        seen: set[tuple[str, ...]] = set()
        for form, payload in forms.items() if isinstance(forms, Mapping) else forms:
            stems = tuple(word for word in tokenise(form).stems if word != GAP)
            if stems and stems not in seen:
                seen.add(stems)
                self._by_first.setdefault(stems[0], []).append((len(stems), stems, payload))
        for entries in self._by_first.values():
            entries.sort(key=lambda entry: -entry[0])

    def longest(self, stems: Sequence[str], start: int) -> tuple[int, Payload] | None:
        """(number of tokens, payload) of the longest form that begins at `start`, or None."""
        entries = self._by_first.get(stems[start])
        if entries is None:
            return None
        for length, form, payload in entries:
            if length == 1 or stems[start : start + length] == form:
                return length, payload
        return None

    def forms(self) -> set[tuple[str, ...]]:
        """Every form as stems."""
        return {form for entries in self._by_first.values() for _, form, _ in entries}


def near(left: str, right: str) -> bool:
    """Whether two words are within one insertion, deletion, substitution or swap of neighbours (Damerau-Levenshtein distance at most 1)."""
    if left == right:
        return True
    if abs(len(left) - len(right)) > 1:
        return False
    if len(left) > len(right):
        left, right = right, left
    start = 0
    while start < len(left) and left[start] == right[start]:
        start += 1
    rest_left, rest_right = left[start:], right[start:]
    if len(left) < len(right):
        return rest_left == rest_right[1:]
    return rest_left[1:] == rest_right[1:] or (rest_left[:2] == rest_right[1::-1] and rest_left[2:] == rest_right[2:])


def edits(left: str, right: str, limit: int) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours between two words (optimal string alignment), or `limit + 1` when there are more."""
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    above = list(range(len(right) + 1))
    for row, letter in enumerate(left, 1):
        here = [row]
        for column, other in enumerate(right, 1):
            cost = min(above[column] + 1, here[-1] + 1, above[column - 1] + (letter != other))
            if row > 1 and column > 1 and letter == right[column - 2] and left[row - 2] == other:
                cost = min(cost, before[column - 2] + 1)
            here.append(cost)
        if min(here) > limit:
            return limit + 1
        before, above = above, here
    return min(above[-1], limit + 1)


class Speller:
    """Mends words one edit away from a word of a known form.

    Careful [ours]: the first letter is never wrong, nor the last one of words under seven letters; a substitution is mended only in words of
    six letters or more (`short` is not `shirt`). Shorter words are mended where the rest of a phrase or a whole form of the `heads` speaks
    for it: `pillow covr`, `dess`. Real words (`known`, `never`) are left alone.
    """

    def __init__(self, forms: Iterable[tuple[str, ...]], heads: Iterable[str], known: Iterable[str], never: Iterable[str] = ()) -> None:
        """Forms and heads are stems; what is mended becomes a word of theirs."""
        listed = sorted(set(forms))
        self._right = frozenset(known) | frozenset(never) | {word for form in listed for word in form}
        self._by_start: dict[tuple[str, int], list[str]] = {}
        for word in sorted({word for form in listed for word in form if len(word) >= 5 and word.isalpha()}):
            for length in (len(word) - 1, len(word), len(word) + 1):
                self._by_start.setdefault((word[0], length), []).append(word)
        self._heads = frozenset(heads)
        self._gapped: dict[tuple[int, tuple[str, ...]], list[str]] = {}
        for form in listed:
            for place, word in enumerate(form if len(form) in (2, 3) else ()):
                self._gapped.setdefault((place, form[:place] + form[place + 1 :]), []).append(word)

    def mend(self, stems: Sequence[str]) -> tuple[str, ...]:
        """The stems with misspelt ones replaced. Of several candidates the first in alphabetical order wins."""
        mended = [self._word(word) for word in stems]
        for index, word in enumerate(mended):
            if len(word) >= 4 and word.isalpha() and word not in self._right:
                mended[index] = self._in_phrase(mended, index)
        return tuple(mended)

    def _word(self, word: str) -> str:
        if len(word) < 4 or word in self._right or not word.isalpha():
            return word
        for known in self._by_start.get((word[0], len(word)), ()):
            same_length, swapped = len(known) == len(word), sorted(known) == sorted(word)
            safe = len(word) >= 5 or (known in self._heads and len(known) > len(word))
            if safe and near(word, known) and (swapped or not same_length or len(word) >= 6) and (len(known) >= 7 or word[-1] == known[-1] or swapped):
                return known
        return word

    def _in_phrase(self, stems: Sequence[str], index: int) -> str:
        for length in (3, 2):
            for start in range(max(0, index - length + 1), min(index, len(stems) - length) + 1):
                others = (*stems[start:index], *stems[index + 1 : start + length])
                for word in self._gapped.get((index - start, others), ()):
                    if len(word) >= 4 and word[0] == stems[index][0] and near(word, stems[index]):
                        return word
        return stems[index]
