"""A pytest plugin for mutmut, which asks for tests by their ids: pytest finds none by an id with a backslash in it.

It also leaves one engine: whether a test notices a fault in Python does not hang on the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Number the cases of every test, and keep one engine of all."""
    parametrize = metafunc.parametrize

    def numbered(argnames: Any, argvalues: Iterable[Any], **more: Any) -> None:
        cases = list(argvalues)
        if argnames == "engine":
            parametrize(argnames, ["valkey"], **more | {"ids": ["valkey"]})
        else:
            parametrize(argnames, cases, **more | {"ids": [str(number) for number in range(len(cases))]})

    metafunc.parametrize = numbered  # type: ignore[method-assign]
