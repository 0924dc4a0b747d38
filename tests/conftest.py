"""What every test runs under: property tests draw the same cases each time, so CI's verdict depends on the code alone.

`HYPOTHESIS_PROFILE=search` draws new cases, and more of them: for hunting, not for CI.
"""

import os
import signal

import pytest
from hypothesis import settings

settings.register_profile("ci", max_examples=200, derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def toy_size():
    """Models from scratch are of toy size."""
    import training_toys as toys

    with toys.at_toy_size():
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard():
    """A background job of a shell ignores SIGINT, and so would every process that the tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def toy_traces(tmp_path_factory):
    """A file of the toy shop's traces."""
    import training_toys as toys

    return toys.write(tmp_path_factory.mktemp("toys") / "traces.jsonl", toys.traces())


@pytest.fixture
def ctrl_c_at(monkeypatch):
    """Ctrl-C while a certain step is computed."""
    from lore_cli.train import common

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell starts with SIGINT ignored
    real = common.Watch.on_step_end

    def interrupt_at(step: int, times: int = 1) -> None:
        def on_step_end(self, args, state, control, **rest):
            real(self, args, state, control, **rest)
            if state.global_step == step:
                for _ in range(times):
                    os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(common.Watch, "on_step_end", on_step_end)

    yield interrupt_at
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def float32(monkeypatch):
    """A processor without bfloat16 units, whose scores can be held to many digits."""
    from lore_cli.models import hf

    monkeypatch.setattr(hf, "bfloat16_units", lambda: False)
