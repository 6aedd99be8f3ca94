"""What the server's log is asked for, and its size."""

from __future__ import annotations

from pathlib import Path

import pytest

from waitroom.errors import EmbeddedError
from waitroom.store.embedded import log
from waitroom.store.embedded.folder import running_url
from waitroom.store.embedded.server import EmbeddedServer


def test_large_log_is_begun_anew(binary: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LOG_BYTES", 1000)
    folder.mkdir()
    (folder / "redis.log").write_text("x" * 1001)
    with EmbeddedServer(folder, binary=binary):
        assert "x" * 1001 not in (folder / "redis.log").read_text()


def test_unreadable_data_are_reported(binary: Path, folder: Path) -> None:
    """A server that stops at its start is quoted with its last line, and nothing is left."""
    (folder / "appendonlydir").mkdir(parents=True)
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(EmbeddedError, match=r"stopped at its start: .*manifest.*redis\.log") as raised:
        EmbeddedServer(folder, binary=binary).start()
    assert "\n" not in str(raised.value)
    assert running_url(folder) is None


def test_data_of_a_newer_server_are_reported(binary: Path, folder: Path) -> None:
    """The message says that the server is older than the data, instead of quoting a format number."""
    with EmbeddedServer(folder, binary=binary):
        pass
    (base,) = (folder / "appendonlydir").glob("*.base.rdb")
    base.write_bytes(base.read_bytes()[:5] + b"0079" + base.read_bytes()[9:])
    with pytest.raises(EmbeddedError, match="a newer server wrote its data"):
        EmbeddedServer(folder, binary=binary).start()
