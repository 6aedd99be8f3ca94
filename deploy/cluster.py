"""The topology of compose.yaml as plain processes on one Linux machine: no container engine is needed.

A Valkey or Redis, waitroom instances at 127.0.1.1, 127.0.1.2 ... (one port, as in containers), the demo's shop as the
origin, nginx with compose/nginx.conf, and a name server that answers the name `waitroom` with the instances that run,
as an engine's does: from before an instance listens until after it has ended. `make cluster INSTANCES=4` runs it.
"""

from __future__ import annotations

import contextlib
import grp
import http.client
import os
import pwd
import re
import secrets
import select
import shutil
import signal
import socket
import socketserver
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final, NoReturn, Self

import typer
from dnslib import QTYPE, RCODE, RR, A, DNSError, DNSRecord

from rig.instance import Instance
from waitroom.demo.nginx import configuration_folder, nginx_binary, nginx_command
from waitroom.demo.processes import Children, free_port, require_port
from waitroom.errors import WaitroomError
from waitroom.store.embedded.server import EmbeddedServer

HERE: Final = Path(__file__).parent

#: More would not fit into one answer of the name server.
MOST_INSTANCES: Final = 20

#: Seconds that a process may take until it answers, and an instance to end before it is killed.
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0

#: Seconds between two looks at the processes.
_LOOK_SECONDS: Final = 0.05

#: What the containers are given too.
_NGINX: Final = HERE / "compose" / "nginx.conf"
_SETTINGS: Final = HERE / "compose" / "waitroom.toml"

#: The lines of `_NGINX` by which nginx finds the instances.
_BY_NAME: Final = re.compile(r"server waitroom:8000 resolve (.*;)")


class ClusterError(WaitroomError):
    """The cluster cannot start or scale, or one of its processes stopped; the message says which and why."""


