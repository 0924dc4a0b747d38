"""How a student's encoder is run: a cross-encoder with torch or ONNX Runtime, or a bi-encoder with torch. Text pairs in, grade logits out.

Reading (tokenisation) is apart from running, so that the one can go on while the other does: both leave the interpreter free. Rows of similar
length share a batch, so that little is padded. A batch is run on one thread and several batches at once: the matrices of a small encoder are too small
to be shared between threads. torch computes in bfloat16 where the processor has units for it, and once more in float32 what that leaves open.
"""

from __future__ import annotations

import copy
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lore_cli.errors import BadInput, require
from lore_cli.records import GRADES
from lore_cli.stream import read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

ONNX_FILE, HEAD_FILE = "model.onnx", "head.safetensors"
# Rows of a batch: more are no faster, and leave threads without work; the same whatever the number of threads, so that int8 scores are.
_ONNX_ROWS, _TORCH_ROWS, _AGAIN_ROWS = 16, 32, 16
_KEPT_ITEMS = 100_000  # item vectors a bi-encoder remembers: 150 MB at width 384
Texts = Sequence[tuple[str, str]]
Spread = Callable[[Callable[[list[int]], "Array"], Sequence[list[int]]], "Iterable[Array]"]
"""`map`, or that of threads."""


class Encoder(Protocol):
    """Text pairs → logits, (rows, 4) float64, in the order given."""

    def read(self, texts: Texts) -> Any:
        """The texts as tokens, for `logits`; may run in another thread than it."""
        ...

    def logits(self, read: Any, batch_size: int) -> Array: ...


def buckets(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Row numbers in batches of up to `size`, rows of similar length together: little is padded. The longest come first, so that threads end at about the same time."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    return [order[start : start + size] for start in range(0, len(order), size)]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenizer that cuts at max_length, and what a padded batch of its rows is made of. inputs: names that the model takes; padding: id of the padding token."""

    tokenizer: Any
    inputs: tuple[str, ...]
    padding: int

    def read(self, texts: Sequence[Any]) -> list[Any]:
        return self.tokenizer.encode_batch_fast(list(texts))

    def batched(self, rows: Sequence[Any], run: Callable[[dict[str, Array]], Array], size: int, spread: Spread = map) -> Array:
        """`run` over padded batches of similar length, by `spread`; its rows in the order of `rows`."""
        import numpy

        if not rows:
            return numpy.empty((0, len(GRADES)))
        batches = buckets([len(row) for row in rows], size)
        values = numpy.concatenate(list(spread(lambda chosen: run(self._padded([rows[number] for number in chosen])), batches)))
        found = numpy.empty_like(values)
        found[numpy.concatenate(batches)] = values
        return found

    def _padded(self, rows: Sequence[Any]) -> dict[str, Array]:
        import numpy

        shape = (len(rows), max(map(len, rows)))
        ids, mask, types = numpy.full(shape, self.padding), numpy.zeros(shape, dtype=numpy.int64), numpy.zeros(shape, dtype=numpy.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)], mask[number, : len(row)], types[number, : len(row)] = row.ids, 1, row.type_ids
        return {name: value for name, value in (("input_ids", ids), ("attention_mask", mask), ("token_type_ids", types)) if name in self.inputs}


@dataclass(frozen=True, slots=True)
class Cross:
    """Reads query and item together. run: a padded batch → logits, grades first; of at most so many rows, by `spread`."""

    tokens: Tokens
    run: Callable[[dict[str, Array]], Array]
    most_rows: int = sys.maxsize
    spread: Spread = map

    def read(self, texts: Texts) -> Any:
        return self.tokens.read(texts)

    def logits(self, read: Any, batch_size: int) -> Array:
        return self.tokens.batched(read, self.run, min(batch_size, self.most_rows), self.spread)[:, : len(GRADES)].astype("float64")


def apart(logits: Array, others: Array) -> Array:
    """By how much the two tell the difference of any two grades' logits otherwise: (rows, n) → (rows, n, n). What moves all of a row alike is no difference."""
    moved = logits - others
    return abs(moved[:, :, None] - moved[:, None, :])


@dataclass(frozen=True, slots=True)
class Rounding:
    """What a student may be off by in bfloat16. reach: `apart`, at most, (4, 4); settled: (logits, reach) → the rows whose grade is the same all the same
    (`Calibration.settled`).
    """

    reach: Array
    settled: Callable[[Array, Array], Array]


@dataclass(frozen=True, slots=True)
class Twice:
    """The same cross-encoder in bfloat16 for all rows, and in float32 for those where the rounding could turn a grade [ours].

    Those also tell how much it rounds: where that is more than was allowed for, all rows are computed in float32.
    """

    rough: Cross
    exact: Cross
    rounding: Rounding

    def read(self, texts: Texts) -> Any:
        return self.exact.read(texts)

    def logits(self, read: Any, batch_size: int) -> Array:
        found, reach = self.rough.logits(read, batch_size), self.rounding.reach
        still_open = [row for row, sure in enumerate(self.rounding.settled(found, reach).tolist()) if not sure]
        if still_open:
            again = self.exact.logits([read[row] for row in still_open], batch_size)
            if (apart(again, found[still_open]) > reach).any():
                return self.exact.logits(read, batch_size)
            found[still_open] = again
        return found


