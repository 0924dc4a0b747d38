"""What every command that reads rows promises about its input. One set of tests; each reader inherits all of them.

A reader is a command or verb with what it needs beside the rows. Bad input is told with file, line and field, exit 3, before anything heavy
is loaded or anything is written.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from commands_run import ROOT, Done, lore
from lore_cli import modelcard, stream
from lore_cli.rulebook import load_rulebook

EXAMPLES = ROOT / "examples"
PAIRS, LOG = EXAMPLES / "pairs.jsonl", EXAMPLES / "log.jsonl"
HEAVY = ("torch", "transformers", "trl", "peft", "vllm")


@dataclass(frozen=True)
class Reader:
    """`words`: as typed. `rows`: which rows it reads. `options`: what it needs; {WORLD} is the folder of the session. `output`: rows, directory, document or none."""

    words: str
    rows: str
    options: str = ""
    output: str = "rows"
    on_empty: int = 0
    unique: bool = True

    def run(self, world: Path, *more: object, stdin: bytes = b"") -> Done:
        return lore(self.words, *self.options.format(WORLD=world).split(), *more, stdin=stdin)


READERS = (
    Reader("lore-synth", "pairs", "--stages knowledge,visual"),
    Reader("lore-sft", "traces", "--from-scratch tiny", "directory", 3),
    Reader("lore-rl select", "pairs", "--judge rulebook: --least 0 --most 1"),
    Reader("lore-rl train", "pairs", "--model {WORLD}/model", "directory", 3),
    Reader("lore-rl dpo", "preferences", "--model {WORLD}/model", "directory", 3),
    Reader("lore-rl reward", "traces"),
    Reader("lore-rl inspect", "rewards", output="none"),
    Reader("lore-rair build", "pairs", output="directory", on_empty=3),
    Reader("lore-rair sample", "pairs", "--size 9"),
    Reader("lore-rair sheet export", "pairs", output="document"),
    Reader("lore-rair run", "pairs", "--judge rulebook:"),
    Reader("lore-rair score", "verdicts", "--gold {WORLD}/pairs.jsonl --draws 100", "none", 3),
    Reader("lore-rair perturb", "pairs", output="document"),
    Reader("lore-rair audit", "verdicts", "--gold {WORLD}/pairs.jsonl --draws 100", "none", 3),
    Reader("lore-distill label", "pairs", "--judge rulebook:"),
    Reader("lore-distill train", "pairs", "--from-scratch tiny", "directory", 3),
    Reader("lore-tier plan", "log", output="document", on_empty=3, unique=False),
    Reader("lore-tier route", "pairs", "--plan {WORLD}/plan.json"),
    Reader("lore-tier replay", "log", "--plan {WORLD}/plan.json --candidates {WORLD}/pairs.jsonl --gold {WORLD}/pairs.jsonl", on_empty=3, unique=False),
)
GOOD: dict[str, list[dict[str, Any]]] = {
    "pairs": [{"id": f"p{n}", "query": f"navy sofa {n % 2}", "item": {"id": f"i{n}", "title": "dark blue sofa"}, "grade": f"L{1 + n % 4}"} for n in range(6)],
    "log": [{"query": f"navy sofa {n}", "count": 9 - n} for n in range(6)],
}
GOOD["traces"] = [{**row, "prompt": "ask", "completion": f"category = sofa ; found sofa [title] ; exact\nrules: R1\ngrade: {row['grade']}"} for row in GOOD["pairs"]]
GOOD["rewards"] = [{**row, "reward": 0.5, "rewards": {"grade": 0.5}} for row in GOOD["traces"]]
GOOD["preferences"] = [{**row, "chosen": row["completion"], "rejected": "grade: L1"} for row in GOOD["traces"]]
GOOD["verdicts"] = [{"id": row["id"], "query": row["query"], "item_id": row["item"]["id"], "judge": "j", "grade": "L4"} for row in GOOD["pairs"]]


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """What readers need beside their rows: pairs, a plan, a folder that passes for a fine-tuned model until it is loaded."""
    folder = tmp_path_factory.mktemp("world")
    write(folder / "pairs.jsonl", GOOD["pairs"])
    write(folder / "log.jsonl", GOOD["log"])
    (folder / "model").mkdir()
    modelcard.write(folder / "model", layout="answer-last", prompt="short", stage="sft", base="none", rulebook=load_rulebook())
    assert lore("lore-tier plan", folder / "log.jsonl", "--tail", "rulebook:", "-o", folder / "plan.json").code == 0
    return folder


def write(path: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """A JSONL file; `line3=…` replaces that line by a row, or by bytes as they are."""
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    for name, change in changes.items():
        number = int(name.removeprefix("line"))
        lines[number - 1 : number] = [change if isinstance(change, bytes) else json.dumps(change).encode()]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def into(reader: Reader, folder: Path) -> list[object]:
    """Options that send the output into a folder of its own, where the reader has one."""
    folder.mkdir(exist_ok=True)
    return [] if reader.output == "none" else ["-o", folder / "out"]


def refused(done: Done, code: int, *told: str) -> None:
    assert done.code == code, (done.code, done.err)
    assert "Traceback" not in done.err and done.out == b""
    for text in told:
        assert text in done.err, (text, done.err)


def readers(fit: Callable[[Reader], object] = lambda reader: True) -> Any:
    """The test runs once for each reader that fits."""
    return pytest.mark.parametrize("reader", [reader for reader in READERS if fit(reader)], ids=lambda reader: reader.words.replace(" ", "-"))


every_reader = readers()
NEEDED = {"lore-rl dpo": ("prompt", "chosen", "rejected"), "lore-rl reward": ("grade", "completion"), "lore-rl inspect": ("reward",)}


@pytest.fixture
def bad(world, tmp_path):
    """Run a reader on its rows with line 3 changed; nothing may be left where the output would have been."""

    def run(reader: Reader, line3: Any) -> tuple[Done, str]:
        path = write(tmp_path / "rows.jsonl", GOOD[reader.rows], line3=line3)
        out = Path(tempfile.mkdtemp(dir=tmp_path))
        done = reader.run(world, path, *into(reader, out))
        left = {found.name for found in out.iterdir()} - {"out.ledger"}  # what was done before the bad row, for --resume
        assert left == set()
        return done, f"{path}:3: "

    return run


@every_reader
def test_a_line_that_is_no_json(reader, bad):
    done, place = bad(reader, b'{"id": "p9", "query": ')
    refused(done, 3, place + "not valid JSON", "next: ")


@every_reader
def test_bytes_that_are_no_utf8(reader, bad):
    done, place = bad(reader, b'{"id": "p9", "query": "caf\xe9", "count": 1}')
    refused(done, 3, place + "not valid JSON")


@every_reader
def test_a_row_that_is_no_object(reader, bad):
    done, place = bad(reader, [1, 2])
    refused(done, 3, place, "object", "array")


@every_reader
def test_a_missing_field(reader, bad):
    done, place = bad(reader, without(GOOD[reader.rows][2], "query"))
    refused(done, 3, place + "query: required field is missing")


@readers(lambda reader: "item" in GOOD[reader.rows][0])
def test_a_field_inside_the_item_that_is_missing(reader, bad):
    row = GOOD[reader.rows][2]
    refused(bad(reader, {**row, "item": without(row["item"], "title")})[0], 3, "item.title: required field is missing")


@every_reader
def test_a_wrong_type(reader, bad):
    done, place = bad(reader, {**GOOD[reader.rows][2], "query": 7})
    refused(done, 3, place + "query: expected str, got int")


@every_reader
def test_an_empty_query(reader, bad):
    done, place = bad(reader, {**GOOD[reader.rows][2], "query": " \u2003 "})
    refused(done, 3, place + "query: is empty")


@readers(lambda reader: reader.rows != "log")
def test_an_unknown_grade(reader, bad):
    done, place = bad(reader, {**GOOD[reader.rows][2], "grade": "L7"})
    refused(done, 3, place + "grade: found 'L7'; allowed: L1, L2, L3, L4")


@readers(lambda reader: reader.rows != "log")
def test_an_id_that_is_a_number(reader, bad):
    done, place = bad(reader, {**GOOD[reader.rows][2], "id": 123456789012345678})
    refused(done, 3, place + "id: expected str, got int", "quote them")


@readers(lambda reader: reader.unique)
def test_an_id_that_came_before(reader, bad):
    done, place = bad(reader, {**GOOD[reader.rows][2], "id": GOOD[reader.rows][0]["id"]})
    refused(done, 3, place + "id: duplicate id 'p0'")


@readers(lambda reader: reader.words in NEEDED)
def test_a_field_that_only_this_command_needs(reader, bad):
    for name in NEEDED[reader.words]:
        done, place = bad(reader, without(GOOD[reader.rows][2], name))
        refused(done, 3, place + f"{name}: required field is missing")


@every_reader
def test_a_file_that_is_not_there(reader, world, tmp_path):
    done = reader.run(world, tmp_path / "nowhere.jsonl", *into(reader, tmp_path / "out"))
    refused(done, 4, "nowhere.jsonl: No such file", "next: ")
    assert list((tmp_path / "out").iterdir()) == []


@every_reader
def test_a_folder_in_place_of_a_file(reader, world, tmp_path):
    refused(reader.run(world, tmp_path, *into(reader, tmp_path / "out")), 4, f"{tmp_path}: Is a directory")


@every_reader
def test_a_parquet_file_that_was_cut_short(reader, world, tmp_path):
    whole = tmp_path / "rows.parquet"
    with stream.open_output(str(whole)) as writer:
        for row in GOOD[reader.rows]:
            writer.write(row)
    for length in (4, 11, len(whole.read_bytes()) // 2, len(whole.read_bytes()) - 1):
        cut = tmp_path / "cut.parquet"
        cut.write_bytes(whole.read_bytes()[:length])
        refused(reader.run(world, cut, *into(reader, tmp_path / "out")), 3, "cut.parquet: not a readable Parquet file", "next: ")
    refused(reader.run(world, *into(reader, tmp_path / "out"), stdin=cut.read_bytes()), 3, "<stdin>: not a readable Parquet file")


@every_reader
def test_no_rows_at_all(reader, world, tmp_path):
    empty = write(tmp_path / "empty.jsonl", [])
    done = reader.run(world, empty, *into(reader, tmp_path / "out"))
    assert done.code == reader.on_empty and "Traceback" not in done.err, done.err
    assert done.code == 0 or done.err.strip()
    if reader.output == "rows" and done.code == 0:
        assert (tmp_path / "out" / "out").read_bytes() == b""


@readers(lambda reader: reader.output != "none")
def test_an_output_that_exists_is_refused_before_any_work(reader, world, tmp_path):
    options = into(reader, tmp_path / "out")
    target = tmp_path / "out" / "out"
    if reader.output == "directory":
        target.mkdir()
        (target / "theirs.txt").write_text("kept")
    else:
        target.write_text("kept")
    refused(reader.run(world, tmp_path / "nowhere.jsonl", *options), 2, str(target), "next: ")  # the input is missing too, and never looked for
    if reader.output == "directory":  # --force replaces what a lore command wrote, not somebody's folder
        refused(reader.run(world, tmp_path / "nowhere.jsonl", *options, "--force"), 2, "that no lore command wrote")
        assert (target / "theirs.txt").read_text() == "kept"
    else:
        refused(reader.run(world, tmp_path / "nowhere.jsonl", *options, "--force"), 4, "nowhere.jsonl")
        assert target.read_text() == "kept"


@every_reader
def test_an_unknown_option_and_a_wrong_value(reader, world):
    refused(reader.run(world, "--no-such-option"), 2, "No such option", "--help")
    refused(reader.run(world, "--limit", "many"), 2, "'--limit': 'many'")


def test_bad_rows_are_told_before_anything_heavy_is_loaded(world, tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from test_contract import READERS, GOOD, HEAVY, write, Path
for number, reader in enumerate(READERS):
    rows = write(Path({str(tmp_path)!r}) / "rows.jsonl", GOOD[reader.rows], line3=b"no json")
    done = reader.run(Path({str(world)!r}), rows, *([] if reader.output == "none" else ["-o", f"{tmp_path}/out{{number}}"]))
    assert done.code == 3, (reader, done)
    loaded = [name for name in HEAVY if name in sys.modules]
    assert not loaded, (reader, loaded)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
