"""Tiny language models that were taught a few replies by heart, one of them about pictures, and servers on the loopback; for tests of models and judges."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lore_cli import answer
from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.prompts import load_prompt, pair_prompt
from lore_cli.records import Pair
from lore_cli.rulebook import load_rulebook
from lore_cli.stream import read

ROOT = Path(__file__).resolve().parent.parent
PAIRS_FILE = ROOT / "examples" / "pairs.jsonl"
TAUGHT = 8
CHAT_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"  # adds nothing, so that what was learnt by heart is answered in a chat as well
_QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}


def pairs(count: int | None = TAUGHT) -> list[Pair]:
    """The first example pairs; with the default those that the tiny model was taught."""
    return list(read(Pair, [str(PAIRS_FILE)], limit=count))


@functools.cache
def answers(layout: str = "answer-last") -> dict[str, str]:
    """short prompt → the expert's answer, of every example pair."""
    book = load_rulebook()
    verdicts = open_judge("rulebook:", JudgeSettings(book))(pairs(None))
    return {pair_prompt(pair, book): answer.render(answer.Answer(v.matches, v.rules, v.grade), layout) for pair, v in zip(pairs(None), verdicts)}


@functools.cache
def taught_model() -> Path:
    """A directory with a Llama of 100,000 parameters that answers the short prompts of `pairs()` as the expert does; about three seconds."""
    import torch
    import transformers

    from lore_cli.train import scratch

    transformers.utils.logging.disable_progress_bar()
    folder = Path(tempfile.mkdtemp(prefix="lore-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    texts = list(answers().items())[:TAUGHT]
    tokenizer = scratch.train_tokenizer([part for text in texts for part in text], 700)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=2048,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.normal_(0, weight.shape[1] ** -0.5)
    _learn_by_heart(model, [(tokenizer(prompt)["input_ids"], tokenizer(reply + scratch.END)["input_ids"]) for prompt, reply in texts])
    model.generation_config.do_sample = True  # else `transformers serve` draws nothing
    model.save_pretrained(folder)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def _learn_by_heart(model: Any, rows: list[tuple[list[int], list[int]]], **pictures: Any) -> None:
    """Teach (ids of a prompt, of its reply), up to 300 steps. pictures: what belongs to the prompts beside their ids."""
    import torch

    longest = max(len(prompt) + len(reply) for prompt, reply in rows)
    ids, labels = torch.zeros(len(rows), longest, dtype=torch.long), torch.full((len(rows), longest), -100)
    for number, (prompt, reply) in enumerate(rows):
        ids[number, : len(prompt) + len(reply)] = torch.tensor(prompt + reply)
        labels[number, len(prompt) : len(prompt) + len(reply)] = torch.tensor(reply)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(300):
        loss = model(input_ids=ids, labels=labels, **pictures).loss
        if loss.item() < 0.01:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError(f"{len(rows)} replies were not learnt: loss {loss.item():.3f}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def transformers_server(folder: Path) -> contextlib.AbstractContextManager[str]:
    """`transformers serve` on a directory, in a process of its own. Gives the address that ends in /v1."""
    port = free_port()
    code = f"from transformers.cli.serve import Serve; Serve({str(folder)!r}, host='127.0.0.1', port={port}, device='cpu')"
    return _served(["-c", code], port, 60)


def vllm_server(folder: Path) -> contextlib.AbstractContextManager[str]:
    """`vllm serve`, likewise."""
    port = free_port()
    options = ["--model", str(folder), "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port), "--gpu-memory-utilization", "0.3"]
    return _served(["-m", "vllm.entrypoints.openai.api_server", *options], port, 600)


@contextlib.contextmanager
def _served(arguments: list[str], port: int, patience_s: int) -> Iterator[str]:
    server = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | _QUIET)
    try:
        for _ in range(patience_s * 10):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            assert server.poll() is None, "the server ended"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()  # vLLM ends its own processes then
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@dataclass
class Reply:
    """What a `LoopbackServer` answers. `body` is sent as JSON unless it is bytes; `length` claims another Content-Length; hang: no answer at all; drip: seconds between its bytes."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    hang: bool = False
    drip: float = 0.0


class LoopbackServer:
    """A real HTTP server in this process. `answer(path, body)` gives a `Reply`; `asked` keeps (path, body, headers) of every request."""

    def __init__(self, answer: Callable[[str, dict[str, Any] | None], Reply], port: int = 0) -> None:
        self.asked: list[tuple[str, dict[str, Any] | None, dict[str, str]]] = []
        self.in_flight = self.most_in_flight = 0
        self._answer, self._lock, self._released = answer, threading.Lock(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.serve(self)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

            def setup(self) -> None:
                outer.connections.append(self.request)
                super().setup()

        self.connections: list[socket.socket] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = json.loads(handler.rfile.read(int(handler.headers.get("content-length") or 0)) or b"null")
        with self._lock:
            self.asked.append((handler.path, body, dict(handler.headers)))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            reply = self._answer(handler.path, body)
        finally:
            with self._lock:
                self.in_flight -= 1
        if reply.hang:
            self._released.wait()
            handler.close_connection = True
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"content-type": "application/json", **reply.headers}
        handler.send_response(reply.status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(content) if reply.length is None else reply.length))
        handler.end_headers()
        with contextlib.suppress(OSError):  # a client may have had enough
            for place in range(len(content)) if reply.drip else ():
                handler.wfile.write(content[place : place + 1])
                time.sleep(reply.drip)
            handler.wfile.write(b"" if reply.drip else content)
        handler.close_connection = reply.length is not None

    def stop(self) -> None:
        """Stop: connections are broken, and from now on refused."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> LoopbackServer:
        return self

    def __exit__(self, *_: Any) -> None:
        with contextlib.suppress(OSError):
            self.stop()


def models(*names: str) -> Reply:
    """A list of models."""
    return Reply({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


def text(content: str, ending: str = "stop") -> Reply:
    """A reply for both endpoints."""
    return Reply({"choices": [{"index": 0, "finish_reason": ending, "text": content, "message": {"role": "assistant", "content": content}}]})


CAPTIONS = {"red": "a red sofa", "blue": "navy curtains with dots", "green": "one green lamp"}
"""Colour of a picture and what `seeing_model` says of it."""


@functools.cache
def seeing_model() -> Path:
    """A directory with a small LLaVA that answers the prompt for captions with `CAPTIONS`, of pictures in their colours."""
    import torch
    import transformers

    from lore_cli.train import scratch

    folder = Path(tempfile.mkdtemp(prefix="lore-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    question = load_prompt("vision").render()
    tokenizer = scratch.train_tokenizer([part for text in answers().items() for part in text] + [question, *CAPTIONS.values()], 700)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}  # vLLM has no attention heads of fewer than 32
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**sizes, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None),
        vision_config=transformers.CLIPVisionConfig(**sizes, image_size=28, patch_size=14, projection_dim=64),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), image_seq_length=4,
    )  # fmt: skip
    model = transformers.LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim >= 2:
                weight.normal_(0, weight[0].numel() ** -0.5)
    pictures = transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = transformers.LlavaProcessor(
        pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=tokenizer.chat_template,
    )  # fmt: skip
    asked, shown = ["<image>" + question] * len(CAPTIONS), [[plain(colour)] for colour in CAPTIONS]
    inputs = processor(text=asked, images=shown, add_special_tokens=False, return_tensors="pt")
    replies = [tokenizer(caption + scratch.END)["input_ids"] for caption in CAPTIONS.values()]
    _learn_by_heart(model, list(zip(inputs["input_ids"].tolist(), replies, strict=True)), pixel_values=inputs["pixel_values"])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    _name_as_published(folder / "model.safetensors")
    return folder


def _name_as_published(weights: Path) -> None:
    """Rename weights as published LLaVAs have them: vLLM reads no others, and transformers 5 writes shorter ones (and reads both)."""
    from safetensors.torch import load_file, save_file

    save_file({name.replace("vision_tower.", "vision_tower.vision_model."): weight for name, weight in load_file(weights).items()}, weights, metadata={"format": "pt"})


def plain(colour: str) -> Any:
    """A picture of one colour."""
    from PIL import Image

    return Image.new("RGB", (40, 30), colour)


def picture(path: Path, colour: str) -> Path:
    """The same as a PNG file."""
    plain(colour).save(path)
    return path
