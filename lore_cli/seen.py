"""Which ids have been seen: exact, in memory that does not grow with their number.

Ids that come in ascending order (by length, then text: p9 before p10) are a run that is written to a temporary file block by block; that such an id
is new costs one comparison. Any other id is looked up in the run's block for it, and then among the other ids: the first of these are a set,
later ones go to the file too, in chains of blocks by their hash. A fixed table of bytes (a Bloom filter of three bits in one byte) tells
that something of this hash may be there; only then the chain is read, so that the answer is never a guess.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from bisect import bisect_right
from typing import IO

FIRST = 1 << 15
_TABLE = 1 << 26  # bytes, taken once more than FIRST ids came out of order
_CHAINS = 1 << 10
_RUN_BLOCK, _CHAIN_BLOCK = 4096, 128  # ids gathered before they are written
_THREE = [sum(1 << bit for bit in bits) for bits in itertools.combinations(range(8), 3)]
_MASKS = (_THREE * 2)[:64]


class Seen:
    """A set of texts that only grows. `first`: how many that are out of order are kept in a plain set."""

    def __init__(self, first: int = FIRST) -> None:
        self._file = _Blocks()
        self._last, self._length = "", 0
        self._run: list[str] = []
        self._starts: list[tuple[int, str]] = []
        self._places: list[tuple[int, int]] = []
        self._others = _Others(self._file, first)

    def add(self, text: str) -> bool:
        """Remember a text; False when it has been there before."""
        length = len(text)
        if length > self._length or (length == self._length and text > self._last):
            self._last, self._length = text, length
            self._run.append(text)
            if len(self._run) >= _RUN_BLOCK:
                self._starts.append((len(self._run[0]), self._run[0]))
                self._places.append(self._file.write(self._run))
                self._run.clear()
            return True
        return not self._in_run(text) and self._others.add(text)

    def _in_run(self, text: str) -> bool:
        block = bisect_right(self._starts, (len(text), text)) - 1
        if block >= 0 and self._file.holds(self._places[block], text):
            return True
        at = bisect_right(self._run, (len(text), text), key=lambda other: (len(other), other)) - 1
        return at >= 0 and self._run[at] == text


class _Others:
    """Texts in no order."""

    def __init__(self, file: _Blocks, first: int) -> None:
        self._file, self._limit = file, first
        self._first: set[str] | None = set()
        self._table = bytearray()
        self._chains: list[list[str]] = []
        self._places: list[list[tuple[int, int]]] = []

    def add(self, text: str) -> bool:
        first = self._first
        if first is not None:
            if text in first:
                return False
            first.add(text)
            if len(first) >= self._limit:
                self._first, self._table = None, bytearray(_TABLE)
                self._chains, self._places = [[] for _ in range(_CHAINS)], [[] for _ in range(_CHAINS)]
                for one in first:
                    self.add(one)
            return True
        code = hash(text)
        place, mask, number = code & (_TABLE - 1), _MASKS[code >> 26 & 63], code >> 52 & (_CHAINS - 1)
        found, chain = self._table[place], self._chains[number]
        if found & mask == mask and (text in chain or any(self._file.holds(block, text) for block in self._places[number])):
            return False
        self._table[place] = found | mask
        chain.append(text)
        if len(chain) >= _CHAIN_BLOCK:
            self._places[number].append(self._file.write(chain))
            chain.clear()
        return True


class _Blocks:
    """Blocks of texts in a temporary file, made with the first of them."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0

    def write(self, texts: list[str]) -> tuple[int, int]:
        """Where the block stands: (offset, bytes)."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)
        block = ("\n" + "\n".join(texts) + "\n").encode("utf-8", "surrogatepass")
        if block.count(b"\n") != len(texts) + 1 or b"\\" in block:
            block = b"\n" + b"".join(map(_line, texts))
        start, written = self._end, 0
        while written < len(block):
            written += os.pwrite(self._file.fileno(), block[written:], start + written)
        self._end += len(block)
        return start, len(block)

    def holds(self, place: tuple[int, int], text: str) -> bool:
        """Whether the block at a place holds a text."""
        assert self._file is not None
        return b"\n" + _line(text) in os.pread(self._file.fileno(), place[1], place[0])


def _line(text: str) -> bytes:
    """A text as one line; other texts are other lines."""
    return text.encode("utf-8", "surrogatepass").replace(b"\\", b"\\\\").replace(b"\n", b"\\n") + b"\n"
