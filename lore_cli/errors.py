"""Errors a user can act on. Each carries the exit code of the conduct table in ARCHITECTURE.md.

Raise them where the fact is known (the row, the option, the missing package) and let them rise: the
shared command decorator prints one line and exits. Anything else that rises is a bug and keeps its traceback.
"""

from __future__ import annotations

import importlib
from types import ModuleType

EXIT_DONE, EXIT_GATE, EXIT_USAGE, EXIT_BAD_INPUT, EXIT_MISSING, EXIT_PARTIAL, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class LoreError(Exception):
    """Base: `message` says what was found; `hint` says what to do next."""

    exit_code = EXIT_BAD_INPUT

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message


class UsageError(LoreError):
    """Options that contradict each other or cannot be met."""

    exit_code = EXIT_USAGE


class BadInput(LoreError):
    """Input that does not hold what it must: prints as `FILE:LINE: field: what was found (what is allowed)`."""

    def __init__(self, message: str, *, where: str = "", line: int | None = None, field: str = "", hint: str = "") -> None:
        place = where + (f":{line}" if line is not None else "")
        super().__init__(": ".join(part for part in (place, field, message) if part), hint=hint)
        self.where, self.line, self.field, self.reason = where, line, field, message


class Missing(LoreError):
    """A file, package, server or model that is needed and is not there."""

    exit_code = EXIT_MISSING


class Unmet(LoreError):
    """A gate that was set with --require was not met."""

    exit_code = EXIT_GATE


class Interrupted(LoreError):
    """Ctrl-C or SIGTERM while work was going on."""

    exit_code = EXIT_INTERRUPTED


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise `Missing` with the line that installs the extra which holds it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Missing(f"the package '{module}' is not installed ({error})", hint=f"pip install 'lore-cli[{extra}]'") from error
