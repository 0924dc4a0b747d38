"""The benchmarks compare like with like, and write nothing but their own section."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def benchmarks():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


def test_both_loops_write_the_same_bytes(tmp_path: Path):
    import stream as benchmark

    source, one, other = (str(tmp_path / name) for name in ("source", "one", "other"))
    for shuffled in (False, True):
        rows = list(benchmark.pairs(500, shuffled))
        Path(source).write_bytes(b"".join(rows))
        benchmark.bare(source, one)
        benchmark.lore(source, other)
        assert Path(one).read_bytes() == Path(other).read_bytes() == b"".join(rows)
        assert len({line[:20] for line in rows}) == 500


def test_memory_is_measured_in_the_child():
    import stream as benchmark

    ballast = bytearray(b"x" * (300 << 20))  # the parent's own memory must not count
    assert 5 < benchmark.peak(2_000, False) < 200 < len(ballast) >> 20


def test_the_strict_server_counts_what_comes_beyond_its_places():
    httpx = pytest.importorskip("httpx")
    import http_judge as benchmark

    with benchmark.strict(2, 10) as address:
        rows = list(benchmark.pairs(6, False))
        benchmark.bare(address, 2, rows)
        assert (told := httpx.get(f"{address}/counts").json())["answered"] == 6 and told["beyond"] == 0 and told["seconds"] > 0.03
        with pytest.raises(httpx.HTTPStatusError):
            benchmark.bare(address, 4, rows)
        assert httpx.get(f"{address}/counts").json()["beyond"] > 0


def test_a_section_replaces_itself_and_nothing_else():
    from shared.sections import HEAD, placed

    one, two, other = ("<!-- benchmark: a -->\none\n<!-- end -->", "<!-- benchmark: a -->\ntwo\n<!-- end -->", "<!-- benchmark: b -->\nb\n<!-- end -->")
    text = placed(placed(HEAD, "a", one), "b", other) + "\nBy hand.\n"
    assert placed(text, "a", two) == text.replace("one", "two")
    assert placed(placed(text, "a", two), "a", one) == text
    with pytest.raises(Exception, match="no end marker"):
        placed("<!-- benchmark: a -->\n", "a", one)


@pytest.mark.parametrize("name", sorted(file.stem for file in (ROOT / "benchmarks").glob("*.py")))
def test_each_benchmark_explains_itself(name: str):
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and f"python benchmarks/{name}.py" in done.stdout and "--write" in done.stdout
    alone = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("BENCHES := ")).split()[2:]
    needs = re.sub(r"\[[^]]*\]", "", done.stdout.partition("\n\n")[0]).split()[2:]  # of the usage line, what is not optional
    assert name not in alone or not needs
    assert all((ROOT / "benchmarks" / f"{one}.py").is_file() for one in alone)


def test_item_ids_of_the_served_shop_end_in_the_right_grade(tmp_path: Path):
    import serve as benchmark

    from lore_cli.judges import JudgeSettings, open_judge
    from lore_cli.records import Pair
    from lore_cli.rulebook import load_rulebook
    from lore_cli.stream import read

    shop = benchmark.make_shop(tmp_path)
    verdicts = list(open_judge("rulebook:", JudgeSettings(load_rulebook()))(read(Pair, [str(shop.pairs)])))
    assert len(verdicts) == 800 and {one.grade for one in verdicts} >= {"L1", "L4"}
    assert all(one.item_id.endswith(f".{one.grade}") for one in verdicts)


def test_the_rl_study_leaves_out_each_part_of_weight_and_takes_the_profiles_settings():
    import rl_study as benchmark

    from lore_cli.train.rewards import WEIGHTS

    names = set(benchmark.variants())
    assert {f"no {part} reward" for part, weight in WEIGHTS.items() if weight} == names - {"all", benchmark.CONTINUED, benchmark.UNSELECTED, "no refills", "no SFT loss", "no credit by line"}
    assert "--max-steps" in benchmark.profile("default", "RL") and "--samples" in benchmark.profile("default", "SAMPLES")
    with pytest.raises(SystemExit, match="sets no TASTE"):
        benchmark.profile("default", "TASTE")


def test_a_study_counts_every_seed_as_a_pair_of_its_own(tmp_path: Path):
    from shared import studies

    (tmp_path / "one").write_text('{"id": "a", "query": "q"}\n')
    written = studies.pooled(tmp_path / "gold.jsonl", [1, 2], [tmp_path / "one"] * 2)
    assert studies.lines(written) == [{"id": "a#1", "query": "q"}, {"id": "a#2", "query": "q"}]
    for name in ("one", "two"):
        (tmp_path / name).write_text(f'{{"id": "a", "judge": "hf:{name}"}}\n')
    written = studies.pooled(tmp_path / "after.jsonl", [1, 2], [tmp_path / "one", tmp_path / "two"])
    assert {row["judge"] for row in studies.lines(written)} == {"after"}, "lore-rair compares one judge with one"


def test_the_tables_of_studies_tell_how_much_of_the_gap_is_closed(tmp_path: Path):
    import few_traces
    import rl_study

    from shared.studies import METRICS

    metric = {"a": 0.6, "b": 0.7, "difference": 0.1, "lo": 0.05, "hi": 0.15}
    found = {name: dict(metric) for name in METRICS} | {"pass_at_k": metric | {"a": 0.8}}
    for folder in (rl_study.place(tmp_path, "all", 1), *(few_traces.place(tmp_path, seed, arm) for seed in (1, 2) for arm in (few_traces.SFT, few_traces.CONTINUED, few_traces.RL))):
        folder.mkdir(parents=True)
        (folder / "model.manifest.json").write_text('{"counts": {"length_first": 20.0, "length_last": 19.0}}')
        (folder / "cpu.json").write_text("75.2")
    last = rl_study.table(tmp_path, [1], {"all": found}).splitlines()[-1]
    assert "0.700 (+0.100 [+0.050, +0.150])" in last and last.endswith("| -1.0 | 75 | 50% |")
    first, continued, rl = few_traces.table(tmp_path, [1, 2], {few_traces.CONTINUED: found, few_traces.RL: found}).splitlines()[2:]
    assert first == "| SFT | 0.600 | 0.800 | 0.600 | 0.600 | 0.600 | – | 75 | 0% |"
    assert continued.endswith("| – | 75 | 50% |") and rl.endswith("| -1.0 | 75 | 50% |")


def test_plans_are_compared_by_traffic():
    import tiers as benchmark

    def interval(value):
        return {"value": value, "lo": value - 0.1, "hi": value + 0.1}

    told = {
        "tiers": [{"tier": tier, "traffic_share": share, "against_gold": {"acc2": acc2}} for tier, share, acc2 in (("head", 0.5, 0.8), ("middle", 0.4, 1.0), ("tail", 0.1, 0.5))],
        "cost": {"share_of_model_alone": 0.1}, "log": {"requests": 1000}, "replayed": {"pairs": 160, "queries": 10},
        "goodrate": {"engine": {"item": interval(0.5)}} | {page: {"gain": {"item": interval(gain)}} for page, gain in (("reranked", 0.1), ("filtered", 0.2))},
    }  # fmt: skip
    row = benchmark.row(told, {"head": 0.8, "middle": 0.8, "tail": 0.5}, head_pairs=800)
    assert row == ["10.0%", "15.0%", "0.850", "0.770", "110.4%", "+20.0% [+0.0%, +40.0%]", "+40.0% [+20.0%, +60.0%]"]


def test_pages_of_real_grades_are_replayed_by_size(tmp_path: Path):
    """Two good items and two bad ones a query, the bad ones first for the engine: what the expert makes of that can be counted."""
    import pages as benchmark
    from shared import distilled

    titles = (("navy lamp", "L1"), ("navy rug", "L1"), ("dark blue couch", "L4"), ("dark blue sofa", "L4"))
    rows = [{"id": f"{number}", "query": "navy sofa", "item": {"id": f"i{number}", "title": title}, "grade": grade} for number, (title, grade) in enumerate(titles)]
    pages = distilled.written(rows, tmp_path / "pages.jsonl")
    log = distilled.written([{"query": "navy sofa", "count": 1}], tmp_path / "log.jsonl")
    small, whole = benchmark.reports("rulebook:", log, pages, tmp_path / "expert")
    assert (small["page"]["size"], whole["page"]["size"]) == benchmark.SIZES and whole["cache"]["hit_rate"] == 1.0
    assert whole["goodrate"]["reranked"]["item"]["value"] == whole["goodrate"]["engine"]["item"]["value"] == 0.5
    text = benchmark.table({"expert": small, "other": small})
    assert text.count("the engine's order") == text.count("ideal") - 1 == 1
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:5]] for line in text.splitlines()}
    assert lines["expert: re-ranked and filtered"][:2] == ["2.0", "1.000 [1.000, 1.000]"] == lines["ideal: relevant items alone"][:2]
    assert lines["expert: re-ranked"] == ["3.0", "0.667 [0.667, 0.667]", "+100.0% [+100.0%, +100.0%]"]
