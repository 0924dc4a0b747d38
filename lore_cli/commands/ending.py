"""How a command ends: errors become one message and an exit code, a closed pipe is success, an interruption is told as one and never lost."""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import click
import orjson

from lore_cli import errors

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_INTERRUPTED = "interrupted; nothing half-written was published (--resume continues where the command offers it)"
_AGAIN_S = 0.02  # after so many seconds a lost Ctrl-C comes again, from outside the callback that lost it


def entry(command: click.Command, name: str) -> Callable[[], None]:
    """The console script of a command."""

    def main() -> None:
        signal.signal(signal.SIGTERM, _terminate)
        sys.exit(run(command, name))

    return main


def _terminate(*_: Any) -> NoReturn:
    raise KeyboardInterrupt  # not by SIGINT, which a shell's background jobs ignore


def run(command: click.Command, name: str, arguments: list[str] | None = None) -> int:
    """Run a command on arguments (the process's own by default); returns its exit code."""
    state: dict[str, Any] = {}
    with _heard():
        code, message = _outcome(command, name, arguments, state)
    if message:
        _say(name, message, code, bool(state.get("json")))
    _let_go()
    return code


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Inside, a Ctrl-C or SIGTERM that Python drops, because it came in a `__del__` or a callback of the garbage collector, comes again."""
    before, over = sys.unraisablehook, threading.Event()

    def hook(lost: Any) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            threading.Thread(target=again, daemon=True).start()
        else:
            before(lost)

    def again() -> None:
        number = signal.SIGINT if callable(signal.getsignal(signal.SIGINT)) else signal.SIGTERM  # a background job of a shell ignores the former
        if not over.wait(_AGAIN_S):
            _thread.interrupt_main(number)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        over.set()
        sys.unraisablehook = before


def _outcome(command: click.Command, name: str, arguments: list[str] | None, state: dict[str, Any]) -> tuple[int, str]:
    """The exit code, and what is to be said."""
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        with command.make_context(name, given, obj=state) as context:  # not main(): it turns a closed pipe into exit 1
            result = command.invoke(context)
        if sys.stdout is not None:
            sys.stdout.flush()
        return (result if isinstance(result, int) else errors.EXIT_DONE), ""
    except click.exceptions.Exit as ended:  # --help, --version
        return ended.exit_code, ""
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code, ""
    except click.ClickException as error:
        return error.exit_code, _usage(error)
    except errors.LoreError as error:
        return error.exit_code, str(error)
    except (KeyboardInterrupt, click.Abort):
        return errors.EXIT_INTERRUPTED, _INTERRUPTED
    except BrokenPipeError:
        return errors.EXIT_DONE, ""
    except MemoryError:
        return errors.EXIT_MISSING, "out of memory; nothing half-written was published\n  next: see the command's help for what it keeps in memory, or pass --limit"
    except OSError as error:  # the machine's, not the program's: a full disk, a path that cannot be written
        if _of_interruption(error):
            return errors.EXIT_INTERRUPTED, _INTERRUPTED
        hint = "free some space; --resume continues where the command offers it" if error.errno in _FULL else "check the path and its permissions"
        return errors.EXIT_MISSING, f"{error.filename or 'output'}: {error.strerror or error}; nothing half-written was published\n  next: {hint}"


def _of_interruption(error: BaseException | None) -> bool:
    """Whether an error came while a Ctrl-C was cleaned up after: `shutil.rmtree`, interrupted in `os.close`, closes a second time and fails."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f"\n  next: see {context.command_path} --help" if context is not None else ""
    return f"{error.format_message()}{hint}"


def _say(name: str, message: str, code: int, json: bool) -> None:
    if sys.stderr is None:
        return
    if json:
        text = orjson.dumps({"command": name, "error": message, "exit": code}).decode()
    else:
        text = f"{name}: {message}"
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _let_go() -> None:
    """After a closed pipe or a full disk the interpreter's last flush of standard output must not fail too."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
