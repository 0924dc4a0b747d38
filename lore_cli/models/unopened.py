"""A model by its URI without opening it: what identifies its replies, and how it counts tokens. Nothing is asked and no weights are loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lore_cli.errors import Missing, require
from lore_cli.models import directory_hash, refuse_no_model


def unopened(uri: str, chat: bool) -> tuple[dict[str, str], Callable[[str], int] | None]:
    """(identity, tokens of a text) of an `hf:`, `vllm:` or `http(s):` model, the same identity as the opened one has; None where only its server can count.

    Raises `Missing` for a directory that holds no model or no tokenizer.
    """
    scheme, _, target = uri.partition(":")
    if scheme in ("http", "https"):
        require("httpx", "serve"), require("stamina", "serve")
        from lore_cli.models.http import unasked_http

        return unasked_http(uri, chat=chat).identity(), None
    transformers = require("transformers", "train")
    refuse_no_model(target)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(target)
    except (OSError, ValueError) as error:
        raise Missing(f"the tokenizer of {target}: {str(error).splitlines()[0]}", hint="give a local model directory, or a hub id that this machine can reach") from error
    name = f"sha256:{directory_hash(Path(target))}" if Path(target).is_dir() else target
    identity = {"model": name, "chat": str(chat and bool(tokenizer.chat_template))} | ({"engine": "vllm"} if scheme == "vllm" else {})
    return identity, lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
