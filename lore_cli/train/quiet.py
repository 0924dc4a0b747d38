"""The libraries' own bars, notes and warnings are kept quiet: what a run has to say goes through our log, and standard output is for data."""

from __future__ import annotations

import sys
import warnings

import transformers


def hush() -> None:
    """Quiet in this process from here on."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if "datasets" in sys.modules:
        import datasets

        datasets.utils.logging.set_verbosity_error()
        datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|accelerate|peft)\b")
