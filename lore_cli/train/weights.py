"""Weights of the reward parts: the defaults, a TOML file over them, single ones over both."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lore_cli.errors import BadInput, Missing, UsageError
from lore_cli.train.rewards import WEIGHTS


def read_weights(file: str | None = None, texts: Sequence[str] = ()) -> dict[str, float]:
    """Weights from the table `[weights]` of a file and from `NAME=NUMBER` texts, over the defaults.

    Raises `Missing` for no such file, `BadInput` for one that holds something else, `UsageError` for a text of another form.

    >>> read_weights(texts=("grade=2",))["grade"]
    2.0
    """
    weights = dict(WEIGHTS) | (_from_file(file) if file else {})
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if name not in weights or not math.isfinite(value):
            raise UsageError(f"--weight {text}: not NAME=NUMBER with a name of {', '.join(weights)}")
        weights[name] = value
    return weights


def _from_file(file: str) -> dict[str, float]:
    try:
        table: Any = tomllib.loads(Path(file).read_text("utf-8"))
    except OSError as error:
        raise Missing(f"{file}: {error.strerror}", hint="check --weights") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"not valid TOML: {error}", where=file) from error
    hint = f"give a table [weights] with names of {', '.join(WEIGHTS)}"
    if set(table) != {"weights"} or not isinstance(table["weights"], dict):
        raise BadInput(f"holds {', '.join(map(repr, table)) or 'nothing'}", where=file, hint=hint)
    for name, value in table["weights"].items():
        if name not in WEIGHTS:
            raise BadInput(f"'{name}' is not a reward part", where=file, field="weights", hint=hint)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadInput(f"found {value!r} (expected a number)", where=file, field=f"weights.{name}", hint=hint)
    return {name: float(value) for name, value in table["weights"].items()}
