"""How a command ends when Python itself drops a Ctrl-C: it comes again, and other losses are told as they were."""

import errno
import gc
import os
import signal
import sys
import time

import click
import pytest

from lore_cli.commands import ending


class Collected:
    """Calls `act` in the place where Python drops every exception."""

    def __init__(self, act):
        self.act = act

    def __del__(self):
        self.act()


def lost_in_del(act):
    Collected(act)


def lost_in_a_collection(act):
    def callback(phase, info):
        gc.callbacks.remove(callback)
        act()

    gc.callbacks.append(callback)
    gc.collect()


def run(work):
    """The exit code of a command that does `work` and then goes on for ten seconds, and how long it took."""

    @click.command()
    def command():
        work()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.001)

    started = time.monotonic()
    return ending.run(command, "lore-toy", []), time.monotonic() - started


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def number(request):
    """A signal as a command takes it: SIGTERM comes to background jobs of a shell, which ignore SIGINT."""
    on = {signal.SIGINT: signal.default_int_handler if request.param == signal.SIGINT else signal.SIG_IGN, signal.SIGTERM: ending._terminate}
    kept = {one: signal.signal(one, handler) for one, handler in on.items()}
    yield request.param
    for one, handler in kept.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("lost", [lost_in_del, lost_in_a_collection])
def test_an_interruption_that_python_drops_comes_again(lost, number, capsys):
    hook = sys.unraisablehook
    code, seconds = run(lambda: lost(lambda: os.kill(os.getpid(), number)))
    assert code == 130 and seconds < 5 and sys.unraisablehook is hook
    said = capsys.readouterr().err
    assert said.startswith("lore-toy: interrupted") and said.count("\n") == 1


def test_what_else_python_drops_is_told_as_before_and_the_work_goes_on(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_type))

    @click.command()
    def command():
        lost_in_del(lambda: 1 / 0)

    assert ending.run(command, "lore-toy", []) == 0 and told == [ZeroDivisionError]


def test_an_error_in_the_clean_up_of_an_interruption_is_an_interruption_and_another_is_not(capsys):
    @click.command()
    @click.option("--ctrl-c", is_flag=True)
    def command(ctrl_c):
        try:
            if ctrl_c:
                raise KeyboardInterrupt
        finally:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    assert ending.run(command, "lore-toy", ["--ctrl-c"]) == 130 and capsys.readouterr().err.startswith("lore-toy: interrupted")
    assert ending.run(command, "lore-toy", []) == 4 and "Bad file descriptor" in capsys.readouterr().err
