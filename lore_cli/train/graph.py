"""A student's encoder as an ONNX graph from token ids to logits: exported by torch, fused by ONNX Runtime's transformer optimiser, quantised dynamically."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lore_cli.models.first_token import grading

_OPSET = 17


class _Logits(nn.Module):
    """An encoder called by position, as the exporter does."""

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names, self.logits = model, names, grading(model)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.logits(**dict(zip(self.names, inputs, strict=True)))


def write(source: Path, target: Path) -> None:
    """The encoder of a student directory in fp32, for any number of rows and tokens."""
    model = AutoModelForSequenceClassification.from_pretrained(source, local_files_only=True, dtype=torch.float32, attn_implementation="eager").eval()
    example = AutoTokenizer.from_pretrained(source, local_files_only=True)(["one", "another query"], ["an item", "item"], padding=True, return_tensors="pt")
    names = list(example)
    graph = _Logits(model, names)
    axes = {name: {0: "rows", 1: "tokens"} for name in names} | {"logits": {0: "rows"}}
    plain = target.with_name("plain.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes on tracing: parity is measured instead
        torch.onnx.export(graph, tuple(example.values()), plain, input_names=names, output_names=["logits"], dynamic_axes=axes, opset_version=_OPSET, dynamo=False)
    fused = optimizer.optimize_model(str(plain), "bert", num_heads=model.config.num_attention_heads, hidden_size=model.config.hidden_size, opt_level=0)
    fused.save_model_to_file(str(target))
    plain.unlink()


def quantise(fp32: Path, int8: Path) -> None:
    """Weights in seven bits for each channel: processors without VNNI overflow at eight (ONNX Runtime's guide to quantisation)."""
    logging.getLogger().addFilter(_told)
    try:
        types = {"DefaultTensorType": onnx.TensorProto.FLOAT}  # of what fused operators give, which shape inference does not know
        quantize_dynamic(fp32, int8, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True, extra_options=types)
    finally:
        logging.getLogger().removeFilter(_told)


def _told(record: logging.LogRecord) -> bool:
    """Not the advice to prepare a graph that is prepared already."""
    return "pre-processing before quantization" not in record.getMessage()
