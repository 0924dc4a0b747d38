"""The manifest beside every output, `OUTPUT.manifest.json`, written last: what went in, what was asked, what came out."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from lore_cli import __version__
from lore_cli.files import is_first_process, is_pipe, manifest_path, read_json, write_json_atomic

_PACKAGES = ("polars", "msgspec", "orjson", "torch", "transformers", "trl", "peft", "vllm", "lmdb")


class FileHash(msgspec.Struct, frozen=True):
    """A file or directory by path and content. sha256 is null for what could not be read again, such as a pipe."""

    path: str
    sha256: str | None


class Manifest(msgspec.Struct, frozen=True):
    """OUTPUT.manifest.json. `settings`: every option of the command as resolved (flag, LORE_* variable, --config, default).

    `identity`: what determines the content beside the inputs (judge, model, prompt and rulebook hashes …): a --resume under anything else
    is refused. `counts`: what became of the rows. `packages`: versions of what was installed.
    """

    command: str
    lore: str
    created: str
    output: FileHash
    inputs: list[FileHash]
    settings: dict[str, Any]
    identity: dict[str, Any]
    counts: dict[str, Any]
    python: str
    packages: dict[str, str]


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


def identity_of(path: str) -> dict[str, Any]:
    """What the manifest beside a file tells of how it was made (`Manifest.identity`); nothing where there is no manifest, or the file is not what it is about any more."""
    manifest = manifest_path(path)
    told = read_json(manifest, "a manifest") if not is_pipe(path) and manifest.is_file() else None
    if not isinstance(told, dict) or told.get("output", {}).get("sha256") != sha256_of(path):
        return {}
    return told.get("identity") or {}


def write_manifest(
    output: str | None, *, command: str, inputs: Sequence[str], settings: dict[str, Any], identity: dict[str, Any] | None = None, counts: dict[str, Any] | None = None
) -> None:
    """Write the manifest of `output`; nothing for a pipe. `settings` must hold no secret; `counts` says what happened to the rows."""
    if output is None or is_pipe(output) or not is_first_process():
        return
    manifest = Manifest(
        command=command,
        lore=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        output=FileHash(output, sha256_of(output)),
        inputs=[FileHash(path, sha256_of(path)) for path in inputs],
        settings=settings,
        identity=identity or {},
        counts=counts or {},
        python=".".join(map(str, sys.version_info[:3])),
        packages={name: version for name in _PACKAGES if (version := _version(name))},
    )
    write_json_atomic(manifest_path(output), msgspec.to_builtins(manifest))


def _version(package: str) -> str | None:
    from importlib import metadata  # 20 ms that no --help should pay

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
