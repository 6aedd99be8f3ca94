"""The real servers that are measured, each pinned to a core: Valkey, instances, bare uvicorn, nginx.

The server under test has the first core for itself; Redis, nginx, origins and wrk share the second.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from redis import Redis

from benchmarks import accounting
from waitroom.demo.nginx import Site, nginx_binary, nginx_command, write_configuration
from waitroom.demo.processes import free_port
from waitroom.proofs import keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice
from waitroom.serve.worker import SETTINGS_VARIABLE
from waitroom.settings.server import ServerSettings
from waitroom.store.embedded.server import EmbeddedServer

ROOT: Final = Path(__file__).parent.parent

#: Which core a server under test runs on, and which everything else does.
SERVER_CORE, OTHER_CORE = 0, 1

#: The signing key that every measured instance has, so that benchmarks can make tickets and passes of their own.
SIGNING_KEY: Final = "k1:0123456789abcdefghijklmnopqrstuvwxyzABCDEF"
ADMIN_KEY: Final = "an-admin-key-made-up-for-the-benchmarks-0123456789"

#: Seconds that a server may take until it answers, and until it has stopped.
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0

#: An origin that costs next to nothing, so that what it takes to get there stands out.
_ORIGIN: Final = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path client_body_temp;
    proxy_temp_path proxy_temp;
    fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp;
    scgi_temp_path scgi_temp;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type application/json; return 200 '{{"origin":true}}'; }}
    }}
}}
"""


class BenchmarkError(Exception):
    """A benchmark cannot run, or a server did not start; the message says which and what to do."""


class Listener(Protocol):
    """Whatever listens on a port of this machine."""

    @property
    def port(self) -> int:
        """Where."""
        ...


@dataclass(frozen=True)
class Server:
    """A running program: its name in tables, the port that it listens on, and its process."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process, or the one that its workers are children of."""
        return self.process.pid

    def cpu_seconds(self) -> float:
        """CPU time taken so far, children included."""
        return accounting.cpu_seconds(self.pid)


@dataclass(frozen=True)
class RedisServer:
    """The running Redis or Valkey."""

    url: str
    pid: int
    version: str
    client: Redis = field(repr=False)
    name: str = "redis"

    def cpu_seconds(self) -> float:
        """CPU time taken so far by the server itself, without a child that rewrites the append-only file."""
        cpu = self.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])

    def info(self, section: str) -> dict[str, Any]:
        """One section of INFO."""
        found: dict[str, Any] = self.client.info(section)
        return found

    def settle(self) -> None:
        """Rewrite the append-only file now and wait for it, so that no rewrite falls into a measurement."""
        self.client.bgrewriteaof()
        _until(self._has_settled, "the rewrite of the append-only file", seconds=120)

    def _has_settled(self) -> bool:
        state = self.info("persistence")
        return not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]


def ticket_office() -> TicketOffice:
    """Makes tickets that the measured instances take for their own."""
    return TicketOffice(keyring.parse([SIGNING_KEY]))


def pass_office() -> PassOffice:
    """Makes passes that the measured instances take for their own."""
    return PassOffice(keyring.parse([SIGNING_KEY]))


def core(number: int) -> int:
    """The machine's number for our first, second … core; a single core serves for all."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[number % len(cores)]


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Run this process itself on one core. Servers have to be started before."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core(number)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def require(*programs: str) -> None:
    """Raise BenchmarkError that names the first of these programs that is missing, and where it comes from."""
    packages = {"wrk": "wrk", "taskset": "util-linux"}
    for program in programs:
        if shutil.which(program) is None:
            package = packages.get(program, program)
            raise BenchmarkError(
                f"this benchmark needs {program}, which is not on PATH (Debian: apt-get install {package})"
            )


def allow_many_files() -> None:
    """Lift the soft limit on open files, for thousands of connections here and in every child."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def redis(folder: Path, *, at_core: int = OTHER_CORE, binary: Path | None = None) -> Iterator[RedisServer]:
    """The embedded server as it is in operation, append-only file and all; that is rewritten by `settle` alone."""
    with EmbeddedServer(folder / "redis", binary=binary) as embedded:
        client = Redis.from_url(embedded.url, decode_responses=True)
        try:
            client.config_set("auto-aof-rewrite-percentage", 0)
            info: dict[str, Any] = client.info("server")
            pid = int(info["process_id"])
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {core(at_core)})
            version = info.get("valkey_version") or info["redis_version"]
            name = info.get("server_name", "redis").capitalize()
            yield RedisServer(embedded.url, pid, f"{name} {version}", client)
        finally:
            client.close()


