"""What every command promises about its output, its settings and what it says: formats, manifests, precedence, secrets, exit codes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from commands_run import ROOT, lore
from lore_cli import stream
from lore_cli.rulebook import load_rulebook
from test_contract import EXAMPLES, GOOD, LOG, PAIRS, READERS, Reader, readers, refused, world, write  # noqa: F401  `world` is a fixture

FILTERS = [reader for reader in READERS if reader.output == "rows" and reader.rows in ("pairs", "traces")]
filters = readers(lambda reader: reader in FILTERS)
JUDGE = Reader("lore-rair run", "pairs", "--judge rulebook:")


def rows_of(data: bytes) -> list[dict]:
    return [json.loads(line) for line in data.split(b"\n") if line]


def steady(data: bytes) -> list[dict]:
    """Rows without what tells of the moment (latency)."""
    return [{name: value for name, value in row.items() if name != "latency_ms"} for row in rows_of(data)]


def odd(rows: list[dict]) -> list[dict]:
    """Rows that break careless readers: an 18-digit id, U+2028 in a title, fields of the shop's own, null and nested."""
    changed = [json.loads(json.dumps(row)) for row in rows]
    changed[0]["id"] = "123456789012345678"
    changed[1]["item"]["title"] = "navy\u2028sofa \u0085 \U0001f6cb \u6d77\u519b\u84dd"
    changed[2] |= {"shop": {"shelf": 7, "tags": ["a", None, "b"]}, "note": None, "big": 9007199254740993}
    changed[2]["item"]["margin"] = 0.25
    return changed


@filters
def test_stdin_gives_what_the_file_gives(reader, world, tmp_path):
    path = write(tmp_path / "rows.jsonl", odd(GOOD[reader.rows]))
    named, piped, dash = reader.run(world, path), reader.run(world, stdin=path.read_bytes()), reader.run(world, "-", stdin=path.read_bytes())
    assert named.code == piped.code == 0, named.err + piped.err
    assert steady(named.out) == steady(piped.out) == steady(dash.out) and len(rows_of(named.out)) == 6


@filters
def test_parquet_gives_what_jsonl_gives(reader, world, tmp_path):
    rows = odd(GOOD[reader.rows])
    path, columns = write(tmp_path / "rows.jsonl", rows), tmp_path / "rows.parquet"
    with stream.open_output(str(columns)) as writer:
        for row in rows:
            writer.write(row)
    from_lines, from_columns = reader.run(world, path), reader.run(world, columns)
    without_null = [{name: value for name, value in row.items() if value is not None} for row in steady(from_lines.out)]
    assert from_columns.code == 0 and steady(from_columns.out) == without_null
    assert steady(reader.run(world, stdin=columns.read_bytes()).out) == without_null
    back = tmp_path / "back.parquet"
    assert reader.run(world, path, "-o", back).code == 0 and back.read_bytes()[:4] == b"PAR1"
    assert reader.run(world, path, "--format", "parquet").out[:4] == b"PAR1"
    again = list(stream.read(stream.Record, [str(back)], unique=False))
    assert [row.raw["id"] for row in again] == [row["id"] for row in rows]


@filters
def test_ids_titles_and_a_shops_own_fields_ride_along(reader, world, tmp_path):
    rows = odd(GOOD[reader.rows])
    out = rows_of(reader.run(world, write(tmp_path / "rows.jsonl", rows)).out)
    assert [row["id"] for row in out] == [row["id"] for row in rows]
    if "item" in out[0]:
        assert out[1]["item"]["title"] == rows[1]["item"]["title"] and out[2]["item"]["margin"] == 0.25
        assert (out[2]["shop"], out[2]["big"]) == (rows[2]["shop"], rows[2]["big"]) and out[2]["note"] is None


