"""Sets of words that are nearly the same, found exactly and without comparing each with all.

Similarity is the share of common words (Jaccard). Of two sets that reach a threshold t, the first n - ceil(t n) + 1 of the n words of each,
in any fixed order of words, have one in common (prefix filtering: Chaudhuri, Ganti and Kaushik 2006, "A primitive operator for similarity
joins"). So only these few words of each set are filed, and whatever shares one is compared in full. At the thresholds of near-duplicates
and the length of product texts that is two or three words a set: less than a MinHash signature takes, and no near-duplicate is missed [ours].
"""

from __future__ import annotations

import math
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator

import orjson

_HEADS = 1 << 20
_ROUNDING = 1e-9  # of a threshold such as 0.9, times a number of words


class Archive:
    """Records on disk by number, found again by the codes they were filed under. Memory: 8 bytes a record, 12 a code, and 4 MiB.

    The codes are a hash table with chains in flat arrays; a check of 32 bits tells codes apart that share a chain. Where two codes are alike in
    this as well, `filed` gives a number too many: who asks compares the records.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)
        self._ends = array("Q", [0])
        self._heads = array("I", bytes(4 * _HEADS))
        self._older, self._checks, self._numbers = array("I", [0]), array("I", [0]), array("I", [0])

    def add(self, record: bytes, codes: Iterable[int]) -> int:
        """Store a record under codes of 64 bits; its number."""
        number = len(self._ends) - 1
        self._file.write(record)
        self._ends.append(self._ends[-1] + len(record))
        for code in codes:
            head = code % _HEADS
            self._older.append(self._heads[head])
            self._checks.append(code >> 20 & 0xFFFFFFFF)
            self._numbers.append(number)
            self._heads[head] = len(self._numbers) - 1
        return number

    def filed(self, code: int) -> Iterator[int]:
        """The numbers of the records under a code, the newest first."""
        check, entry = code >> 20 & 0xFFFFFFFF, self._heads[code % _HEADS]
        while entry:
            if self._checks[entry] == check:
                yield self._numbers[entry]
            entry = self._older[entry]

    def record(self, number: int) -> bytes:
        """A record as it was added."""
        return os.pread(self._file.fileno(), self._ends[number + 1] - self._ends[number], self._ends[number])


class Similar:
    """Named sets of words; `find` gives the name of the first one that is nearly the same. threshold: the least Jaccard similarity, above 0 up to 1.

    Only sets of one group are compared. Memory: that of `Archive`, with n - ceil(threshold n) + 1 codes a set of n words.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._archive = Archive()

    def add(self, name: str, group: str, words: Iterable[str]) -> None:
        """Remember a set; a word counts once."""
        kept = frozenset(words)
        self._archive.add(orjson.dumps([name, group, *kept]), self._codes(group, kept))

    def find(self, group: str, words: Iterable[str]) -> str | None:
        """The name of the first set of the group that is nearly `words`; None when there is none, and for no words."""
        own, least = frozenset(words), self.threshold - _ROUNDING
        for number in sorted({number for code in self._codes(group, own) for number in self._archive.filed(code)}):
            name, other_group, *others = orjson.loads(self._archive.record(number))
            common = len(own.intersection(others))
            if other_group == group and common >= least * (len(own) + len(others) - common):
                return name
        return None

    def _codes(self, group: str, words: frozenset[str]) -> list[int]:
        """Of the words that are filed: the longest first, because they are the rarer ones."""
        kept = len(words) - math.ceil((self.threshold - _ROUNDING) * len(words)) + 1 if words else 0
        return [hash((group, word)) & 0xFFFFFFFFFFFFFFFF for word in sorted(words, key=lambda word: (-len(word), word))[:kept]]
