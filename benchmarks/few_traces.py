"""A shop with few traces and many grades: what reinforcement learning from the grades adds, over seeds, beside further fine-tuning.

    python benchmarks/few_traces.py RUN OUT                     RUN: a folder of `make lifecycle`; OUT: where models and verdicts go
    python benchmarks/few_traces.py RUN OUT --seeds 2           one seed; two processes may share OUT, each with seeds of its own
    python benchmarks/few_traces.py RUN OUT --write             and put the tables in docs/results.md
    python benchmarks/few_traces.py RUN OUT --data 'Home Depot' where RUN's pairs are not of the simulated market: a section of its own

For each seed a model from scratch learns from a sample of RUN's traces (`SFT`); from there one learns on from the same traces (`SFT continued`), another by GRPO from all graded
pairs that RUN trains on, most of which have no trace (`RL`). All are judged on RUN's benchmark, which is hard on purpose, and on a sample of its held-out pairs, which are mixed as
the training pairs are, without the benchmark's queries. What is finished in OUT is not done again. Differences from SFT of the same seed are paired: the same pairs, seeds together,
clustered by query. Gap closed: (pass@1 − SFT's pass@1) / (SFT's pass@8 − SFT's pass@1). CPU: of the training process on one thread, start included, mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from rl_study import knowledge, profile
from shared import distilled, sections, studies
from shared.commands import lore

from lore_cli.path.disjoint import query_key
from lore_cli.records import Pair, Trace
from lore_cli.stream import read, sample

SFT, CONTINUED, RL = "SFT", "SFT continued", "RL"
SETS = {"held-out": "Held-out pairs, mixed as the training pairs are", "benchmark": "The benchmark, a large part of which is Hard or Visual"}
SIMULATED = "Simulated market"
USUAL_SFT = "--from-scratch tiny --max-steps 1450"
USUAL_CONTINUED = "--optimizer muon --rate 1e-3 --max-steps 1000"
USUAL_RL = "--max-steps 500 --prompts-per-step 16 --optimizer muon --rate 1.5e-3 --beta 0 --process-weight 1 --sft-weight 1 --max-new-tokens 96"


def sampled(run: Path, out: Path, traces: int, rows: int) -> None:
    """What all seeds share: some of RUN's traces, and some of its held-out rows, of queries that its benchmark has not."""
    if not (out / "traces.jsonl").exists():
        distilled.written(sample(read(Trace, [str(run / "traces.jsonl")]), traces), out / "traces.jsonl")
    if not (out / "held-out.jsonl").exists():
        known = {query_key(pair.query) for pair in read(Pair, [str(run / "bench/all.jsonl")])}
        apart = (pair for pair in read(Pair, [str(run / "held-out.jsonl")]) if query_key(pair.query) not in known)
        distilled.written(sample(apart, rows), out / "held-out.jsonl")


def study(run: Path, out: Path, seed: int, options: dict[str, list[str]], samples: Sequence[str]) -> None:
    """Train and judge the arms of a seed that are not in `out` yet."""
    for arm, own in options.items():
        model = place(out, seed, arm) / "model"
        model.parent.mkdir(parents=True, exist_ok=True)
        if not (model.parent / "cpu.json").exists():
            start = [] if arm == SFT else ["--model", place(out, seed, SFT) / "model"]
            rest = [*start, *own, "--seed", seed, "-o", model, "--force"]
            if arm == RL:
                spent = lore("lore-rl", "train", run / "train.jsonl", "--traces", out / "traces.jsonl", *knowledge(run), *rest)
            else:
                spent = lore("lore-sft", out / "traces.jsonl", *rest)
            (model.parent / "cpu.json").write_text(json.dumps(spent))
        for name, pairs in tests(run, out).items():
            lore("lore-rair", "run", pairs, "--judge", f"hf:{model}", *samples, "--seed", seed, "-o", model.parent / f"{name}.jsonl", "--resume")
        print(f"{arm}, seed {seed}: done", file=sys.stderr)


def tests(run: Path, out: Path) -> dict[str, Path]:
    return {"held-out": out / "held-out.jsonl", "benchmark": run / "bench/all.jsonl"}


