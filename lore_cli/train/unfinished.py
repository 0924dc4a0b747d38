"""`OUTPUT.unfinished`: what an interrupted training run leaves for `--resume`, its identity and its checkpoints.

No torch here, so that a refusal comes before it loads. The ledger (ledger.py) does the same for work on rows.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lore_cli.errors import UsageError
from lore_cli.files import is_first_process, read_json, write_json_atomic
from lore_cli.ledger import finished_identity, refuse_difference

_IDENTITY = "identity.json"
COMPLETE = "complete.json"
"""The file that is written last into a checkpoint: one without it is the rest of a run that was killed as it saved."""


@contextlib.contextmanager
def unfinished(output: str, identity: dict[str, Any], *, resume: bool, force: bool) -> Iterator[Path]:
    """The folder for checkpoints. Gone when the block ends well, and when it ends badly before the first checkpoint.

    identity: what determines the result (hash of the data, model, rulebook, options); JSON. Raises `UsageError` when unfinished work or
    somebody else's folder is in the way, and when --resume is asked for under another identity, naming the difference.
    """
    folder = folder_of(output)
    if not is_first_process():
        yield folder
        return
    begun = latest(folder) is not None
    if folder.exists() and not (folder / _IDENTITY).exists():
        raise UsageError(f"{folder} is in the way, and no training of ours left it", hint="move it away, or choose another --output")
    if resume and begun:
        refuse_difference(read_json(folder / _IDENTITY, "the identity of unfinished training"), identity, str(folder))
    elif begun and not force:
        raise UsageError(f"{folder} holds unfinished work", hint="pass --resume to finish it, or --force to start again")
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json_atomic(folder / _IDENTITY, identity)
    try:
        yield folder
    except BaseException:
        if latest(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def folder_of(output: str) -> Path:
    """Where the unfinished work of an output lies."""
    return Path(f"{output.rstrip('/')}.unfinished")


def is_finished(output: str, identity: dict[str, Any]) -> bool:
    """Whether --resume finds the work done. Raises `UsageError` when the output was made under another identity, naming the difference."""
    if folder_of(output).exists() or not Path(output).exists():
        return False
    refuse_difference(finished_identity(output), identity, output)
    return True


def latest(folder: Path) -> Path | None:
    """The last complete checkpoint (`checkpoint-STEP`), None before the first."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
