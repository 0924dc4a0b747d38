"""README.md of a model directory, a model card as hubs show it: what the model is for, what it was taught, under which rulebook, by which settings, with which figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lore_cli import __version__
from lore_cli.manifest import sha256_of
from lore_cli.modelcard import ModelCard
from lore_cli.stream import write_text_atomic

_STAGES = {"sft": "fine-tuned on verified reasoning", "rl": "aligned with human grades by reinforcement learning"}


def write_readme(folder: Path, card: ModelCard, sources: Sequence[str], settings: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Write `folder`/README.md. Of the sources only names and hashes are told, no paths; settings that are None or False are left out."""
    base = "" if card.base.startswith(("sha256:", "scratch:")) else f"base_model: {card.base}\n"
    data = [(f"`{Path(source).name}`", sha256_of(source) or "read from a pipe") for source in sources]
    parts = [
        f"---\nlibrary_name: transformers\npipeline_tag: text-generation\n{base}tags: [lore, search-relevance, {card.stage}]\n---",
        "# Relevance judge",
        f"Grades a query and an item L1 to L4. A language model {_STAGES[card.stage]} (lore {__version__}), from `{card.base}`.",
        "    lore-rair run pairs.jsonl --judge hf:DIR",
        f"It is asked by the prompt `{card.prompt}` (hash {card.prompt_hash}), without a chat template, and answers in the layout `{card.layout}`. "
        f"Rulebook: {card.rulebook_hash}. Asked in another way, or judged by another rulebook, it has not been measured.",
        "## Data\n\n" + _table(("file", "sha256"), data),
        "## Settings\n\n" + _table(("option", "value"), [(f"`{name}`", value) for name, value in settings.items() if value not in (None, False, ())]),
        "## Figures of the training run\n\n" + _table(("", ""), list(figures.items())) + "\n\nHow good it is a benchmark tells: `lore-rair score`. Every step is in `metrics.jsonl`.",
    ]
    write_text_atomic(folder / "README.md", "\n\n".join(parts) + "\n")


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '¦') for cell in cells)} |" for cells in (head, ["---"] * len(head), *rows))
