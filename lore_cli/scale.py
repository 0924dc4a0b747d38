"""Rows mapped over a Ray cluster by Ray Data; nothing distributed is written here. Knows nothing of relevance: rows go in, rows come out, in order.

The rows are laid in Ray's object store, which moves to disk what memory does not hold, in blocks; each worker (an actor) opens what it works with
once and takes block after block. Ray starts a worker anew that died and gives its block to another. This package travels to the workers with the
job; what it depends on must be installed there. Relative paths mean there what they mean here, where the folder is shared.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

import lore_cli
from lore_cli.errors import LoreError, Missing, require
from lore_cli.stream import chunks, encode

if TYPE_CHECKING:
    import pyarrow

Row = dict[str, Any]
Work = Callable[[list[Row]], list[Row]]
Answer = TypeVar("Answer")

_CONNECT_S = 10


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster. address: as Ray takes it (`auto`, `HOST:6379`, `ray://HOST:10001`, `local`). workers: None for one a GPU, or one a core where
    the cluster has no GPU or the work needs none. gpu: whether a worker computes on a GPU where there is one."""

    address: str
    workers: int | None = None
    gpu: bool = False

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """What `question` answers on one of the cluster's machines. Raises what it raises there, `Missing` without Ray or the cluster."""
        ray = self._connected()
        task = ray.remote(num_cpus=1, num_gpus=self._gpus(ray))(_in_folder)
        with _own_errors():
            return ray.get(task.remote(question, os.getcwd()))

    def map(self, rows: Iterable[Row], open_work: Callable[[], Work], rows_each: int) -> Iterator[Row]:
        """`work` over blocks of `rows_each` consecutive rows, one row out for each row in, in order; all rows are read before the first comes out.

        `open_work` runs once in each worker. Raises as `ask`. Driver memory: some hundred bytes a block, and the blocks that wait for one that is late.
        """
        ray = self._connected()
        pyarrow = require("pyarrow", "ray")
        blocks = [ray.put(pyarrow.table({"row": [encode(row) for row in chunk]})) for chunk in chunks(rows, rows_each)]
        if not blocks:
            return
        gpus = self._gpus(ray)
        workers = self.workers or max(1, int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1)))
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        mapped = ray.data.from_arrow_refs(blocks).map_batches(
            _Worker, fn_constructor_args=(open_work, os.getcwd()), batch_size=None, batch_format="pyarrow", num_cpus=1, num_gpus=gpus,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(blocks))),
        )  # fmt: skip
        with _own_errors():
            for block in mapped.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield from map(orjson.loads, block["row"].to_pylist())

    def _gpus(self, ray: Any) -> int:
        return int(self.gpu and ray.cluster_resources().get("GPU", 0) >= 1)

    def _connected(self) -> Any:
        """The module `ray`, connected; its data module is loaded. What Ray and its workers print stays off standard output."""
        ray = require("ray", "ray")
        require("ray.data", "ray")
        if not ray.is_initialized():
            self._refuse_silence()
            on_sigterm = signal.getsignal(signal.SIGTERM)
            try:
                package = str(Path(lore_cli.__file__).parent)
                ray.init(self.address, runtime_env={"py_modules": [package]}, log_to_driver=False, logging_level="ERROR")
                signal.signal(signal.SIGTERM, on_sigterm)  # Ray puts its own in place, which would exit with 15
            except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
                hint = "is it running (`ray status`), with the Python and Ray that are here, and is its token known here (RAY_AUTH_MODE)?"
                raise Missing(f"Ray cluster {self.address}: {_first_line(error)}", hint=hint) from error
        return ray

    def _refuse_silence(self) -> None:
        """Raise `Missing` for a machine that does not answer: Ray itself would try for minutes."""
        host, colon, port = self.address.removeprefix("ray://").partition(":")
        if not colon or not port.isdigit():
            return
        try:
            socket.create_connection((host, int(port)), _CONNECT_S).close()
        except OSError as error:
            raise Missing(f"Ray cluster {self.address}: {error.strerror or error}", hint="is it running? `ray start --head` starts one") from error


class _Worker:
    """An actor of Ray Data."""

    def __init__(self, open_work: Callable[[], Work], folder: str) -> None:
        self._work = _in_folder(open_work, folder)

    def __call__(self, block: pyarrow.Table) -> pyarrow.Table:
        import pyarrow

        rows = self._work([orjson.loads(row) for row in block["row"].to_pylist()])
        if len(rows) != block.num_rows:
            raise RuntimeError(f"{block.num_rows} rows became {len(rows)}")
        return pyarrow.table({"row": [encode(row) for row in rows]})


def _in_folder(work: Callable[[], Answer], folder: str) -> Answer:
    with contextlib.suppress(OSError):  # not shared: absolute paths, hub ids and servers are still what they are
        os.chdir(folder)
    return work()


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """An error of ours that rose in a worker rises here as what it is."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None and (not isinstance(cause, LoreError) or isinstance(cause, ray.exceptions.RayError)):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is None:
            raise
        raise cause from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
