"""--sample: the same rows whatever their order, in the order read."""

from __future__ import annotations

import random

from lore_cli.records import QueryCount, parse
from lore_cli.stream import sample

ROWS = [parse(QueryCount, {"query": f"query {number}", "count": number + 1, "shop": number % 3}) for number in range(200)]


def test_the_same_rows_are_chosen_in_any_order_and_come_in_the_order_read():
    chosen = sample(ROWS, 20)
    assert [row.count for row in chosen] == sorted(row.count for row in chosen) and len(chosen) == 20
    shuffled = random.Random(3).sample(ROWS, len(ROWS))
    again = sample(shuffled, 20)
    assert {row.query for row in again} == {row.query for row in chosen}
    assert [row.query for row in again] == [row.query for row in shuffled if row.query in {row.query for row in chosen}]


def test_it_is_spread_over_the_input_and_never_more_than_there_is():
    assert {row.count <= 100 for row in sample(ROWS, 30)} == {True, False}
    assert sample(ROWS, 0) == [] and sample(ROWS, 500) == ROWS and sample([], 5) == []
