"""The commands of this checkout, run by benchmarks as a user would."""

from __future__ import annotations

import resource
import subprocess
import sys

from shared import sections

from lore_cli.errors import EXIT_PARTIAL


def lore(command: str, *arguments: object) -> float:
    """Run `command`, say nothing, and tell its CPU seconds. Rows that failed (exit 5) are in its report; everything else ends the benchmark."""
    words = [str(argument) for argument in arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.call([sys.executable, str(sections.ROOT / "bin" / command), *words, "--quiet"], stdout=subprocess.DEVNULL)
    if code not in (0, EXIT_PARTIAL):
        raise SystemExit(f"{command} {' '.join(words)} ended with {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
