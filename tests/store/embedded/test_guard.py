"""The server lives as long as its parent, and no longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rig.waiting import until
from tests.store.embedded.scene import client, group_of, living, members, process_id
from waitroom.store.embedded import guard
from waitroom.store.embedded.folder import running_url
from waitroom.store.embedded.server import EmbeddedServer

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
            until(lambda: not living(group), "the end of the group", seconds=15)
        finally:
            os.kill(int(bystander), signal.SIGKILL)


def test_a_server_that_outlives_its_parent_holds_the_folder(binary: Path, folder: Path) -> None:
    """Whatever numbers the parent's files have: until the server is gone no other one gets at the data."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder), str(binary)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        url, bystander = parent.stdout.readline().split()
        server, group = process_id(url), group_of(url)
        os.kill(server, signal.SIGSTOP)
        parent.kill()
        parent.wait()
        try:
            assert running_url(folder) == url
        finally:
            os.kill(server, signal.SIGCONT)
            os.kill(int(bystander), signal.SIGKILL)
        until(lambda: not living(group), "the end of the group", seconds=15)
        assert running_url(folder) is None


def test_interrupt_from_the_terminal_misses_the_server(binary: Path, folder: Path) -> None:
    """The server runs in a session of its own, which no terminal signals."""
    with EmbeddedServer(folder, binary=binary) as server:
        assert os.getsid(process_id(server.url)) != os.getsid(0)


def test_killed_server_is_noticed(binary: Path, folder: Path) -> None:
    """A server that dies is noticed; a stop leaves nothing of its group, and a new start on the folder works."""
    server = EmbeddedServer(folder, binary=binary)
    server.start()
    group = group_of(server.url)
    os.kill(process_id(server.url), signal.SIGKILL)
    until(lambda: not server.alive, "the end of the server", seconds=15)
    server.stop()
    until(lambda: not living(group), "the end of the group", seconds=15)
    assert not (folder / "redis.sock").exists()
    with server:
        assert server.alive


def test_term_to_the_whole_group_stops_it(binary: Path, folder: Path) -> None:
    """A service manager may signal every process at once; that too ends in order."""
    server = EmbeddedServer(folder, binary=binary)
    server.start()
    group = group_of(server.url)
    os.killpg(group, signal.SIGTERM)
    until(lambda: not server.alive, "the end of the server", seconds=15)
    server.stop()
    assert living(group) == []


def test_killed_watcher_harms_nobody(binary: Path, folder: Path) -> None:
    """The server goes on, and a stop still ends it in order."""
    server = EmbeddedServer(folder, binary=binary)
    server.start()
    group = group_of(server.url)
    (watcher,) = members(group) - {process_id(server.url)}
    os.kill(watcher, signal.SIGKILL)
    until(lambda: watcher not in members(group), "the end of the watcher")
    with client(server.url) as redis:
        redis.set("place", "1")
    server.stop()
    assert living(group) == []
    assert "User requested shutdown" in (folder / "redis.log").read_text()
    assert running_url(folder) is None


def test_frozen_server_is_stopped_by_force(binary: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not react to TERM is killed when its grace is over."""
    monkeypatch.setattr(guard, "STOP_SECONDS", 1)
    server = EmbeddedServer(folder, binary=binary)
    server.start()
    group = group_of(server.url)
    os.kill(process_id(server.url), signal.SIGSTOP)
    server.stop()
    assert living(group) == []
    assert not (folder / "redis.sock").exists()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_server_does_not_see_our_keys(binary: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """waitroom's settings, which hold its keys, are not passed on."""
    monkeypatch.setenv("WAITROOM_ADMIN_KEY", "an-admin-key")
    with EmbeddedServer(folder, binary=binary) as server:
        environment = Path(f"/proc/{process_id(server.url)}/environ").read_text()
    assert "an-admin-key" not in environment
