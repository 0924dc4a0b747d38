"""DPO beside GRPO, from the same fine-tuned model: what an offline pass over its own rollouts adds.

    python benchmarks/dpo.py RUN OUT            RUN: a folder of `make lifecycle`; OUT: where rollouts, model and verdicts go
    python benchmarks/dpo.py RUN OUT --write    and put the table in docs/results.md

Draws rollouts of RUN's cot-sft for some of its rl-pairs, scores and pairs them, trains by DPO and judges some of RUN's benchmark. The verdicts of cot-sft and
of its GRPO model on these pairs are those that RUN holds. What is finished in OUT is not done again. Differences from cot-sft are paired, clustered by query.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rl_study import knowledge, profile
from shared import sections, studies
from shared.commands import lore
from shared.studies import METRICS, lines

from lore_cli.stream import encode

SYSTEMS = ("cot-sft", "rl", "dpo")


def train(run: Path, out: Path, pairs: int, steps: int, seed: int, tokens: list[str]) -> None:
    """Rollouts, preferences, model; each only when it is not there."""
    drawn, scored, preferred, model = out / "rollouts.jsonl", out / "scored.jsonl", out / "preferences.jsonl", out / "dpo"
    makes = {
        drawn: ("rollout", run / "rl-pairs.jsonl", "--sample", pairs, "--judge", f"hf:{run / 'cot-sft'}", "--samples", 8, "--seed", seed, *tokens),
        scored: ("reward", drawn, *knowledge(run)),
        preferred: ("prefer", scored),
        model: ("dpo", preferred, "--model", run / "cot-sft", "--max-steps", steps, "--seed", seed),
    }
    for target, words in makes.items():
        if not target.exists():
            lore("lore-rl", *words, "-o", target)


def judged(run: Path, out: Path, pairs: int, seed: int, samples: list[str]) -> dict[str, studies.Metrics]:
    """By system but cot-sft, and by metric: a (cot-sft), b, difference, lo, hi; all on the pairs that the DPO model judged."""
    verdicts = out / "verdicts-dpo.jsonl"
    if not verdicts.exists():
        lore("lore-rair", "run", run / "bench/all.jsonl", "--sample", pairs, "--judge", f"hf:{out / 'dpo'}", *samples, "--seed", seed, "-o", verdicts)
    asked = {row["id"] for row in lines(verdicts)}
    files = {"gold": run / "bench/all.jsonl", **{name: run / f"verdicts/{name}.jsonl" for name in SYSTEMS[:2]}}
    for name, source in files.items():
        (out / f"verdicts-{name}.jsonl").write_bytes(b"".join(encode(row) for row in lines(source) if row["id"] in asked))
    found = {}
    for name in SYSTEMS[1:]:
        report = out / f"compared-{name}.json"
        lore("lore-rair", "compare", out / "verdicts-cot-sft.jsonl", out / f"verdicts-{name}.jsonl", "--gold", out / "verdicts-gold.jsonl", "--json", report, "--force")
        found[name] = next(entry["metrics"] for entry in json.loads(report.read_bytes())["slices"] if not entry["slice"])
    return found


def table(found: dict[str, studies.Metrics]) -> str:
    first = next(iter(found.values()))
    rows = [["cot-sft", *(f"{first[name]['a']:.3f}" for name in METRICS)]]
    for system, metrics in found.items():
        rows.append([system, *studies.cells(metrics)])
    return sections.markdown(["model", *METRICS.values()], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help="a finished folder of make lifecycle")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for rollouts, model and verdicts")
    parser.add_argument("--pairs", type=int, default=192, help="pairs that rollouts are drawn for, eight each (default: 192)")
    parser.add_argument("--steps", type=int, default=40, help="updates of DPO (default: 40)")
    parser.add_argument("--judge", type=int, default=480, help="pairs of the benchmark that are judged (default: 480)")
    parser.add_argument("--seed", type=int, default=7, help="(default: 7)")
    parser.add_argument("--profile", default="default", help="profile whose draws are used (default: default)")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    given = parser.parse_args()
    where = sections.machine()
    given.out.mkdir(parents=True, exist_ok=True)
    samples = profile(given.profile, "SAMPLES")
    train(given.run, given.out, given.pairs, given.steps, given.seed, ["--max-new-tokens", "96"])
    found = judged(given.run, given.out, given.judge, given.seed, samples)
    counts = json.loads((given.out / "dpo.manifest.json").read_bytes())["counts"]
    about = (
        f"Simulated market. DPO: {counts['pairs']} preference pairs out of {8 * given.pairs} draws, {counts['steps']} updates in {counts['seconds']:.0f} s, margin {counts['margin_first']:.2f} to"
        f" {counts['margin_last']:.2f}, log-probability of the better answer {counts['logp_chosen_first']:.2f} to {counts['logp_chosen_last']:.2f}. In brackets the difference from cot-sft with"
        f" its interval over queries; one seed, so nothing is known of how much another would give. rl: the GRPO model of the same run."
    )
    sections.publish("dpo", "DPO beside GRPO", sections.command(), f"{table(found)}\n\n{about}", where, given.write)


if __name__ == "__main__":
    main()