@contextmanager
def instance(
    redis_url: str,
    folder: Path,
    *,
    at_core: int = SERVER_CORE,
    name: str = "waitroom",
    command: Sequence[str] = (),
    **settings: object,
) -> Iterator[Server]:
    """A waitroom instance, ready. `settings` are server settings; `command` replaces `waitroom serve`.

    `command` finds the settings where `waitroom serve` leaves them for its workers; {port} in it is filled in.
    """
    port = free_port()
    given: dict[str, Any] = {
        "redis_url": redis_url,
        "signing_keys": [SIGNING_KEY],
        "admin_key": ADMIN_KEY,
        "port": port,
    }
    given |= {
        "data_dir": str(folder / f"{name}-{port}"),
        "redis_timeout_seconds": 5,
        "log_level": "warning",
        **settings,
    }
    with started(
        name,
        [word.format(port=port) for word in command or (sys.executable, "-m", "waitroom", "serve")],
        port=port,
        at_core=at_core,
        environment={SETTINGS_VARIABLE: ServerSettings(**given).model_dump_json()} if command else environment(given),
        path="/readyz",
    ) as server:
        yield server


@contextmanager
def bare(*, at_core: int = SERVER_CORE, name: str = "bare uvicorn", command: Sequence[str] = ()) -> Iterator[Server]:
    """The yardstick: uvicorn with a constant answer. `command` replaces it, with {port} filled in."""
    port = free_port()
    options = ("--port", "{port}", "--no-access-log", "--log-level", "warning", "--backlog", "4096")
    command = command or (sys.executable, "-m", "uvicorn", "benchmarks.bare:app", *options)
    command = [word.format(port=port) for word in command]
    with started(name, command, port=port, at_core=at_core) as server:
        yield server


@contextmanager
def nginx(folder: Path, *, instances: Sequence[Listener], origin: Server, room: str) -> Iterator[Server]:
    """nginx with the shipped configuration before these instances and that origin; this address has no limits."""
    port = free_port()
    site = Site(port=port, room=room, instances=tuple(each.port for each in instances), origin=origin.port)
    main = write_configuration(folder / f"nginx-{port}", site)
    (main.parent / "waitroom-trusted.conf").write_text("127.0.0.0/8  trusted;\n", encoding="ascii")
    command = nginx_command(main, binary=nginx_binary())
    with started("nginx", command, port=port, at_core=OTHER_CORE, path=f"/v1/rooms/{room}") as server:
        yield server


@contextmanager
def origin(folder: Path) -> Iterator[Server]:
    """Another nginx with a constant answer."""
    port = free_port()
    own = folder / f"origin-{port}"
    own.mkdir(parents=True)
    main = own / "nginx.conf"
    main.write_text(_ORIGIN.format(port=port, user="user root;" if os.geteuid() == 0 else ""), encoding="ascii")
    command = nginx_command(main, binary=nginx_binary())
    with started("origin", command, port=port, at_core=OTHER_CORE) as server:
        yield server


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Server settings as `waitroom serve` reads them."""
    return {
        f"WAITROOM_{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
        for name, value in settings.items()
    }


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    *,
    port: int,
    at_core: int,
    environment: Mapping[str, str] | None = None,
    path: str = "/",
) -> Iterator[Server]:
    """A program pinned to a core, from when it answers `path` with 200 until the end of the block."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WAITROOM_")}
    pinned = ["taskset", "-c", str(core(at_core)), *command]
    with subprocess.Popen(
        pinned, env={**inherited, **(environment or {})}, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        server = Server(name, port, process)
        try:
            _until(lambda: _answers(server, path), f"{name} on port {port}")
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(server: Server, path: str) -> bool:
    if server.process.poll() is not None:
        raise BenchmarkError(f"{server.name} stopped at its start: {server.process.args!r}")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _until(condition: Callable[[], bool], what: str, *, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what}: not there after {seconds:g} s")
        time.sleep(0.05)
