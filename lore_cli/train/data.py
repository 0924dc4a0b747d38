"""Traces as training data: how the model will be asked, and what must not be learnt. No torch here, so that bad rows are told before it loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lore_cli import answer
from lore_cli.answer import LAYOUTS, Answer, AnswerError, Layout
from lore_cli.errors import BadInput
from lore_cli.files import manifest_path, read_json
from lore_cli.path.disjoint import KnownPairs
from lore_cli.prompts import layout_mark, load_prompt, pair_prompt
from lore_cli.records import Pair, Trace, change
from lore_cli.rulebook import Rulebook

_TEMPLATES = ("short", "judge", "naive")
_NAMED = 5  # rows that an error names


class Lesson(NamedTuple):
    """How the model is taught to be asked: the layout of its answers and the prompt's name; the traces, as they are learnt."""

    layout: Layout
    prompt: str
    traces: Sequence[Trace]

    @property
    def prompt_identity(self) -> str:
        """Name and hash of the prompt."""
        return f"{self.prompt}:{load_prompt(self.prompt).hash}"


def lesson_of(traces: Sequence[Trace], rulebook: Rulebook) -> Lesson:
    """What the rows with a prompt and a completion teach.

    Where they mix layouts (reasoning and bare labels), every prompt ends in a line that says which is wanted, and the layout is the first of
    `LAYOUTS` among them: a judge asks for it, and by the prompt's name (`short+label-only`) for another. Raises `BadInput` when no row can be learnt,
    and naming one whose prompt is none of ours under this rulebook.
    """
    rows = [trace for trace in traces if trace.prompt is not None and trace.completion]
    if not rows:
        raise BadInput("no row has a prompt and a completion: nothing can be learnt", field="completion", hint="make traces with lore-synth")
    prompt = prompt_of(rows, rulebook)
    layouts = [answer.layout_of(row.completion or "") for row in rows]
    layout = next(name for name in LAYOUTS if name in layouts)
    if len(set(layouts)) == 1:
        return Lesson(layout, prompt, rows)
    marked = [change(row, prompt=f"{row.prompt}{layout_mark(name)}") for row, name in zip(rows, layouts, strict=True)]
    return Lesson(layout, f"{prompt}+{layout}", marked)


def prompt_of(traces: Sequence[Trace], rulebook: Rulebook) -> str:
    """The template that the prompts were made from: a judge will ask the model by it. Raises `BadInput` naming a row whose prompt is none of ours under this rulebook."""
    name = next((name for name in _TEMPLATES if pair_prompt(traces[0], rulebook, name) == traces[0].prompt), _TEMPLATES[0])  # type: ignore[arg-type]
    odd = next((trace for trace in traces if pair_prompt(trace, rulebook, name) != trace.prompt), None)  # type: ignore[arg-type]
    if odd is not None:
        hint = "make the traces again with lore-synth, with one --prompt and this rulebook: a judge asks as the model was taught"
        raise BadInput(f"is not what the templates {' and '.join(_TEMPLATES)} make of this row", where=f"row '{odd.id}'", field="prompt", hint=hint)
    return name


def refuse_other_rulebook(traces: Sequence[Trace], sources: Sequence[str], rulebook: Rulebook) -> None:
    """Raise `BadInput` for traces of another rulebook: by the manifest beside a file, and by a row whose grade or rules do not follow from its matches under this one."""
    hint = "make the traces again with this rulebook, pass the one that they were made with (--rulebook), or --allow-rulebook-change"
    for source in sources:
        manifest = manifest_path(source)
        found = read_json(manifest, "a manifest")["identity"].get("rulebook") if source != "-" and manifest.is_file() else None
        if found not in (None, rulebook.hash):
            raise BadInput(f"was made with rulebook {found}, this one is {rulebook.hash}", where=source, hint=hint)
    for trace in traces:
        layout = answer.layout_of(trace.completion or "")
        if layout not in ("answer-last", "answer-first"):
            continue
        problem = _problem(trace.completion or "", layout, rulebook)
        if problem:
            raise BadInput(f"{problem} under this rulebook", where=f"row '{trace.id}'", field="completion", hint=hint)


def _problem(completion: str, layout: Layout, rulebook: Rulebook) -> str | None:
    try:
        given: Answer = answer.parse(completion, rulebook, layout)
    except AnswerError as error:
        return f"is no answer ({error})"
    if answer.adheres(given, rulebook):
        return None
    grade, rules = rulebook.grade(given.matches)
    return f"says {given.grade} by {' '.join(given.rules) or 'no rule'}, its matches give {grade} by {' '.join(rules) or 'no rule'}"


def refuse_leaks(rows: Sequence[Pair | Trace], benchmark: KnownPairs | None) -> None:
    """Raise `BadInput` when rows are in a benchmark, by their query or by their item; names the first of them, and the benchmark's rows."""
    if benchmark is None:
        return
    leaks = [(row.id, *found) for row in rows if (found := benchmark.holds(row))]
    if leaks:
        named = ", ".join(f"'{row}' (the {shared} of '{other}')" for row, shared, other in leaks[:_NAMED])
        more = f" and {len(leaks) - _NAMED} more" if len(leaks) > _NAMED else ""
        raise BadInput(f"{len(leaks)} of {len(rows)} rows are in the benchmark: {named}{more}", field="--not-in", hint="leave them out: lore-synth clean --benchmark … --rejected FILE")
