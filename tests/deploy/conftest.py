"""Fixtures: both versions of nginx, and worlds around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rig import nginx
from tests.deploy.image import Image, built
from tests.deploy.worlds import Builder, World


@pytest.fixture(params=nginx.BINARIES)
def binary(request: pytest.FixtureRequest) -> Path:
    """An nginx."""
    return nginx.binary(request.param)


@pytest.fixture
def build(binary: Path, tmp_path: Path) -> Iterator[Builder]:
    """Builds a world on an nginx."""
    with ExitStack() as stack:
        yield Builder(binary, tmp_path, stack)


@pytest.fixture
def world(build: Builder) -> World:
    """The example as it stands."""
    return build()


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """What the Dockerfile makes, without a container engine; one for the whole run."""
    with built() as made:
        yield made