class Names:
    """A name server on a loopback port (UDP): answers A questions from a table of names, which may change.

    A name that is not in the table, or has no address, does not exist.
    """

    def __init__(self, table: Callable[[str], Sequence[str]]) -> None:
        """`table`: the addresses of a name now. Called in another thread."""

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                datagram, link = self.request
                with contextlib.suppress(DNSError):
                    link.sendto(_answer(datagram, table), self.client_address)

        self._server = socketserver.UDPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": _LOOK_SECONDS})

    @property
    def address(self) -> str:
        """Where it listens, as host:port."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _answer(datagram: bytes, table: Callable[[str], Sequence[str]]) -> bytes:
    question = DNSRecord.parse(datagram)
    reply = question.reply()
    addresses = table(str(question.q.qname).rstrip("."))
    if not addresses:
        reply.header.rcode = RCODE.NXDOMAIN
    elif question.q.qtype == QTYPE.A:
        for address in addresses:
            reply.add_answer(RR(question.q.qname, QTYPE.A, rdata=A(address), ttl=1))
    packed: bytes = reply.pack()
    return packed


class Cluster:
    """Everything that compose.yaml starts, as a context manager; nothing outlives it, however it ends.

    `instances` are those that run, in order; `exit_codes` those of the instances that were stopped.
    """

    def __init__(
        self,
        folder: Path,
        *,
        instances: int,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        by_name: bool = True,
        named_while_leaving: bool = True,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`folder`: data, logs and configuration; `port`: nginx's on loopback, None for a free one.

        `settings`: the instances' environment (`WAITROOM_...`) over compose/waitroom.toml. `by_name`: nginx finds the
        instances by their common name; else by a `server` line for each that there is at the start.
        `named_while_leaving`: the name stands for an instance until it has ended, as in Docker; else until it is told
        to end, as in Kubernetes. `say` is told what happens, in sentences. Raises ClusterError for too many instances.
        """
        self.folder = folder
        self.port = port or free_port()
        self.redis_url = ""
        self.admin_key = secrets.token_urlsafe(32)
        self.instances: list[Instance] = []
        self.exit_codes: list[int] = []
        self._first = _checked(instances)
        self._instance_port = _common_port()
        self._signing_key = secrets.token_urlsafe(32)
        self._settings = dict(settings or {})
        self._by_name = by_name
        self._named_while_leaving = named_while_leaving
        self._leaving: set[Instance] = set()
        self._say = say
        self._children: Children | None = None
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """Where visitors come."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def scale(self, number: int) -> None:
        """Start or stop instances until so many run, the last ones stopped first; returns when it is done.

        Raises ClusterError for a number out of range, or if one does not become ready.
        """
        _checked(number)
        surplus = self.instances[number:]
        for instance in surplus:
            self._tell(instance)
        for instance in surplus:
            self._await_end(instance)
            self.instances.remove(instance)
        fresh = [self._instance(place) for place in range(len(self.instances) + 1, number + 1)]
        for instance in fresh:
            self._say(f"starting {instance}")
            instance.start()
            self.instances.append(instance)
        for instance in fresh:
            self._await_ready(instance)

    def restart(self) -> None:
        """Stop each instance, wait for its end, and start it again, one after another."""
        for instance in self.instances:
            self._tell(instance)
            self._await_end(instance)
            instance.start()
            self._await_ready(instance)

    def look(self) -> None:
        """Start instances again that have ended by themselves. Raises ClusterError or DemoError if that is no use."""
        if self._children is not None:
            self._children.check()
        for instance in self.instances:
            if not instance.running:
                self._say(f"{instance} ended by itself, starting it again; its last words: {instance.last_words()}")
                instance.wait()
                instance.start()
                self._await_ready(instance)

    def _tell(self, instance: Instance) -> None:
        self._say(f"SIGTERM to {instance}")
        self._leaving.add(instance)
        instance.signal(signal.SIGTERM)

    def _await_end(self, instance: Instance) -> None:
        code = instance.wait(STOP_SECONDS)
        self._leaving.discard(instance)
        self.exit_codes.append(code)
        self._say(f"{instance} ended with code {code}")

    def _await_ready(self, instance: Instance) -> None:
        def still_there() -> None:
            if not instance.running:
                raise ClusterError(f"{instance} ended by itself; its last words: {instance.last_words()}")

        _await(instance.ready, str(instance), still_there)
        self._say(f"{instance} is ready")

    def _start(self, stack: ExitStack) -> None:
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        names = stack.enter_context(Names(self._addresses))
        self.redis_url = stack.enter_context(EmbeddedServer(self.folder / "store")).url
        stack.callback(self._end_instances)
        self.scale(self._first)
        children = self._children = stack.enter_context(Children(logs))
        environment = _clean_environment()
        origin = free_port()
        children.start("shop", [sys.executable, "-m", "waitroom.demo.shop", str(origin)], environment=environment)
        main = write_configuration(
            self.folder / "nginx",
            port=self.port,
            resolver=names.address,
            origin=origin,
            instances=[f"waitroom:{self._instance_port}"]
            if self._by_name
            else [f"{instance.address}:{instance.port}" for instance in self.instances],
        )
        nginx = nginx_command(main, binary=nginx_binary())
        children.start("nginx", [*nginx, "-g", f"daemon off; {_user()}"], environment=environment)
        _await(lambda: get("127.0.0.1", origin, "/")[0] == 200, "the shop", children.check)
        # 404: an instance answers. 503: nginx does, without one.
        _await(lambda: get("127.0.0.1", self.port, "/v1/")[0] == 404, "nginx", children.check)

    def _end_instances(self) -> None:
        for instance in self.instances:
            instance.interrupt()
        for instance in self.instances:
            instance.wait()

    def _addresses(self, name: str) -> list[str]:
        if name == "origin":
            return ["127.0.0.1"]
        forgotten = set() if self._named_while_leaving else self._leaving
        return [each.address for each in self.instances if each not in forgotten] if name == "waitroom" else []

    def _instance(self, number: int) -> Instance:
        name = f"waitroom-{number}"
        return Instance(
            self.folder / "logs",
            *("--config", str(_SETTINGS)),
            name=name,
            address=f"127.0.1.{number}",
            port=self._instance_port,
            variables={
                "WAITROOM_REDIS_URL": self.redis_url,
                "WAITROOM_ADMIN_KEY": self.admin_key,
                "WAITROOM_SIGNING_KEYS": f"k1:{self._signing_key}",
                "WAITROOM_PUBLIC_URL": self.url,
                "WAITROOM_PRODUCTION": "true",
                "WAITROOM_DATA_DIR": str(self.folder / name),
                **self._settings,
            },
        )


def write_configuration(folder: Path, *, port: int, resolver: str, origin: int, instances: Sequence[str]) -> Path:
    """compose/nginx.conf with this machine's ports and paths, the shipped files beside it; returns the main file.

    `port` is nginx's own on loopback, `resolver` the name server as host:port, `origin` the origin's port. Of the
    `instances` (host:port) those that are names are looked up again and again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shipped in configuration_folder().glob("waitroom-*.conf"):
        shutil.copy(shipped, folder)
    text = exchanged(
        _NGINX.read_text(encoding="ascii"),
        {
            "127.0.0.11 ": f"{resolver} ",
            "server origin:9000": f"server origin:{origin}",
            "listen 8080;": f"listen 127.0.0.1:{port};",
            " /tmp/": f" {folder}/",
        },
    )
    main = folder / "nginx.conf"
    main.write_text(_BY_NAME.sub(lambda line: _servers(instances, parameters=line[1]), text), encoding="ascii")
    return main


