"""The embedded server: its data, its settings, its files, its start and end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rig.waiting import until
from tests.store.embedded.scene import client, group_of, living, script
from waitroom.errors import EmbeddedError
from waitroom.store.embedded import server
from waitroom.store.embedded.folder import running_url
from waitroom.store.embedded.server import EmbeddedServer


def test_data_survive_a_restart(binary: Path, folder: Path) -> None:
    """The queue is where it was when the server starts again on its folder."""
    with EmbeddedServer(folder, binary=binary) as server, client(server.url) as redis:
        redis.set("place", "1")
    with EmbeddedServer(folder, binary=binary) as server, client(server.url) as redis:
        assert redis.get("place") == "1"


def test_stop_leaves_nothing(binary: Path, folder: Path) -> None:
    """After stop no process, no socket and no lock is left, and stopping again does nothing."""
    server = EmbeddedServer(folder, binary=binary)
    server.start()
    until(lambda: server.alive, "a server that lives")
    assert running_url(folder) == server.url
    group = group_of(server.url)
    server.stop()
    server.stop()
    assert not server.alive
    assert living(group) == []
    assert not (folder / "redis.sock").exists()
    assert running_url(folder) is None
    with EmbeddedServer(folder, binary=binary):
        pass


def test_settings_fit_a_queue(binary: Path, folder: Path) -> None:
    """It persists, evicts nothing and listens on the private socket only."""
    with EmbeddedServer(folder, binary=binary) as server, client(server.url) as redis:
        settings = redis.config_get("*")
        port = redis.info("server")["tcp_port"]
    wanted = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-use-rdb-preamble": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "unixsocketperm": "700",
        "protected-mode": "yes",
        "enable-debug-command": "no",
    }
    assert {name: settings[name] for name in wanted} == wanted
    assert port == 0


def test_files_are_private(binary: Path, folder: Path) -> None:
    """Nobody else may read the folder or anything in it."""
    with EmbeddedServer(folder, binary=binary):
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert len(modes) > 4
    assert [path for path, mode in modes.items() if mode & 0o077] == []


@pytest.mark.parametrize("name", ["with space", "pröcent%41", "a#b?c@d", "quo'te\"s", "$HOME;`id`"])
def test_odd_folder_names(binary: Path, tmp_path: Path, name: str) -> None:
    """Neither the shell, the server nor the URL stumbles over what a folder may be called."""
    with EmbeddedServer(tmp_path / name, binary=binary) as server, client(server.url) as redis:
        assert redis.ping()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_path_too_long_for_a_socket(binary: Path, tmp_path: Path) -> None:
    """The socket moves to a private folder, which goes with the server; the data stay."""
    folder = tmp_path / ("x" * 60) / ("y" * 60)
    with EmbeddedServer(folder, binary=binary) as server, client(server.url) as redis:
        redis.set("place", "1")
        place = Path(server.url.removeprefix("unix://"))
        assert len(os.fsencode(place)) < 100
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert not place.parent.exists()
    assert (folder / "appendonlydir").is_dir()


def test_second_start_of_one_server_is_refused(binary: Path, folder: Path) -> None:
    with EmbeddedServer(folder, binary=binary) as server:
        with pytest.raises(EmbeddedError, match="started already"):
            server.start()
        assert server.alive


def test_silent_server_is_given_up(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What never answers is stopped when its time is over."""
    monkeypatch.setattr(server, "START_SECONDS", 0.2)
    mute = script(tmp_path / "bin" / "redis-server", "exec sleep 60")
    with pytest.raises(EmbeddedError, match="did not answer within"):
        EmbeddedServer(folder, binary=mute).start()
    assert running_url(folder) is None


def test_missing_binary_is_reported(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"stopped at its start: .*not found"):
        EmbeddedServer(folder, binary=tmp_path / "nowhere").start()


@pytest.mark.parametrize("below", ["", "/data"])
def test_unusable_folder_is_named(binary: Path, tmp_path: Path, below: str) -> None:
    """A file where the folder should be, or above it, is one sentence with the folder in it."""
    (tmp_path / "file").touch()
    folder = Path(f"{tmp_path}/file{below}")
    with pytest.raises(EmbeddedError, match="cannot use the data folder") as raised:
        EmbeddedServer(folder, binary=binary).start()
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)