def place(out: Path, seed: int, arm: str) -> Path:
    return out / str(seed) / arm.replace(" ", "-")


def table(out: Path, seeds: Sequence[int], found: dict[str, studies.Metrics]) -> str:
    """What the arms make of one set of pairs."""
    first = next(iter(found.values()))
    rows = [[SFT, *(f"{first[metric]['a']:.3f}" for metric in studies.METRICS), length(out, seeds, SFT), seconds(out, seeds, SFT), "0%"]]
    for arm, metrics in found.items():
        rows.append([arm, *studies.cells(metrics), length(out, seeds, arm), seconds(out, seeds, arm), f"{studies.closed(metrics):.0%}"])
    return sections.markdown(["arm", *studies.METRICS.values(), "tokens an answer, last − first fifth", "CPU s", "gap closed"], rows)


def length(out: Path, seeds: Sequence[int], arm: str) -> str:
    """How much longer its draws were in the end of RL than at the start."""
    counts = [studies.counts(place(out, seed, arm) / "model") for seed in seeds]
    return f"{statistics.fmean(count['length_last'] - count['length_first'] for count in counts):+.1f}" if arm == RL else "–"


def seconds(out: Path, seeds: Sequence[int], arm: str) -> str:
    return f"{statistics.fmean(json.loads((place(out, seed, arm) / 'cpu.json').read_text()) for seed in seeds):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help="a folder of make lifecycle that has come to its traces")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for models and verdicts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="(default: 1 2 3)")
    parser.add_argument("--traces", type=int, default=5000, help="traces to learn from (default: 5000)")
    parser.add_argument("--rows", type=int, default=800, help="held-out pairs to judge (default: 800)")
    parser.add_argument("--sft", default=USUAL_SFT, help="options of lore-sft, in one word (default: %(default)s)")
    parser.add_argument("--continued", default=USUAL_CONTINUED, help="options of lore-sft for \"SFT continued\" (default: %(default)s)")
    parser.add_argument("--rl", default=USUAL_RL, help="options of lore-rl train (default: %(default)s)")
    parser.add_argument("--data", default=SIMULATED, help="what RUN's pairs are, for the section in docs/results.md (default: %(default)s)")
    parser.add_argument("--profile", default="default", help="profile whose draws are used to judge (default: default)")
    parser.add_argument("--write", action="store_true", help="put the tables in docs/results.md")
    given = parser.parse_args()
    where, run, out = sections.machine(), given.run, given.out
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands: models as small gain nothing from a second one
    options = {SFT: shlex.split(given.sft), RL: shlex.split(given.rl), CONTINUED: shlex.split(given.continued)}
    out.mkdir(parents=True, exist_ok=True)
    sampled(run, out, given.traces, given.rows)
    for seed in given.seeds:
        study(run, out, seed, options, profile(given.profile, "SAMPLES"))
    parts = []
    for name, gold in tests(run, out).items():
        def sides(arm: str, name: str = name) -> list[tuple[int, Path, Path]]:
            return [(seed, place(out, seed, SFT) / f"{name}.jsonl", place(out, seed, arm) / f"{name}.jsonl") for seed in given.seeds]

        found = {arm: studies.compared(out / "pooled" / "-".join(map(str, given.seeds)), gold, sides(arm)) for arm in (CONTINUED, RL)}
        parts.append(f"{SETS[name]}:\n\n{table(out, given.seeds, found)}")
    parts.append(
        f"{given.data}, seeds {', '.join(map(str, given.seeds))}. SFT on {given.traces:,} traces: `{given.sft}`. SFT continued: `{given.continued}`. RL on all graded pairs: `{given.rl}`."
        f" In brackets the difference from SFT with its interval over queries, seeds together. Goal: {studies.GOAL:.0%} of the gap closed, greedy accuracy and pass@8 not below the interval,"
        " adherence ≥ 99 %, answers not longer."
    )
    of = "" if given.data == SIMULATED else f": {given.data}"
    sections.publish(f"few-traces{of}", f"Few traces, many grades{of}", sections.command(), "\n\n".join(parts), where, given.write)


if __name__ == "__main__":
    main()
