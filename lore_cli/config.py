"""Settings from `--config FILE.toml`: top-level keys hold for every command, `[synth]`, `[rair.run]` … for one.

Precedence: flag > LORE_* environment > --config file > default. The resolved settings are in every manifest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lore_cli.errors import BadInput, Missing


def load_config(path: str, command: tuple[str, ...], known: frozenset[str]) -> dict[str, Any]:
    """The settings that a file gives to one command, option names with underscores.

    Raises `Missing` for no such file, `BadInput` for bad TOML or a name that is not an option of the command.
    A top-level key may belong to another command, so only keys in the command's own table must be known.
    """
    import tomllib  # here, because few runs have a file of settings

    try:
        data = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise Missing(f"{path}: {error.strerror}", hint="check --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"not valid TOML: {error}", where=path) from error
    settings = {_name(key): value for key, value in data.items() if not isinstance(value, dict) and _name(key) in known}
    table: Any = data
    for part in command:
        table = table.get(part, {}) if isinstance(table, dict) else {}
        for key, value in table.items():
            if isinstance(value, dict):
                continue
            if part == command[-1] and _name(key) not in known:
                raise BadInput(f"'{key}' is not an option of lore-{' '.join(command)}", where=path, field=".".join(command), hint="see --help")
            if _name(key) in known:
                settings[_name(key)] = value
    return settings


def _name(key: str) -> str:
    return key.replace("-", "_")
