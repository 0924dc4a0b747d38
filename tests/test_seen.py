"""Ids seen before: a set whose memory does not grow, exact whatever the ids are and however they are ordered."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lore_cli import seen as module
from lore_cli.seen import Seen


SMALL = {"_TABLE_BITS": 4, "_SHIFT": 60, "_BLOCK": 3}


def like_a_set(texts: list[str], recent: int = 1000) -> None:
    seen, known = Seen(recent), set()
    for text in texts:
        assert seen.add(text) == (text not in known), text
        known.add(text)


@pytest.fixture
def small(monkeypatch):
    """Blocks and table so small that a few ids go through all of them."""
    for name, value in SMALL.items():
        monkeypatch.setattr(module, name, value)


TEXTS = some.one_of(some.text(max_size=4), some.integers(0, 40).map(str), some.sampled_from(["\n", "\\", "\\n", "n", "a\nb", "a", "b", "", "\ud800", "\x00", "a\\nb"]))


@given(some.lists(TEXTS, max_size=60))
def test_it_answers_as_a_set_does(texts: list[str]):
    like_a_set(texts)


@given(some.data())
def test_it_answers_as_a_set_does_when_everything_goes_to_the_file(data):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(module, name, value)
        like_a_set(data.draw(some.lists(TEXTS, max_size=60)), recent=2)


ORDERS = {
    "ascending": lambda ids: ids,
    "descending": lambda ids: ids[::-1],
    "shuffled": lambda ids: random.Random(1).sample(ids, len(ids)),
    "two files one after the other": lambda ids: ids[::2] + ids[1::2],
    "ascending with late comers": lambda ids: sorted(ids, key=lambda text: int(text) + 7 * (int(text) % 10 == 0)),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("repeats", [0, 1, 997, 19_999])
def test_a_repeated_id_is_found_in_any_order_and_no_other(order: str, repeats: int, small):
    ids = ORDERS[order]([str(number) for number in range(1000)])
    seen = Seen(recent=50)
    assert all(seen.add(text) for text in ids)
    assert not seen.add(str(repeats % 1000)) and not any(seen.add(text) for text in ids[::37]) and seen.add("1000")


def test_many_ids_of_no_order_at_real_sizes():
    draw = random.Random(3)
    ids = [str(uuid.UUID(int=draw.getrandbits(128))) for _ in range(60_000)]
    seen = Seen(recent=1000)
    assert all(seen.add(text) for text in ids)
    assert not any(seen.add(text) for text in ids[::100])
    assert seen.add("another")
