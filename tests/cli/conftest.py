"""A running server for the commands that act on one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rig.instance import IN_BACKGROUND, Instance


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A running server with one room from its file."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "waitroom.toml").write_text('log_level = "info"\n[rooms.shop]\ncapacity = 3\nmessage = "Hello."\n')
    with Instance(folder, "--config", "waitroom.toml", prefix=IN_BACKGROUND) as running:
        yield running
