"""Children under their guards: watched, named when they stop, and gone with whoever started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rig.waiting import until
from tests.demo.table import alive, descendants
from waitroom.demo import processes
from waitroom.demo.processes import Children, DemoError, free_port, require_port

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def _stopped_message(children: Children) -> str:
    def said() -> str:
        try:
            children.check()
        except DemoError as error:
            return str(error)
        return ""

    return until(said, "the end of a child", seconds=20)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo first; echo last >&2; echo; exit 3",
            "the demo's shop stopped by itself (exit code 3). Its last words: last",
        ),
        ("exit 0", "the demo's shop stopped by itself (exit code 0). Its last words: nothing"),
        ("kill -KILL $$", "the demo's shop stopped by itself (signal 9). Its last words: "),
    ],
)
def test_a_child_that_stops_is_named_with_its_last_words(tmp_path: Path, script: str, message: str) -> None:
    with Children(tmp_path) as children:
        children.start("nginx", SLEEP, environment=os.environ)
        children.check()
        children.start("shop", ["/bin/sh", "-c", script], environment=os.environ)
        assert _stopped_message(children).startswith(message)


def test_all_children_end_with_the_block_even_those_of_children(tmp_path: Path) -> None:
    others = descendants(os.getpid())  # servers that serve the whole run
    with Children(tmp_path) as children:
        children.start("one", SLEEP, environment=os.environ)
        children.start("two", ["/bin/sh", "-c", "sleep 60 & sleep 60; true"], environment=os.environ)
        until(lambda: len(descendants(os.getpid()) - others) >= 4, "all processes")
        family = descendants(os.getpid()) - others
    until(lambda: not alive(family), "the end of all", seconds=20)


def test_a_child_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 1)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('set', flush=True); time.sleep(60)"
    )
    others = descendants(os.getpid())
    with Children(tmp_path) as children:
        children.start("stubborn", [sys.executable, "-c", stubborn], environment=os.environ)
        until(lambda: "set" in (tmp_path / "stubborn.log").read_text(), "its word")
        family = descendants(os.getpid()) - others
    until(lambda: not alive(family), "the end of all", seconds=20)


def test_children_end_when_the_one_who_started_them_is_killed(tmp_path: Path) -> None:
    program = f"""
import os, pathlib, sys, time
from waitroom.demo.processes import Children
with Children(pathlib.Path({str(tmp_path)!r})) as children:
    for name in ("one", "two"):
        children.start(name, {SLEEP!r}, environment=os.environ)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        until(lambda: len(descendants(parent.pid)) >= 4, "all processes")
        family = descendants(parent.pid)
        parent.send_signal(signal.SIGKILL)
    until(lambda: not alive(family), "the end of all", seconds=20)


def test_a_port_in_use_is_said_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(DemoError, match=rf"^port {port} on 127\.0\.0\.1 is not free .*--port$"):
            require_port(port)


def test_a_port_that_does_not_exist_is_said_in_a_sentence() -> None:
    with pytest.raises(DemoError, match=r"^port 70000 does not exist: .*--port$"):
        require_port(70_000)


def test_a_free_port_can_be_listened_on() -> None:
    require_port(free_port())
