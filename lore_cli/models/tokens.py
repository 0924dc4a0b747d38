"""From prompts to token ids: the same for every engine that runs a model on this machine, so that all of them are asked the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lore_cli.models import Blind, Look, Usage


class Tokenized:
    """What engines share. chat: prompts are wrapped in the tokenizer's chat template. sees: a `Look` may be asked, through that template."""

    def __init__(self, tokenizer: Any, chat: bool, sees: bool) -> None:
        self._tokenizer, self._chat, self._sees = tokenizer, chat, sees and chat
        self.usage = Usage()

    def _prompt_text(self, prompt: str | Look) -> str:
        """What the model reads; the picture's placeholder stands before the text. Raises `Blind`."""
        if isinstance(prompt, Look) and not self._sees:
            raise Blind(f"the model reads text only, not {prompt.image.name}")
        if not self._chat:
            return str(prompt)
        content: Any = prompt
        if self._sees:  # templates of models that see go through parts
            picture, text = ([], prompt) if isinstance(prompt, str) else ([{"type": "image"}], prompt.text)
            content = [*picture, {"type": "text", "text": text}]
        return self._tokenizer.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False)

    def _prompt_ids(self, prompt: str | Look) -> list[int]:
        return self._plain_ids(self._prompt_text(prompt))

    def _plain_ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def _label_ids(self, prompts: int, labels: Sequence[str], begun: Sequence[str] | None) -> list[list[list[int]]]:
        """The ids of each label [prompts, labels, tokens] with what has begun of the reply before it."""
        starts = begun if begun is not None else [""] * prompts
        return [[self._plain_ids(start + label) for label in labels] for start in starts]


def one_step(endings: Sequence[Sequence[Sequence[int]]]) -> bool:
    """Whether each prompt's labels differ in their last token only: one forward pass then tells them all."""
    return all(len({tuple(ending[:-1]) for ending in row}) == 1 for row in endings)