def _servers(instances: Sequence[str], *, parameters: str) -> str:
    how = {each: " resolve" if each.startswith("waitroom:") else "" for each in instances}
    return " ".join(f"server {each}{how[each]} {parameters}" for each in instances)


def exchanged(text: str, exchange: Mapping[str, str]) -> str:
    """The text with every key of `exchange` replaced; raises ClusterError for one that it does not have."""
    for old, new in exchange.items():
        if old not in text:
            raise ClusterError(f"{_NGINX.name} has no {old.strip()!r} any more")
        text = text.replace(old, new)
    return text


def get(host: str, port: int, path: str) -> tuple[int, str]:
    """Status and body of a GET; status 0 if there is no answer."""
    link = http.client.HTTPConnection(host, port, timeout=2)
    try:
        link.request("GET", path)
        answer = link.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        link.close()


def _await(condition: Callable[[], bool], name: str, still_there: Callable[[], None]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        still_there()
        if time.monotonic() > deadline:
            raise ClusterError(f"{name} was not ready within {START_SECONDS:.0f} seconds")
        time.sleep(_LOOK_SECONDS)


def _checked(number: int) -> int:
    if not 1 <= number <= MOST_INSTANCES:
        raise ClusterError(f"{number} instances: choose a number from 1 to {MOST_INSTANCES}")
    return number


def _common_port() -> int:
    """A port that is free at the address of each instance, as far as can be seen."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError), ExitStack() as stack:
            for number in range(1, MOST_INSTANCES + 1):
                stack.enter_context(socket.create_server((f"127.0.1.{number}", port)))
            return port


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WAITROOM_")}


def _user() -> str:
    """Started by root, nginx would hand its workers to somebody who may not look into the cluster's folder."""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(os.getgid()).gr_name};" if os.geteuid() == 0 else ""


# The command


def main(
    instances: Annotated[int, typer.Option(help="instances at the start")] = 2,
    port: Annotated[int, typer.Option(help="port of the site")] = 8080,
    data_dir: Annotated[Path | None, typer.Option(help="folder for data and logs; default: a temporary one")] = None,
) -> None:
    """Run the topology of compose.yaml as plain processes until Ctrl-C; scale it by typing numbers."""
    try:
        _require_linux()
        require_port(port)
        with _folder(data_dir) as folder, _until_told():
            _run(Cluster(folder, instances=instances, port=port, say=_say))
    except WaitroomError as error:
        sys.stderr.write(f"cluster: {error}\n")
        raise typer.Exit(1) from None


def _require_linux() -> None:
    if sys.platform != "linux":
        raise ClusterError("needs Linux, where every address from 127.0.0.1 to 127.255.255.254 can be listened on")


def _run(cluster: Cluster) -> None:
    _say("starting redis, the shop, the instances and nginx ...")
    with cluster:
        _say(f"the shop: {cluster.url}/   logs: {cluster.folder / 'logs'}")
        _say("type a number and Enter to run so many instances, r to restart one after another, Ctrl-C to stop")
        lines = _Lines()
        while True:
            cluster.look()
            for line in lines.within(seconds=0.5):
                _obey(cluster, line)


def _obey(cluster: Cluster, line: str) -> None:
    """Do what was typed; what is wrong with it is said, and all goes on."""
    if line == "r":
        cluster.restart()
    elif line.isdecimal():
        try:
            cluster.scale(int(line))
        except ClusterError as error:
            _say(str(error))
    elif line:
        _say(f"{line!r} is neither a number nor r")
        return
    _say(f"{len(cluster.instances)} running")


class _Lines:
    """What is typed, line by line, without ever waiting for it longer than asked."""

    def __init__(self) -> None:
        self._text = ""
        self._open = True

    def within(self, *, seconds: float) -> list[str]:
        """The lines completed within so long; from a closed input none."""
        if not self._open:
            time.sleep(seconds)
            return []
        if not select.select([sys.stdin], [], [], seconds)[0]:
            return []
        read = os.read(sys.stdin.fileno(), 4096)
        self._open = bool(read)
        *lines, self._text = (self._text + read.decode(errors="replace")).split("\n")
        return [line.strip() for line in lines]


def _say(sentence: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {sentence}", flush=True)


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="waitroom-cluster-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def _until_told() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the block, in order; a second one does not disturb that."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(_number: int, _frame: object) -> NoReturn:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        _say("stopping ...")
        raise _Over

    for number in numbers:
        signal.signal(number, end)
    with contextlib.suppress(_Over):
        yield


class _Over(BaseException):
    """Somebody wants it to end."""


if __name__ == "__main__":
    typer.run(main)