@filters
def test_a_line_of_ten_megabytes_a_byte_order_mark_and_windows_line_ends(reader, world, tmp_path):
    rows = [json.loads(json.dumps(row)) for row in GOOD[reader.rows]]
    rows[1]["item"]["description"] = "soft cushion " * 800_000
    path = write(tmp_path / "rows.jsonl", rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n  \n")
    done = reader.run(world, path, "--limit", 4)
    assert done.code == 0 and len(rows_of(done.out)) == 4, done.err


@filters
def test_bad_rows_can_be_skipped_and_are_kept_with_their_place(reader, world, tmp_path):
    rows, rejects, out = GOOD[reader.rows], tmp_path / "rejects.jsonl", tmp_path / "out.jsonl"
    path = write(tmp_path / "rows.jsonl", rows, line2=b"no json", line5={**rows[4], "grade": "L7"})
    done = reader.run(world, path, "--on-bad", "skip", "--rejects", rejects, "-o", out)
    assert done.code == 5 and "2 bad rows skipped" in done.err
    kept = rows_of(rejects.read_bytes())
    assert [(row["file"], row["line"], row["field"]) for row in kept] == [(str(path), 2, ""), (str(path), 5, "grade")]
    assert kept[0]["text"] == "no json" and "L7" in kept[1]["reason"] and json.loads(kept[1]["text"]) == {**rows[4], "grade": "L7"}
    assert [row["id"] for row in rows_of(out.read_bytes())] == ["p0", "p2", "p3", "p5"]
    assert json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["counts"]["bad_rows"] == 2
    refused(reader.run(world, path, "--on-bad", "skip", "--rejects", rejects), 2, "rejects.jsonl exists")
    whole = reader.run(world, write(tmp_path / "good.jsonl", rows), "--on-bad", "skip", "--rejects", rejects, "--force", "-o", out)
    assert whole.code == 0 and rejects.read_bytes() == b""


@filters
def test_a_manifest_says_what_went_in_what_was_asked_and_what_came_out(reader, world, tmp_path):
    path, out = write(tmp_path / "rows.jsonl", GOOD[reader.rows]), tmp_path / "out.jsonl"
    assert reader.run(world, path, "-o", out, "--seed", 11, "--limit", 5).code == 0
    said = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())
    digest = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in (("in", path), ("out", out))}
    assert said["command"] == reader.words and said["lore"] and said["python"] and "polars" in said["packages"]
    assert said["inputs"] == [{"path": str(path), "sha256": digest["in"]}] and said["output"] == {"path": str(out), "sha256": digest["out"]}
    assert said["settings"]["seed"] == 11 and said["settings"]["limit"] == 5 and said["settings"]["on_bad"] == "fail"
    assert said["counts"]["written"] == 5 and said["counts"]["failed"] == 0
    assert (load_rulebook().hash in json.dumps(said["identity"])) == ("rulebook" in said["settings"]), "a rulebook is told with what it decides, and only there"


@readers(lambda reader: reader in FILTERS and reader.words != "lore-tier route")  # whose rows hold the latency
def test_content_that_did_not_change_keeps_its_mtime(reader, world, tmp_path):
    path, out = write(tmp_path / "rows.jsonl", GOOD[reader.rows]), tmp_path / "out.jsonl"
    assert reader.run(world, path, "-o", out).code == 0
    before, content = out.stat().st_mtime_ns, out.read_bytes()
    assert reader.run(world, path, "-o", out, "--force").code == 0
    assert out.stat().st_mtime_ns == before and out.read_bytes() == content
    assert reader.run(world, path, "-o", out, "--force", "--limit", 3).code == 0
    assert len(rows_of(out.read_bytes())) == 3 and {file.name for file in tmp_path.iterdir()} == {"rows.jsonl", "out.jsonl", "out.jsonl.manifest.json"}


@filters
def test_a_full_device_is_told_in_one_line(reader, world, tmp_path):
    refused(lore(reader.words, *reader.options.format(WORLD=world).split(), write(tmp_path / "rows.jsonl", GOOD[reader.rows]), stdout="/dev/full"), 4, "No space left on device")


@filters
def test_quiet_says_nothing_and_json_logs_are_json(reader, world, tmp_path):
    path = write(tmp_path / "rows.jsonl", GOOD[reader.rows])
    assert reader.run(world, path, "--quiet").err == ""
    lines = [json.loads(line) for line in reader.run(world, path, "--log-json").err.splitlines()]
    assert lines and all(line["command"] == reader.words and line["message"] for line in lines)
    assert any(line.get("written") == 6 for line in lines)
    failed = json.loads(reader.run(world, tmp_path / "nowhere", "--log-json").err)
    assert failed["exit"] == 4 and "nowhere" in failed["error"]


