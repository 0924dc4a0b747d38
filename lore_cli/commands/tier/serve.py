"""lore-tier serve: the deployed system over HTTP."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
from pathlib import Path

import click

from lore_cli.commands.common import Run, refuse_secret, run_options
from lore_cli.commands.sections import Command
from lore_cli.commands.tier.shared import Deployed, plan_options
from lore_cli.errors import EXIT_DONE, Missing, UsageError, require

_SHORTEST_TOKEN = 16


@click.command(cls=Command)
@run_options("tier serve")
@plan_options
@click.option("--cache", metavar="DIR", help="Cache folder, in place of the plan's.")
@click.option("--student", metavar="URI", help="Student, in place of the plan's.")
@click.option("--tail", metavar="URI", help="Model, in place of the plan's.")
@click.option("--deadline", "deadline_s", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), default=2.0, help="Wait so long for the model where a request's x-deadline-ms says nothing else.")
@click.option("--host", default="127.0.0.1", help="Address to listen on; any that is not this machine's own needs --token-file.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, help="Port; 0 takes a free one, which is told.")
@click.option("--token-file", metavar="FILE", help="File with the token that requests must bring: Authorization: Bearer TOKEN.")
@click.option("--queue", type=click.IntRange(1), default=256, help="Pairs that may wait for student and model together; with more, requests get 503.")
@click.option("--max-items", type=click.IntRange(1), default=100, help="Most items of a request.")
@click.option("--max-bytes", type=click.IntRange(1), default=1 << 20, help="Largest body of a request.")
@click.option("--patience", "patience_s", metavar="SECONDS", type=click.FloatRange(min=0.1), default=10.0, help="In which a request's head, and then its body, must have come.")
@click.option("--access-log", is_flag=True, help="One JSON line per request on standard error; queries are not in it.")
def cli(
    judging: Deployed, run: Run, plan_path: str, cache: str | None, student: str | None, tail: str | None, deadline_s: float, host: str, port: int, token_file: str | None,
    queue: int, max_items: int, max_bytes: int, patience_s: float, access_log: bool,
) -> int:  # fmt: skip
    """Answer by HTTP: POST /v1/judge with a query and its items; /openapi.json, /healthz, /metrics.

    \b
    {"query": "navy sofa", "items": [{"id": "1", "title": "Sofa, dark blue"}]}
      → {"query": …, "verdicts": [{"item_id": "1", "grade": "L4", "tier": "head", "answered_by": "cache", "age_s": 3600, …}], "took_ms": 0.2}

    One verdict for each item, in order; what is malformed has an `error` in its place. A new cache generation and a new PLAN are taken up within a second,
    without a request lost; SIGHUP opens plan and models anew. What cannot be opened is told, and what was served is served on. Overload is answered by
    503 with Retry-After, at once. SIGTERM: requests in flight are answered, then exit 0.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --student rulebook: -o /tmp/plan.json --force --quiet
      $ lore-tier refresh --plan /tmp/plan.json --pairs examples/pairs.jsonl --judge rulebook: --cache /tmp/cache --quiet
      $ timeout 3 lore-tier serve --plan /tmp/plan.json --port 0 || true  # for good without timeout
    """
    for uri in (student, tail):
        refuse_secret(uri)
    token = _token(token_file)
    if token is None and not _is_loopback(host):
        raise UsageError(f"--host {host} is open to others, and there is no --token-file", hint="put a long random token into a file: openssl rand -hex 32 > token")
    for package in ("uvicorn", "httptools", "starlette", "prometheus_client"):
        require(package, "serve")
    from lore_cli.judges.tiered import Live
    from lore_cli.tier.serve import app, metrics, server, service

    deployed = dataclasses.replace(judging, live=Live(deadline_s), named={"cache": cache, "student": student, "tail": tail})
    counters = metrics.Metrics()
    serving = service.Service(plan_path, deployed.open, counters, run.log, queue)
    listening = server.listen(host, port)
    port = listening.getsockname()[1]
    made = app.make_app(serving, counters, app.Limits(max_bytes, max_items, patience_s), token, access_log)
    started = functools.partial(run.log.say, f"listening on http://{host}:{port}, plan {serving.system.plan_hash}", port=port)
    server.run(made, listening, server.Patience(patience_s), server.Hooks(started, serving.stop, serving.reload, counters.refused))
    run.log.say("stopped; every request taken was answered")
    return EXIT_DONE


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(path: str | None) -> str | None:
    """The token in a file. Raises `Missing` and `UsageError`; never repeats it."""
    if path is None:
        return None
    try:
        token = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Missing(f"{path}: {getattr(error, 'strerror', None) or 'is no text'}", hint="check --token-file") from error
    if len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(f"{path} holds no token: {_SHORTEST_TOKEN} or more letters, digits and signs are needed", hint="openssl rand -hex 32 > token")
    return token
