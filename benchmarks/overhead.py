"""What lore-synth itself costs per record, beside a teacher that answers at once from memory; and its memory.

    python benchmarks/overhead.py            CPU time by part, peak memory at 10^4 and 10^5 rows; --full: memory at 10^6 rows too
    python benchmarks/overhead.py --write    and put the table in docs/results.md

Rows are the example pairs that the expert grades as the human did, over and over under new ids. What is timed is the command: reading and
checking, prompts, the reading and checking of replies, the ledger, the output. The time inside the teacher is taken off. CPU time, because the
machine may be busy; medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared import memory, sections

import orjson

from lore_cli import answer
from lore_cli.commands import ending, synth
from lore_cli.judges import language
from lore_cli.ledger import Ledger, Outcome
from lore_cli.models import Usage
from lore_cli.path.follow import follow
from lore_cli.path.needs import construct
from lore_cli.records import Pair, Trace, parse, row_of
from lore_cli.rulebook import load_rulebook
from lore_cli.stream import open_output, read
from lore_cli.synth.taught import AlongNeeds

EXAMPLES = sections.ROOT / "examples"
BOOK = load_rulebook()
GOAL_US, GOAL_MB = 100, 300
PARTS = ("knowledge", "rules", "knowledge,visual,rules")


def expert_answer(pair: Pair) -> answer.Answer:
    """What the teacher answers."""
    return answer.implied(follow(construct(pair.query, BOOK), pair.item, BOOK), BOOK)


def known_pairs() -> list[Pair]:
    """The example pairs whose grade the expert gives."""
    return [pair for pair in read(Pair, [str(EXAMPLES / "pairs.jsonl")]) if expert_answer(pair).grade == pair.grade]


class Memory:
    """A `TextModel` that knows every answer: a prompt seen for the first time is worked out, any other is looked up. `seconds`: CPU time spent here."""

    def __init__(self) -> None:
        self.usage, self.seconds = Usage(), 0.0
        self._pairs = sorted(known_pairs(), key=lambda pair: -len(pair.query))
        self._replies: dict[str, str] = {}

    def generate(self, prompts: Sequence[str], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0) -> list[list[str | Exception]]:
        started = time.process_time()
        replies: list[list[str | Exception]] = [[self._replies.get(prompt) or self._work_out(prompt)] * samples for prompt in prompts]
        self.seconds += time.process_time() - started
        return replies

    def identity(self) -> dict[str, str]:
        return {"model": "memory"}

    def _work_out(self, prompt: str) -> str:
        asked = [pair for pair in self._pairs if f"\n{pair.query}\n" in prompt or f"query: {pair.query}\n" in prompt]
        shown = next((pair for pair in asked if pair.item.title in prompt), None)
        given = answer.render(expert_answer(shown), "answer-last") if shown else "\n".join(f"{need.attribute} = {answer.need_text(need)}" for need in construct(asked[0].query, BOOK))
        self._replies[prompt] = given
        return given


def rows(count: int) -> Iterator[bytes]:
    """So many pairs, with their captions, so that no picture is looked at, and with needs, so that a stage can run alone."""
    plain = []
    for pair in known_pairs():
        row = row_of(pair)
        item = {name: value for name, value in row["item"].items() if name != "image"}
        needs = [{"attribute": need.attribute, "value": need.value} | ({"negated": True} if need.negated else {}) for need in construct(pair.query, BOOK)]
        plain.append(row | {"item": item, "needs": needs})
    for number in range(count):
        yield orjson.dumps(plain[number % len(plain)] | {"id": f"{number:07}"}, option=orjson.OPT_APPEND_NEWLINE)


def synthesise(source: str, target: str, stages: str, memory: Memory) -> None:
    """The command with this teacher; every row must be accepted."""
    language._model = lambda *_: memory
    code = ending.run(synth.cli, "lore-synth", [source, "--judge", "http://memory/v1#memory", "--stages", stages, "-o", target, "--force", "--quiet"])
    if code:
        raise RuntimeError(f"lore-synth ended with {code}")


def pass_through(source: str, target: str) -> None:
    """Reading, ledger and output alone."""
    ledger = Ledger(target, {}, force=True)
    with open_output(target, force=True) as writer:
        for outcome in ledger.map(read(Trace, [source]), lambda traces: (Outcome("done", row_of(trace)) for trace in traces)):
            writer.write(outcome.row)
    ledger.close(True)


def costs(count: int, rounds: int) -> list[list[str]]:
    """Table rows: part, µs of CPU a row with the lowest and highest of the rounds."""
    found: dict[str, list[float]] = {name: [] for name in ("reading, ledger and output", *PARTS)}
    with tempfile.TemporaryDirectory() as folder:
        source, target = str(Path(folder, "rows.jsonl")), str(Path(folder, "out.jsonl"))
        Path(source).write_bytes(b"".join(rows(count)))
        for number in range(rounds + 1):
            memory = Memory()
            for name in found:
                started, inside = time.process_time(), memory.seconds
                pass_through(source, target) if name not in PARTS else synthesise(source, target, name, memory)
                if number:  # the first round warms up
                    found[name].append(1e6 * (time.process_time() - started - memory.seconds + inside) / count)
        written = sum(1 for _ in open(target, "rb"))
        if written != count:
            raise RuntimeError(f"{written} of {count} rows were accepted")
    names = dict(zip(PARTS, ("with stage knowledge", "with stage rules", "with all stages"), strict=True))
    return [[names.get(name, name), f"{statistics.median(times):.0f} [{min(times):.0f}, {max(times):.0f}]"] for name, times in found.items()]


def checking(count: int, rounds: int) -> list[str]:
    """Table row: what it costs to read one reply and to check it: format, needs, adherence, evidence, leaks."""
    question = AlongNeeds()
    traces = [parse(Trace, orjson.loads(line)) for line in rows(count)]
    replies = [answer.render(expert_answer(trace)) for trace in traces]
    times = []
    for _ in range(rounds):
        started = time.process_time()
        for trace, reply in zip(traces, replies, strict=True):
            question.read(trace, reply, BOOK)
        times.append(1e6 * (time.process_time() - started) / count)
    return ["reading and checking a reply", f"{statistics.median(times):.0f} [{min(times):.0f}, {max(times):.0f}]"]


def peak(count: int) -> float:
    """Peak memory in MiB of a child that takes so many rows from a pipe to a file."""
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder, "out.jsonl"))
        return memory.peak(f"import overhead; overhead.synthesise('-', {target!r}, overhead.PARTS[-1], overhead.Memory())", rows(count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="memory at 10^6 rows too")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (default: 5)")
    parser.add_argument("--rows", type=int, default=4000, help="rows of a round (default: 4000)")
    given = parser.parse_args()
    where = sections.machine()
    first, *stages = costs(given.rows, given.rounds)
    times = sections.markdown(["lore-synth, instant teacher", "µs CPU a row, median [lowest, highest]"], [first, checking(given.rows, given.rounds), *stages])
    sizes = (10_000, 100_000, 1_000_000)[: 3 if given.full else 2]
    memory = sections.markdown(["rows", "peak MiB"], [[f"{count:,}", f"{peak(count):.0f}"] for count in sizes])
    body = f"{times}\n\nGoal: {GOAL_US} µs for parsing, validation, ledger and checks, which is the first two lines; prompts, batches and notes come on top in the last three, each of which holds the first.\n\n{memory}\n\nGoal: {GOAL_MB} MB at 10^6 rows."
    sections.publish("overhead", "What lore-synth costs beside its teacher", "python benchmarks/overhead.py" + " --full" * given.full, body, where, given.write)


if __name__ == "__main__":
    main()
