"""The manifest beside every output, `OUTPUT.manifest.json`, written last: what went in, what was asked, what came out."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from lore_cli import __version__
from lore_cli.stream import write_json_atomic

_PACKAGES = ("polars", "msgspec", "orjson", "torch", "transformers", "trl", "peft", "vllm", "lmdb")


def sha256_of(path: str | Path) -> str | None:
    """Hex digest of a file, or of a directory's files in name order; None for a pipe or nothing."""
    target = Path(path)
    digest = hashlib.sha256()
    if target.is_dir():
        for file in sorted(p for p in target.rglob("*") if p.is_file()):
            digest.update(str(file.relative_to(target)).encode() + b"\0" + bytes.fromhex(sha256_of(file) or ""))
        return digest.hexdigest()
    if not target.is_file():
        return None
    with open(target, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(
    output: str | None, *, command: str, inputs: Sequence[str], settings: dict[str, Any], identity: dict[str, Any] | None = None, counts: dict[str, Any] | None = None
) -> None:
    """Write the manifest of `output`; nothing for a pipe. `settings` must hold no secret; `counts` says what happened to the rows."""
    if output in (None, "-"):
        return
    document = {
        "command": command,
        "lore": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "output": {"path": output, "sha256": sha256_of(output)},
        "inputs": [{"path": path, "sha256": sha256_of(path)} for path in inputs],
        "settings": settings,
        "identity": identity or {},
        "counts": counts or {},
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }
    write_json_atomic(f"{str(output).rstrip('/')}.manifest.json", document)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