@dataclass(slots=True)
class Bi:
    """Reads query and item apart; a head over (u, v, |u − v|, u·v) grades the two vectors (Reimers & Gurevych, arXiv 1908.10084). An item seen before is not read again."""

    tokens: Tokens
    embed: Callable[[dict[str, Array]], Array]
    weight: Array
    bias: Array
    items: dict[str, Array] = field(default_factory=dict)

    def read(self, texts: Texts) -> Any:
        queries = list(dict.fromkeys(query for query, _ in texts))
        known = {item: self.items.get(item) for _, item in texts}
        fresh = [item for item, vector in known.items() if vector is None]
        return texts, queries, self.tokens.read(queries), known, fresh, self.tokens.read(fresh)

    def logits(self, read: Any, batch_size: int) -> Array:
        import numpy

        texts, queries, query_rows, known, fresh, item_rows = read
        if not texts:
            return numpy.empty((0, len(GRADES)))
        asked = dict(zip(queries, self.tokens.batched(query_rows, self.embed, batch_size), strict=True))
        made = dict(zip(fresh, self.tokens.batched(item_rows, self.embed, batch_size), strict=True))
        vectors = known | made
        u, v = numpy.stack([asked[query] for query, _ in texts]), numpy.stack([vectors[item] for _, item in texts])
        self.items.update(made)
        while len(self.items) > _KEPT_ITEMS:
            del self.items[next(iter(self.items))]
        joined = numpy.concatenate([u, v, abs(u - v), u * v], axis=1)
        return (joined @ self.weight.T + self.bias)[:, : len(GRADES)].astype("float64")


def open_encoder(folder: Path, architecture: str, max_length: int, rounding: Rounding | None = None) -> Encoder:
    """The encoder of a student directory: ONNX Runtime where there is an ONNX file, else torch; that in float32 alone when `rounding` is not given.

    Raises `BadInput` when it cannot be loaded.
    """
    try:
        if (folder / ONNX_FILE).is_file():
            return _onnx(folder, max_length)
        return _bi(folder, max_length) if architecture == "bi" else _cross(folder, max_length, rounding)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        hint = "train it again with lore-distill train"
        raise BadInput(f"cannot be loaded as an encoder: {str(error).splitlines()[0]}", where=str(folder), hint=hint) from error


def _onnx(folder: Path, max_length: int) -> Cross:
    tokenizers, runtime = require("tokenizers", "onnx"), require("onnxruntime", "onnx")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = runtime.InferenceSession(str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds of error have no base but this
        raise ValueError(str(error)) from error
    padding = read_json(folder / "config.json", "the encoder's configuration").get("pad_token_id") or 0
    tokens = _tokens(tokenizer, [one.name for one in session.get_inputs()], padding, max_length)
    threads = ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count(), thread_name_prefix="onnx")  # as torch takes it
    return Cross(tokens, lambda batch: session.run(None, batch)[0], _ONNX_ROWS, threads.map)


def open_rough(folder: Path, max_length: int) -> Cross:
    """The cross-encoder of a student directory in bfloat16."""
    from lore_cli.models.encoder_bfloat16 import in_bfloat16

    model, tokens = _torch(folder, "AutoModelForSequenceClassification", max_length)
    return _batched(tokens, in_bfloat16(model), _single_threads())


def _cross(folder: Path, max_length: int, rounding: Rounding | None) -> Cross | Twice:
    from lore_cli.models.encoder_bfloat16 import in_bfloat16
    from lore_cli.models.hf import bfloat16_units

    model, tokens = _torch(folder, "AutoModelForSequenceClassification", max_length)
    spread = _single_threads()
    if rounding is None or not bfloat16_units():
        return _batched(tokens, model, spread)
    return Twice(_batched(tokens, in_bfloat16(copy.deepcopy(model)), spread), _batched(tokens, model, spread, _AGAIN_ROWS), rounding)


def _batched(tokens: Tokens, model: Any, spread: Spread, rows: int = _TORCH_ROWS) -> Cross:
    from lore_cli.models.first_token import grading

    return Cross(tokens, _inference(grading(model)), rows, spread)


def _single_threads() -> Spread:
    """As many threads as torch has, each of which runs it alone. Its own number stays what it is for all others."""
    import torch

    number = torch.get_num_threads()
    started = threading.Barrier(number)

    def alone() -> None:
        torch.get_num_threads()  # a thread that has never asked would do so later, and forget what follows
        torch.set_num_threads(1)
        started.wait()

    threads = ThreadPoolExecutor(number, thread_name_prefix="torch", initializer=alone)
    list(threads.map(lambda _: None, range(number)))
    torch.set_num_threads(number)  # which those that start later would have from the last of the above
    return threads.map


def _bi(folder: Path, max_length: int) -> Bi:
    from safetensors.numpy import load_file

    model, tokens = _torch(folder, "AutoModel", max_length)
    head = load_file(folder / HEAD_FILE)

    def mean(**batch: Any) -> Any:
        """Mean of the token vectors, padding aside."""
        mask = batch["attention_mask"].unsqueeze(-1).float()
        return (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1).clamp(min=1e-9)

    return Bi(tokens, _inference(mean), head["weight"], head["bias"])


def _torch(folder: Path, kind: str, max_length: int) -> tuple[Any, Tokens]:
    torch, transformers = require("torch", "train"), require("transformers", "train")
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = getattr(transformers, kind).from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    return model, _tokens(tokenizer.backend_tokenizer, tokenizer.model_input_names, tokenizer.pad_token_id or 0, max_length)


def _tokens(tokenizer: Any, inputs: Sequence[str], padding: int, max_length: int) -> Tokens:
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    tokenizer.no_padding()
    return Tokens(tokenizer, tuple(inputs), padding)


def _inference(run: Callable[..., Any]) -> Callable[[dict[str, Array]], Array]:
    """A torch function of named tensors as one of a batch of arrays."""
    import torch

    def call(batch: dict[str, Array]) -> Array:
        with torch.inference_mode():
            return run(**{name: torch.from_numpy(values) for name, values in batch.items()}).float().numpy()

    return call
