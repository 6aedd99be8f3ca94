"""The demo as a user starts it, end to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from rig.waiting import until
from tests.demo.table import Process, alive, command, descendants
from waitroom.demo.processes import free_port

pytestmark = pytest.mark.system

#: Programs that a running demo has: two instances, the store, nginx and its workers, the shop; each with a guard.
LEAST_PROCESSES = 12


class Demo:
    """A running `waitroom demo`; what it prints goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, *, output: Path) -> None:
        self.process = process
        self.url = url
        self._output = output

    def said(self) -> str:
        """All that it has printed so far."""
        return self._output.read_text()

    def until_it_says(self, text: str) -> None:
        """Wait for it to print that."""
        until(lambda: text in self.said() or self.process.poll() is not None, text)
        assert text in self.said()

    def family(self) -> set[Process]:
        """Every process that it has started."""
        return descendants(self.process.pid)

    def child(self, name: str, program: str) -> int:
        """The id of the process that runs this program beside the watcher of that name."""
        (watcher,) = (each for each in self.family() if f"guard:{name} " in command(each))
        found = psutil.Process(watcher[0]).parent()
        assert found is not None
        assert program in " ".join(found.cmdline())
        return int(found.pid)

    def end(self, number: signal.Signals) -> int:
        """Send it a signal; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def _demo(folder: Path, *options: str, port: int | None = None) -> Iterator[Demo]:
    port = port or free_port()
    output = folder / "output"
    temporary = folder / "tmp"
    temporary.mkdir()
    arguments = [sys.executable, "-m", "waitroom", "demo", "--port", str(port), *options]
    with output.open("wb") as file:
        process = subprocess.Popen(
            arguments, stdout=file, stderr=subprocess.STDOUT, env=os.environ | {"TMPDIR": str(temporary)}
        )
    family: set[Process] = set()
    try:
        yield Demo(process, f"http://127.0.0.1:{port}", output=output)
        family = descendants(process.pid)
    finally:
        process.kill()
        process.wait()
    until(lambda: not alive(family), "the end of all", seconds=20)


def test_a_visitor_gets_into_the_shop_and_sigterm_leaves_nothing(tmp_path: Path) -> None:
    with _demo(tmp_path, "--visitors", "30", "--capacity", "10") as demo:
        demo.until_it_says("The demo shop: http://127.0.0.1:")
        demo.until_it_says("inside: 10/10")
        _visit(demo.url)
        demo.until_it_says("crowd errors: 0")
        assert "crowd errors: 1" not in demo.said()
        family = demo.family()
        assert len(family) >= LEAST_PROCESSES
        assert demo.end(signal.SIGTERM) == 0
        assert {command(process) for process in alive(family)} == set()
        assert list((tmp_path / "tmp").iterdir()) == []


def _visit(url: str) -> None:
    page = {"Accept": "text/html"}
    with httpx.Client(base_url=url, trust_env=False, timeout=10) as visitor:
        first = visitor.get("/products/mug", headers=page)
        assert first.headers["Location"] == "/wait/shop?return=/products/mug"
        assert "X-Origin" not in first.headers
        assert visitor.get(first.headers["Location"], headers=page).status_code == 200
        document = visitor.post("/v1/rooms/shop/enter").json()
        deadline = time.monotonic() + 90
        while document["state"] == "waiting":
            assert time.monotonic() < deadline
            time.sleep(document["poll_after_seconds"])
            document = visitor.get("/v1/rooms/shop/status").json()
        inside = visitor.get("/products/mug", headers=page)
        assert inside.status_code == 200
        assert inside.headers["X-Origin"] == "demo"
        assert visitor.post("/v1/rooms/shop/leave").status_code == 204
        assert visitor.get("/products/mug", headers=page).status_code == 303


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with _demo(tmp_path) as demo:
        demo.until_it_says("Starting")
        until(lambda: len(demo.family()) >= 4, "the demo's processes")
        family = demo.family()
        assert demo.end(number) == 0
        assert {command(process) for process in alive(family)} == set()
        assert list((tmp_path / "tmp").iterdir()) == []


def test_sigkill_leaves_no_process(tmp_path: Path) -> None:
    with _demo(tmp_path, "--visitors", "1") as demo:
        demo.until_it_says("waiting: ")
        family = demo.family()
        assert len(family) >= LEAST_PROCESSES
        demo.end(signal.SIGKILL)
        until(lambda: not alive(family), "the end of all", seconds=20)


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("shop", "waitroom.demo.shop"),
        ("nginx", "nginx: master"),
        ("waitroom-1", "waitroom serve"),
        ("embedded", "redis.sock"),
    ],
)
def test_a_child_that_dies_is_named_and_ends_the_demo(tmp_path: Path, name: str, program: str) -> None:
    with _demo(tmp_path, "--visitors", "1") as demo:
        demo.until_it_says("waiting: ")
        family = demo.family()
        os.kill(demo.child(name, program), signal.SIGKILL)
        assert demo.process.wait(30) == 1
        assert f"the demo's {name}" in demo.said()
        assert "stopped by itself" in demo.said()
        assert "Traceback" not in demo.said()
        assert {command(process) for process in alive(family)} == set()


def test_a_port_in_use_gives_a_sentence_and_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with _demo(tmp_path, port=port) as demo:
            assert demo.process.wait(30) == 1
            assert f"port {port} on 127.0.0.1 is not free" in demo.said().replace("\n", " ")
            assert "Traceback" not in demo.said()


def test_with_a_data_folder_the_logs_stay(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with _demo(tmp_path, "--data-dir", str(kept), "--visitors", "1", "--seconds", "5") as demo:
        assert demo.process.wait(30) == 0
    assert {path.name for path in (kept / "logs").iterdir()} == {
        "waitroom-1.log",
        "waitroom-2.log",
        "shop.log",
        "nginx.log",
    }
