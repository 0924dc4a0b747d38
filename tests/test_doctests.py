"""Every example in a docstring of the package is run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import lore_cli

MODULES = sorted(module.name for module in pkgutil.walk_packages(lore_cli.__path__, "lore_cli."))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").startswith("lore_cli"):
            raise
        pytest.skip(f"needs the package '{error.name}'")
    assert doctest.testmod(module).failed == 0


def test_the_package_has_examples_to_run():
    finder = doctest.DocTestFinder()
    found = [test for name in ("lore_cli.rair.metrics", "lore_cli.train.rewards", "lore_cli.train.losses") for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) > 5
