"""A pytest plugin for mutmut, which asks for tests by their ids: pytest finds none by an id with a backslash in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Number the cases of every test; the engines keep their names."""
    parametrize = metafunc.parametrize

    def numbered(argnames: Any, argvalues: Iterable[Any], **more: Any) -> None:
        cases = list(argvalues)
        if argnames != "engine":
            more["ids"] = [str(number) for number in range(len(cases))]
        parametrize(argnames, cases, **more)

    metafunc.parametrize = numbered  # type: ignore[method-assign]
