"""`lore.json` in a model directory: how the model was taught to answer, so that a judge asks it the same way."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from lore_cli.answer import Layout
from lore_cli.errors import BadInput, Missing
from lore_cli.prompts import load_prompt
from lore_cli.rulebook import Rulebook
from lore_cli.stream import read_json, write_json_atomic

FILE = "lore.json"


class ModelCard(msgspec.Struct, frozen=True):
    """layout and prompt: the form of answer and question trained on; the hashes: of the prompt's file and the rulebook; base: what training began from.

    chat_template_hash: of the tokenizer's chat template, empty when it has none, None on a card that does not tell.
    """

    layout: Layout
    prompt: str
    prompt_hash: str
    rulebook_hash: str
    stage: str
    base: str
    chat_template_hash: str | None = None


def write(folder: Path, *, layout: Layout, prompt: str, stage: str, base: str, rulebook: Rulebook) -> ModelCard:
    """Describe the model in `folder`, whose tokenizer is there already; returns the card."""
    card = ModelCard(layout, prompt, load_prompt(prompt).hash, rulebook.hash, stage, base, chat_template_hash(folder))
    write_json_atomic(folder / FILE, msgspec.to_builtins(card))
    return card


def read(folder: str | Path) -> ModelCard | None:
    """The card of a model directory; None for a model that lore did not train.

    Raises `BadInput` for a malformed card and for one whose prompt or chat template has changed since: the model would be asked what it never learnt.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        return None
    try:
        card = msgspec.convert(read_json(file, "a model card"), ModelCard)
    except msgspec.ValidationError as error:
        raise BadInput(f"not a model card: {error}", where=str(file), hint="train the model again with lore-sft") from error
    if load_prompt(card.prompt).hash != card.prompt_hash:
        raise BadInput(f"the prompt '{card.prompt}' has changed since this model was trained", where=str(file), field="prompt_hash", hint="train the model again")
    if card.chat_template_hash not in (None, found := chat_template_hash(Path(folder))):
        told = f"the chat template of this directory ({found or 'none'}) is not the one that the model was trained with ({card.chat_template_hash or 'none'})"
        raise BadInput(told, where=str(file), field="chat_template_hash", hint="put the model's own tokenizer files back, or train the model again")
    return card


def chat_template_hash(folder: Path) -> str:
    """16 hex digits for the chat template of a tokenizer's directory (`chat_template.jinja`, else in `tokenizer_config.json`); empty for none."""
    file, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    template = file.read_text("utf-8") if file.is_file() else read_json(config, "a tokenizer's settings").get("chat_template") if config.is_file() else None
    return hashlib.sha256(str(template).encode()).hexdigest()[:16] if template else ""


def require(folder: str | Path) -> ModelCard:
    """`read`, for commands that go on from a model of ours. Raises `Missing` without a card."""
    card = read(folder)
    if card is None:
        raise Missing(f"{folder}: no {FILE}, so this is not a model that lore-sft made", hint="fine-tune it first: lore-sft TRACES --model … -o DIR")
    return card
