"""Peak memory of a process of its own, fed with rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from shared import sections

TOLD = 'print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))'  # ru_maxrss would count the parent's memory at the fork


def peak(work: str, rows: Iterable[bytes]) -> float:
    """Peak memory in MiB of a child that runs `work` (Python; the checkout and benchmarks/ can be imported) with the rows on its standard input.

    Raises RuntimeError when the child fails.
    """
    code = f"import sys\nsys.path[:0] = [{str(sections.ROOT)!r}, {str(Path(__file__).resolve().parents[1])!r}]\n{work}\n{TOLD}\n"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.writelines(rows)
    child.stdin.close()
    said = child.stdout.read()
    if child.wait():
        raise RuntimeError(f"the child ended with {child.returncode}")
    return int(said.split()[-1]) / 1024
