"""Where benchmark tables go: printed, and with --write put in their own marked section of docs/results.md."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # from a checkout that need not be installed

from lore_cli.errors import BadInput  # noqa: E402
from lore_cli.stream import write_text_atomic  # noqa: E402

RESULTS = ROOT / "docs" / "results.md"
HEAD = """# Results

What was measured, when, by which command, on which machine; negative results stay in. Sections between markers are written by their command.
"""


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def machine() -> str:
    """The machine and how busy it is, in a few words."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.processor() or platform.machine())
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def command() -> str:
    """The command that is running, without what says where its table goes; files by their names."""
    words = (Path(word).name if "/" in word else word for word in sys.argv[1:] if word != "--write")
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def publish(name: str, title: str, command: str, body: str, where: str, write: bool) -> None:
    """Print a section; with `write`, replace the one of this name in docs/results.md, or add it. `where`: machine and load at the start. Other text stays as it is."""
    section = f"<!-- benchmark: {name} -->\n## {title}\n\n{date.today().isoformat()}, `{command}`, {where}.\n\n{body}\n<!-- end -->"
    print(section if write else body)
    if write:
        write_text_atomic(RESULTS, placed(RESULTS.read_text("utf-8") if RESULTS.is_file() else HEAD, name, section))


def placed(text: str, name: str, section: str) -> str:
    """`text` with the section of this name replaced, or added at the end."""
    start = text.find(f"<!-- benchmark: {name} -->")
    if start < 0:
        return f"{text.rstrip()}\n\n{section}\n"
    end = text.find("<!-- end -->", start)
    if end < 0:
        raise BadInput(f"section '{name}' has no end marker", where=str(RESULTS), hint="add the line <!-- end --> after it")
    return text[:start] + section + text[end + len("<!-- end -->") :]