@pytest.mark.parametrize("words", [["lore-rair", "run", str(PAIRS), "--judge", "rulebook:"], ["lore-synth", str(PAIRS)], ["lore-rl", "select", str(PAIRS), "--judge", "rulebook:", "--least", "0", "--most", "1"]], ids=lambda words: words[0])
def test_a_closed_pipe_is_success(words, tmp_path):
    big = tmp_path / "big.jsonl"
    rows = rows_of(PAIRS.read_bytes())
    write(big, [{**row, "id": f"{number}-{row['id']}", "item": {**row["item"], "image": None}} for number in range(40) for row in rows])
    command = [sys.executable, str(ROOT / "bin" / words[0]), *(str(big) if word == str(PAIRS) else word for word in words[1:])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        json.loads(process.stdout.readline())
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() == 0 and said == b""


# ---------------------------------------------------------------- settings


def settings_of(tmp_path, *typed, env=None):
    """The resolved settings in the manifest of a run."""
    out = tmp_path / "out.jsonl"
    done = lore("lore-rair run", PAIRS, "--limit", 1, "-o", out, "--force", *typed, env=env)
    assert done.code == 0, done.err
    return json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["settings"]


def test_flag_before_variable_before_file_before_default(tmp_path):
    file = tmp_path / "lore.toml"
    file.write_text('judge = "rulebook:"\nsamples = 1\ntemperature = 0.5\nhead-traffic = 0.7\n[rair.run]\nsamples = 2\n[synth]\nsamples = 9\n')
    config = ("--config", file)
    assert settings_of(tmp_path, "--judge", "rulebook:")["samples"] == 0
    read = settings_of(tmp_path, *config)
    assert (read["samples"], read["temperature"], read["judge"], read["config"]) == (2, 0.5, "rulebook:", str(file))
    assert settings_of(tmp_path, *config, env={"LORE_SAMPLES": "3"})["samples"] == 3
    assert settings_of(tmp_path, *config, "--samples", 4, env={"LORE_SAMPLES": "3"})["samples"] == 4
    by_variables = settings_of(tmp_path, env={"LORE_JUDGE": "rulebook:", "LORE_SOFT": "1", "LORE_CONFIG": str(file)})
    assert by_variables["soft"] is True and by_variables["samples"] == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[rair.run]\nsampels = 2\n', "rair.run: 'sampels' is not an option of lore-rair run"),
        ('samples = "many"\n', "samples: 'many' is not a valid integer"),
        ("samples = -1\n", "samples: -1 is not in the range"),
        ("soft = 3\n", "soft: found 3 (expected true or false)"),
        ('knowledge = "glossary.jsonl"\n', "knowledge: found 'glossary.jsonl' (expected a list)"),
        ('judge = ["rulebook:"]\n', "judge: found ['rulebook:'] (expected one value)"),
        ('language = "fr"\n', "language: 'fr' is not one of"),
        ("samples = \n", "not valid TOML"),
    ],
)
def test_settings_in_a_file_are_checked_like_flags(text, told, tmp_path):
    file = tmp_path / "lore.toml"
    file.write_text(text)
    refused(lore("lore-rair run", PAIRS, "--judge", "rulebook:", "--config", file), 3, f"{file}: {told}")


def test_settings_in_variables_are_checked_like_flags(tmp_path):
    refused(lore("lore-rair run", PAIRS, "--judge", "rulebook:", env={"LORE_SAMPLES": "many"}), 2, "--samples", "'many' is not a valid integer")
    refused(lore("lore-rair run", PAIRS, "--judge", "rulebook:", "--config", tmp_path / "nowhere.toml"), 4, "nowhere.toml: No such file")


def test_secrets_are_in_no_manifest_row_or_message(tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cr3t-file\n")
    out = tmp_path / "out.jsonl"
    done = lore("lore-rair run", PAIRS, "--judge", "rulebook:", "-o", out, "--api-key-file", key, env={"LORE_API_KEY": "s3cr3t-env"})
    unreachable = lore("lore-rair run", PAIRS, "--judge", "http://127.0.0.1:9/v1#m", "--timeout", 1, "--api-key-file", key, env={"LORE_API_KEY": "s3cr3t-env"})
    in_uri = [lore(*words, "http://me:s3cr3t@127.0.0.1:9/v1#m", "-o", tmp_path / "other") for words in (("lore-rair run", PAIRS, "--judge"), ("lore-tier plan", LOG, "--tail"))]
    assert (done.code, unreachable.code, [run.code for run in in_uri]) == (0, 4, [2, 2])
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file != key)
    assert "s3cr3t" not in written.decode() + done.err + unreachable.err + "".join(run.err for run in in_uri)
    refused(lore("lore-rair run", PAIRS, "--judge", "rulebook:", "--api-key-file", tmp_path / "nowhere"), 4, "nowhere: No such file")


