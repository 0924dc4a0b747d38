"""What reinforcement learning adds to fine-tuning, over seeds, and what each of its parts is good for.

    python benchmarks/rl_study.py RUN OUT            RUN: a folder of `make lifecycle`; OUT: where models and verdicts go
    python benchmarks/rl_study.py RUN OUT --write    and put the table in docs/results.md

Every variant is trained from RUN's cot-sft on its rl-pairs (one on all traces) with the settings of the profile, once for each seed (an ablation: for the first alone), and
judges RUN's benchmark as the lifecycle does. "SFT continued" is no reinforcement learning: lore-sft from the same model on the same traces at the same rate, for as much CPU time.
cot-sft's verdicts are RUN's. What is finished in OUT is not done again, so the study can be interrupted. Differences from cot-sft are paired: the same pairs, seeds together, clustered by query.
Gap closed: (pass@1 − SFT's pass@1) / (SFT's pass@8 − SFT's pass@1). CPU: user and system seconds of the training process, start included, mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from shared import sections, studies
from shared.commands import lore
from shared.studies import GOAL, METRICS

from lore_cli.train.rewards import WEIGHTS

MAIN, CONTINUED, UNSELECTED = "all", "SFT continued", "unselected pool"
OVER_SEEDS = (MAIN, CONTINUED, "no SFT loss")  # every other variant is an ablation


def variants() -> dict[str, list[str]]:
    """Options beside the profile's, by the variant's name. A reward part of no weight need not be left out."""
    parts = [name for name, weight in WEIGHTS.items() if weight]
    own = {MAIN: [], CONTINUED: [], "no SFT loss": ["--sft-weight", "0"], "no credit by line": ["--process-weight", "0"]}
    return own | {UNSELECTED: [], "no refills": ["--max-refills", "0"]} | {f"no {part} reward": ["--weight", f"{part}=0"] for part in parts}


def profile(name: str, variable: str) -> list[str]:
    """The options that a profile of the lifecycle gives to one command."""
    text = (sections.ROOT / "examples" / "profiles" / f"{name}.mk").read_text("utf-8")
    found = re.search(rf"^{variable} \?= (.*)$", text, re.MULTILINE)
    if not found:
        raise SystemExit(f"profile {name} sets no {variable}")
    return shlex.split(found[1])


def judged(run: Path, model: Path, verdicts: Path, samples: Sequence[str], seed: int) -> None:
    """Verdicts of a model on the run's benchmark."""
    lore("lore-rair", "run", run / "bench/all.jsonl", "--judge", f"hf:{model}", *samples, "--seed", seed, "-o", verdicts, "--resume")


def study(run: Path, out: Path, seeds: Sequence[int], chosen: Sequence[str], settings: Sequence[str], samples: Sequence[str], sft: Sequence[str]) -> None:
    """Train and judge what is not in `out` yet."""
    for seed in seeds:
        for variant in (name for name in chosen if seed in seeds_of(name, seeds)):
            folder = place(out, variant, seed)
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "cpu.json").exists():
                rest = ["--model", run / "cot-sft", "--seed", seed, "-o", folder / "model", "--force"]
                if variant == CONTINUED:
                    spent = lore("lore-sft", run / "traces.jsonl", *sft, *rest)
                else:
                    pool = "traces.jsonl" if variant == UNSELECTED else "rl-pairs.jsonl"
                    spent = lore("lore-rl", "train", run / pool, *settings, *variants()[variant], "--traces", run / "traces.jsonl", *knowledge(run), *rest)
                (folder / "cpu.json").write_text(json.dumps(spent))
            judged(run, folder / "model", folder / "verdicts.jsonl", samples, seed)
            print(f"{variant}, seed {seed}: done", file=sys.stderr)


def seeds_of(variant: str, seeds: Sequence[int]) -> Sequence[int]:
    return seeds if variant in OVER_SEEDS else seeds[:1]


def knowledge(run: Path) -> list[object]:
    """The option with the shop's glossary, where the run's shop has one."""
    glossary = run / "market/glossary.jsonl"
    return ["--knowledge", glossary] if glossary.is_file() else []


def place(out: Path, variant: str, seed: int) -> Path:
    return out / f"{variant.replace(' ', '-')}-{seed}"


def compared(run: Path, out: Path, seeds: Sequence[int], chosen: Sequence[str]) -> dict[str, studies.Metrics]:
    """By variant: what changed from cot-sft."""
    before = run / "verdicts/cot-sft.jsonl"

    def sides(variant: str) -> list[tuple[int, Path, Path]]:
        return [(seed, before, place(out, variant, seed) / "verdicts.jsonl") for seed in seeds_of(variant, seeds)]

    return {variant: studies.compared(out / "pooled", run / "bench/all.jsonl", sides(variant)) for variant in chosen}


def table(out: Path, seeds: Sequence[int], found: dict[str, studies.Metrics]) -> str:
    """One row for cot-sft and one for each variant."""
    first = next(iter(found.values()))
    rows = [["cot-sft", "–", *(f"{first[name]['a']:.3f}" for name in METRICS), "–", "–", "0 %"]]
    for variant, metrics in found.items():
        own = seeds_of(variant, seeds)
        counts = [studies.counts(place(out, variant, seed) / "model") for seed in own]
        length = "–" if variant == CONTINUED else f"{statistics.fmean(count['length_last'] - count['length_first'] for count in counts):+.1f}"
        spent = statistics.fmean(json.loads((place(out, variant, seed) / "cpu.json").read_text()) for seed in own)
        rows.append([variant, str(len(own)), *studies.cells(metrics), length, f"{spent:.0f}", f"{studies.closed(metrics):.0%}"])
    return sections.markdown(["variant", "seeds", *METRICS.values(), "tokens an answer, last − first fifth", "CPU s", "gap closed"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help="a finished folder of make lifecycle")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for models and verdicts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="(default: 1 2 3)")
    names = list(variants())
    parser.add_argument("--variants", nargs="+", choices=names, default=names, metavar="NAME", help=f"of: {', '.join(names)} (default: all of them)")
    parser.add_argument("--profile", default="default", help="profile whose settings are used (default: default)")
    parser.add_argument("--options", default="", help="options of lore-rl train beside the profile's, in one word: '--rate 3e-4 --max-steps 30'")
    usual = "--optimizer muon --rate 1e-3 --max-steps 270"
    parser.add_argument("--sft", default=usual, help="options of lore-sft for \"SFT continued\", in one word (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where = sections.machine()
    settings = [*profile(given.profile, "RL"), *shlex.split(given.options)]
    study(given.run, given.out, given.seeds, given.variants, settings, profile(given.profile, "SAMPLES"), shlex.split(given.sft))
    found = compared(given.run, given.out, given.seeds, given.variants)
    about = (
        f"Simulated market. One cot-sft, whose verdicts are held against those of every seed: seeds {', '.join(map(str, given.seeds))} are of what follows it. Settings `{shlex.join(settings)}`; SFT continued `{given.sft}`."
        f" In brackets the difference from cot-sft with its interval over queries, seeds together. Goal: {GOAL:.0%} of the gap closed, greedy accuracy and pass@8 not below the interval, adherence ≥ 99 %, answers not longer."
    )
    body = f"{table(given.out, given.seeds, found)}\n\n{about}"
    sections.publish("rl-study", "What reinforcement learning adds", sections.command(), body, where, given.write)


if __name__ == "__main__":
    main()
