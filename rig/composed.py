"""The topology of compose.yaml as plain processes on one Linux machine: no container engine is needed.

A Valkey or Redis, waitroom instances at 127.0.1.1, 127.0.1.2 ... (one port, as in containers), the demo's shop as the
origin, nginx with compose/nginx.conf, and a name server that answers the name `waitroom` with the instances that run,
as an engine's does: from before an instance listens until after it has ended.
"""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

from rig.edits import exchanged
from rig.instance import Instance, variables
from rig.machine import missing
from rig.names import Names
from rig.nginx import command
from rig.origin import ask
from rig.ports import free_port
from rig.process import GRACE_SECONDS, Process
from rig.served import Served
from waitroom.demo.nginx import configuration_folder, user
from waitroom.store.embedded.server import EmbeddedServer

#: More would not fit into one answer of the name server.
MOST_INSTANCES: Final = 20

#: What the containers are given too.
COMPOSE: Final = Path(__file__).parent.parent / "deploy" / "compose"

#: The lines of its nginx.conf by which nginx finds the instances.
_BY_NAME: Final = re.compile(r"server waitroom:8000 resolve (.*;)")


class OutOfRange(Exception):
    """So many instances there cannot be; the message says how many there can."""


class Composed:
    """Everything that compose.yaml starts, as a context manager; nothing outlives it, however it ends.

    `instances` are those that run, in order; `exit_codes` those of the instances that were stopped.
    """

    def __init__(
        self,
        folder: Path,
        *,
        instances: int,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        by_name: bool = True,
        named_while_leaving: bool = True,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`folder`: data, logs and configuration; `port`: nginx's on loopback, by default a free one.

        `settings`: the instances' environment (`WAITROOM_...`) over compose/waitroom.toml. `by_name`: nginx finds the
        instances by their common name; else by a `server` line for each that there is at the start.
        `named_while_leaving`: the name stands for an instance until it has ended, as in Docker; else until it is told
        to end, as in Kubernetes. `say` is told what happens, in sentences. Raises OutOfRange, Missing.
        """
        if sys.platform != "linux":
            missing("Linux, where every address from 127.0.0.1 to 127.255.255.254 can be listened on,")
        self.folder = folder.absolute()
        self.port = port or free_port()
        self.redis_url = ""
        self.admin_key = secrets.token_urlsafe(32)
        self.instances: list[Instance] = []
        self.exit_codes: list[int] = []
        self._first = _checked(instances)
        self._instance_port = _common_port()
        self._signing_key = f"k1:{secrets.token_urlsafe(32)}"
        self._settings = dict(settings or {})
        self._by_name = by_name
        self._named_while_leaving = named_while_leaving
        self._leaving: set[Instance] = set()
        self._say = say
        self._around: list[Process] = []
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """Where visitors come."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def logs(self) -> Path:
        """The folder of all logs."""
        return self.folder / "logs"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def scale(self, number: int) -> None:
        """Start or stop instances until so many run, the last ones stopped first; returns when it is done.

        Raises OutOfRange, and Ended where an instance does not become ready.
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
        """Start instances again that have ended by themselves. Raises Ended where that is no use."""
        for process in self._around:
            process.check()
        for instance in self.instances:
            if not instance.running:
                self._say(f"{instance} ended by itself, starting it again; its last words: {instance.last_words()}")
                instance.start()
                self._await_ready(instance)

    def _tell(self, instance: Instance) -> None:
        self._say(f"SIGTERM to {instance}")
        self._leaving.add(instance)
        instance.signal(signal.SIGTERM)

    def _await_end(self, instance: Instance) -> None:
        code = instance.wait(GRACE_SECONDS)
        self._leaving.discard(instance)
        self.exit_codes.append(code)
        self._say(f"{instance} ended with code {code}")

    def _await_ready(self, instance: Instance) -> None:
        instance.await_ready()
        self._say(f"{instance} is ready")

    def _start(self, stack: ExitStack) -> None:
        names = stack.enter_context(Names(self._addresses))
        self.redis_url = stack.enter_context(EmbeddedServer(self.folder / "store")).url
        stack.callback(self._end_instances)
        self.scale(self._first)
        shop = Served("shop", [sys.executable, "-m", "waitroom.demo.shop", "{port}"], folder=self.logs)
        main = write_configuration(
            self.folder / "nginx",
            port=self.port,
            resolver=names.address,
            origin=shop.port,
            instances=[f"waitroom:{self._instance_port}"]
            if self._by_name
            else [f"{instance.address}:{instance.port}" for instance in self.instances],
        )
        nginx = Process("nginx", [*command(main), "-g", f"daemon off; {user()}"], folder=self.logs)
        for process in (shop, nginx):
            self._around.append(stack.enter_context(process))
        # 404: an instance answers. 503: nginx does, without one.
        nginx.until(lambda: ask(self.port, "/v1/rooms/none").status == 404)

    def _end_instances(self) -> None:
        for instance in self.instances:
            instance.thaw()
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
        given = variables(
            redis_url=self.redis_url,
            admin_key=self.admin_key,
            signing_keys=self._signing_key,
            public_url=self.url,
            production="true",
            data_dir=self.folder / name,
        )
        return Instance(
            self.logs,
            *("--config", str(COMPOSE / "waitroom.toml")),
            name=name,
            address=f"127.0.1.{number}",
            port=self._instance_port,
            variables={**given, **self._settings},
        )


def write_configuration(folder: Path, *, port: int, resolver: str, origin: int, instances: Sequence[str]) -> Path:
    """compose/nginx.conf with this machine's ports and paths, the shipped files beside it; returns the main file.

    `port` is nginx's own on loopback, `resolver` the name server as host:port, `origin` the origin's port. Of the
    `instances` (host:port) those that are names are looked up again and again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shipped in configuration_folder().glob("waitroom-*.conf"):
        shutil.copy(shipped, folder)
    known = name_servers(f"nameserver {resolver}\n")
    (folder / "resolver.conf").write_text(known, encoding="ascii")
    text = exchanged(
        (COMPOSE / "nginx.conf").read_text(encoding="ascii"),
        {
            "server origin:9000": f"server origin:{origin}",
            "listen 8080;": f"listen 127.0.0.1:{port};",
            " /tmp/": f" {folder}/",
        },
    )
    main = folder / "nginx.conf"
    servers = [f"server {each}{' resolve' if each.startswith('waitroom:') else ''}" for each in instances]
    text = _BY_NAME.sub(lambda line: " ".join(f"{server} {line[1]}" for server in servers), text)
    main.write_text(text, encoding="ascii")
    return main


def name_servers(resolv_conf: str) -> str:
    """What the containers' own script makes of a resolv.conf. Raises CalledProcessError."""
    script = configuration_folder() / "name-servers.sh"
    done = subprocess.run(["/bin/sh", str(script)], input=resolv_conf, capture_output=True, text=True, check=True)
    return done.stdout


def _checked(number: int) -> int:
    if not 1 <= number <= MOST_INSTANCES:
        raise OutOfRange(f"{number} instances: choose a number from 1 to {MOST_INSTANCES}")
    return number


def _common_port() -> int:
    """A port that is free at the address of each instance, as far as can be seen."""
    while True:
        port = free_port()
        with suppress(OSError), ExitStack() as stack:
            for number in range(1, MOST_INSTANCES + 1):
                stack.enter_context(socket.create_server((f"127.0.1.{number}", port)))
            return port