# ---------------------------------------------------------------- what commands are given beside rows


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ('[values.colour."deep sea"]\nsynonyms = ["navy"]\n', "values.colour.deep sea.synonyms: 'navy' is listed under both"),
        ("[values.smell.rose]\n", "values.smell: 'smell' is not an attribute dimension"),
        ("[values.colour.navy\n", "not valid TOML"),
    ],
)
def test_a_rulebook_that_cannot_hold_names_the_entry(entry, told, tmp_path):
    book = tmp_path / "rulebook.toml"
    book.write_text((ROOT / "lore_cli" / "rulebook.toml").read_text("utf-8") + "\n" + entry, "utf-8")
    for words in (("lore-rair run", PAIRS, "--judge", "rulebook:"), ("lore-synth", PAIRS), ("lore-rl reward", EXAMPLES / "traces.jsonl"), ("lore-rair score", PAIRS, "--gold", PAIRS)):
        refused(lore(*words, "--rulebook", book), 3, f"{book}: {told}")
    refused(lore("lore-rair run", PAIRS, "--judge", "rulebook:", "--rulebook", tmp_path / "none.toml"), 4, "none.toml")


def test_other_files_that_are_missing_or_malformed(world, tmp_path):
    broken = write(tmp_path / "broken.jsonl", [{"term": 3}])
    replay = ("lore-tier replay", world / "log.jsonl", "--plan", world / "plan.json")
    refused(lore("lore-synth", PAIRS, "--knowledge", broken), 3, f"{broken}:1")
    refused(lore("lore-rair score", write(tmp_path / "verdicts.jsonl", GOOD["verdicts"]), "--gold", broken), 3, f"{broken}:1: ")
    refused(lore("lore-tier refresh", "--plan", world / "plan.json", "--pairs", broken, "--judge", "rulebook:", "--cache", tmp_path / "cache"), 3, f"{broken}:1: ")
    refused(lore(*replay, "--candidates", broken, "--gold", PAIRS), 3, f"{broken}:1: ")
    refused(lore(*replay, "--candidates", world / "pairs.jsonl", "--gold", tmp_path / "none"), 4, "none: No such file")
    refused(lore("lore-tier route", PAIRS, "--plan", broken), 3, str(broken))
    refused(lore("lore-tier route", PAIRS, "--plan", tmp_path / "none"), 4, "none: No such file")
    refused(lore("lore-rair gate", broken, "--require", "acc2>=0.5"), 3, str(broken))
    refused(lore("lore-tier status", "--cache", tmp_path / "none"), 4, "none")
    refused(lore("lore-rl train", PAIRS, "--model", tmp_path / "none", "-o", tmp_path / "rl"), 4, "none")
    for judge in ("student:", "cache:", "replay:", "tier:", "lexical:"):
        refused(lore("lore-rair run", PAIRS, "--judge", f"{judge}{tmp_path}/none"), 4, "none")
    refused(lore("lore-rair run", PAIRS, "--judge", "oracle:"), 2, "'oracle:' names no judge")


def test_a_photo_that_is_missing_stops_the_run_or_leaves_its_row_with_an_error(tmp_path):
    rows = rows_of(PAIRS.read_bytes())[:3]
    rows[1]["item"]["image"] = "images/gone.png"
    path = write(tmp_path / "rows.jsonl", rows)
    refused(lore("lore-synth", path, "--images", EXAMPLES, "-o", tmp_path / "out.jsonl"), 3, f"row '{rows[1]['id']}': item.image", "gone.png")
    kept = lore("lore-synth", path, "--images", EXAMPLES, "--on-bad", "skip", "-o", tmp_path / "out.jsonl", "--force")
    assert kept.code == 5 and "1 failed" in kept.err
    assert [bool(row.get("error")) for row in rows_of((tmp_path / "out.jsonl").read_bytes())] == [False, True, False]


def test_a_model_directory_that_cannot_be_read(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{ no json")
    done = lore("lore-rair run", PAIRS, "--judge", f"hf:{folder}", "-o", tmp_path / "out.jsonl")
    assert done.code in (3, 4) and str(folder) in done.err and "Traceback" not in done.err, done.err
    assert {file.name for file in tmp_path.iterdir()} == {"model"}
