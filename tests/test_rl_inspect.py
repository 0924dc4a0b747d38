"""What a model wrote, as tables, files and pages."""

from __future__ import annotations

import orjson
import training_toys as toys
from commands_run import lore


def test_the_table_shows_the_lowest_rewards_first(tmp_path):
    given_rows = toys.traces(6)
    given_rows[3]["completion"] = "nothing of the sort"
    scored = lore("lore-rl", "reward", "--quiet", stdin=b"".join(orjson.dumps(row) + b"\n" for row in given_rows)).out
    table = lore("lore-rl", "inspect", "--worst", 2, stdin=scored, env={"COLUMNS": "200"})
    text = table.out.decode()
    assert table.code == 0 and "nothing of the sort" in text and text.count("red lamp") + text.count("white lamp") >= 1
    assert text.index("nothing of the sort") < text.index("grade: L")
