"""Which ids have been seen: exact, in memory that does not grow with their number.

Ids that come in ascending order (by length, then text: p9 before p10) are a run that is written to a temporary file block by block; that such an id
is new costs one comparison. Any other id is looked up in the run's block for it, and then among the other ids: the newest of these are a set,
which goes to the file sorted by hash when it is full. A fixed table of bytes (a Bloom filter of three bits in one byte) tells that something
of this hash may be there; only then the file is read, so that the answer is never a guess.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from array import array
from bisect import bisect_left, bisect_right
from typing import IO

RECENT = 1 << 15
_TABLE_BITS = 26  # of the table's length in bytes; it is taken once RECENT ids came out of order
_SHIFT = 64 - _TABLE_BITS
_BLOCK = 512  # ids of a block
_THREE = [sum(1 << bit for bit in bits) for bits in itertools.combinations(range(8), 3)]
_MASKS = tuple((_THREE * 2)[:64])
Place = tuple[int, int]  # offset and length in the file


class Seen:
    """A set of texts that only grows. `recent`: how many that are out of order are kept in memory."""

    def __init__(self, recent: int = RECENT) -> None:
        self._file = _Blocks()
        self._last, self._length = "", 0
        self._run: list[str] = []
        self._starts: list[tuple[int, str]] = []
        self._places: list[Place] = []
        self._others = _Others(self._file, recent)

    def add(self, text: str) -> bool:
        """Remember a text; False when it has been there before."""
        if len(text) == self._length:
            if text > self._last:
                self._last = text
                self._run.append(text)
                if len(self._run) >= _BLOCK:
                    self._store()
                return True
        elif len(text) > self._length:
            self._store()
            self._last, self._length = text, len(text)
            self._run.append(text)
            return True
        return not self._in_run(text) and self._others.add(text)

    def _store(self) -> None:
        """Write the run's newest texts, which are of one length."""
        if self._run:
            self._starts.append((self._length, self._run[0]))
            self._places.append(self._file.write(self._run))
            self._run = []

    def _in_run(self, text: str) -> bool:
        if len(text) == self._length and self._run and text >= self._run[0]:
            return self._run[bisect_left(self._run, text)] == text  # not above the last one, which is there
        block = bisect_right(self._starts, (len(text), text)) - 1
        return block >= 0 and self._file.holds(self._places[block], text)


class _Others:
    """Texts in no order."""

    def __init__(self, file: _Blocks, recent: int) -> None:
        self._file, self._limit = file, recent
        self._recent: set[str] = set()
        self._table: bytearray | None = None
        self._runs: list[tuple[array[int], list[Place]]] = []

    def add(self, text: str) -> bool:
        recent, table = self._recent, self._table
        if text in recent:
            return False
        if table is not None:
            code = hash(text)
            mask = _MASKS[code & 63]
            if table[code >> _SHIFT] & mask == mask and self._stored(text, code):  # below 0 from the table's end
                return False
        recent.add(text)
        if len(recent) >= self._limit:
            self._store()
        return True

    def _store(self) -> None:
        """Write the recent texts by their hashes, and mark them in the table; in this order both are gone through from end to end."""
        if self._table is None:
            self._table = bytearray(1 << _TABLE_BITS)
        table, masks, shift = self._table, _MASKS, _SHIFT
        texts = sorted(self._recent, key=hash)
        codes = array("q", map(hash, texts))
        for code in codes:
            table[code >> shift] |= masks[code & 63]
        places = [self._file.write(texts[start : start + _BLOCK]) for start in range(0, len(texts), _BLOCK)]
        self._runs.append((codes[::_BLOCK], places))
        self._recent = set()

    def _stored(self, text: str, code: int) -> bool:
        """Whether one of the stored runs holds the text. Equal hashes may begin a block and end the one before it."""
        for starts, places in self._runs:
            for block in range(max(bisect_left(starts, code) - 1, 0), bisect_right(starts, code)):
                if self._file.holds(places[block], text):
                    return True
        return False


class _Blocks:
    """Blocks of texts in a temporary file, made with the first of them."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0

    def write(self, texts: list[str]) -> Place:
        """Write a block; where it stands."""
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

    def holds(self, place: Place, text: str) -> bool:
        """Whether the block at a place holds a text."""
        assert self._file is not None
        return b"\n" + _line(text) in os.pread(self._file.fileno(), place[1], place[0])


def _line(text: str) -> bytes:
    """A text as one line; other texts are other lines."""
    return text.encode("utf-8", "surrogatepass").replace(b"\\", b"\\\\").replace(b"\n", b"\\n") + b"\n"
