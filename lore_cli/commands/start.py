"""The console scripts. A command's modules take a moment to import; an interruption in that moment is told as one, too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

EXIT_MISSING, EXIT_INTERRUPTED = 4, 130  # as in lore_cli.errors, which is not imported yet


def script(name: str) -> Callable[[], None]:
    """The entry point of `lore-NAME`."""

    def start() -> None:
        try:
            main = import_module(f"lore_cli.commands.{name}").main
        except KeyboardInterrupt:
            print(f"lore-{name}: interrupted; nothing had begun", file=sys.stderr)
            sys.exit(EXIT_INTERRUPTED)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("lore_cli"):
                raise
            print(f"lore-{name}: the package '{error.name}' is not installed for {sys.executable}\n  next: make install, then .venv/bin/lore-{name}; or pip install -e .", file=sys.stderr)
            sys.exit(EXIT_MISSING)
        main()

    return start


synth, sft, rl, rair, tier, distill = map(script, ("synth", "sft", "rl", "rair", "tier", "distill"))
