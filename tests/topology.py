"""Several real servers that belong together: a primary with a replica and Sentinels, or a cluster."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.servers import DEADLINE_SECONDS
from waitroom.demo.processes import free_port

SERVICE: Final = "waiting"

#: Milliseconds of silence after which Sentinels and nodes hold a server to be dead.
SILENCE_MS: Final = 1000

#: The name of a room in each third of a cluster's slots, the first third first.
ROOMS_BY_THIRD: Final = ("shop-0", "shop-2", "shop-3")

_SETTINGS: Final = (
    *("--bind", "127.0.0.1"),
    *("--save", ""),
    *("--appendonly", "no"),
    *("--daemonize", "no"),
    *("--maxmemory-policy", "noeviction"),
    *("--repl-diskless-sync-delay", "0"),
    # A node shows a replica only after it was sent something.
    *("--repl-ping-replica-period", "1"),
)
_CLUSTERED: Final = (
    *("--cluster-enabled", "yes"),
    *("--cluster-node-timeout", str(SILENCE_MS)),
    *("--cluster-require-full-coverage", "no"),
    *("--cluster-config-file", "nodes.conf"),
)


def free_ports(number: int) -> list[int]:
    """Ports that are free right now, all different."""
    found: set[int] = set()
    while len(found) < number:
        found.add(free_port())
    return list(found)


def until(condition: Callable[[], bool], what: str, *, seconds: float = 2 * DEADLINE_SECONDS) -> None:
    """Wait until a condition holds; a server that does not answer yet is waited for."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except RedisError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about within {seconds} s")
        time.sleep(0.02)


@dataclass
class Node:
    """One server process. `program` and `arguments` start it; `login` is how the tests talk to it."""

    port: int
    program: Path
    arguments: tuple[str, ...]
    login: dict[str, Any] = field(default_factory=dict)
    folder: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it in its folder."""
        command = [str(self.program), *self.arguments]
        with (Path(self.folder) / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        until(lambda: bool(self.ask("PING")), f"port {self.port}")

    def ask(self, *command: str | int) -> Any:
        """The reply to a command."""
        once = Retry(NoBackoff(), 0)
        with Redis(
            port=self.port, decode_responses=True, socket_timeout=10, protocol=2, retry=once, **self.login
        ) as client:
            return client.execute_command(*command)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", self.port

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self.process is not None:
            self.thaw()
            self.process.kill()
            self.process.wait(DEADLINE_SECONDS)

    def freeze(self) -> None:
        """Let it neither read nor answer, with its connections open."""
        os.kill(self._running().pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self._running().poll() is None:
            os.kill(self._running().pid, signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process


@dataclass
class Watched:
    """A primary, its replica and their Sentinels; whichever leads."""

    servers: list[Node]
    sentinels: list[Node]

    @property
    def url(self) -> str:
        """The URL that names all Sentinels."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def primary(self) -> Node:
        """The server that the first Sentinel that answers names."""
        for sentinel in self.sentinels:
            try:
                port = int(sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
            except RedisError:
                continue
            return next(server for server in self.servers if server.port == port)
        raise AssertionError("no Sentinel answers")


@contextmanager
def watched(
    program: Path,
    *settings: str,
    login: dict[str, Any] | None = None,
    to_sentinels: dict[str, Any] | None = None,
    lines: tuple[str, ...] = (),
) -> Iterator[Watched]:
    """One primary, one replica and three Sentinels that know each other and agree with two of three.

    `settings` are more of the servers', `lines` of the Sentinels'; the two dicts say how to talk to each. With
    `ssl` in them the ports speak TLS.
    """
    ports = free_ports(5)
    login, to_sentinels = login or {}, to_sentinels or {}
    primary = Node(ports[0], program, (*_listening(ports[0], login), *_SETTINGS, *settings), login)
    follow = ("--replicaof", f"127.0.0.1 {ports[0]}")
    replica = Node(ports[1], program, (*_listening(ports[1], login), *_SETTINGS, *follow, *settings), login)
    sentinels = [Node(port, program, ("sentinel.conf", "--sentinel"), to_sentinels) for port in ports[2:]]
    with _running([primary, replica, *sentinels], prepare=_configure_sentinel(ports[0], lines)):
        group = Watched([primary, replica], sentinels)
        until(lambda: primary.ask("INFO", "replication")["slave0"]["state"] == "online", "the replica")
        for sentinel in sentinels:
            until(partial(_sees_all, sentinel), "a Sentinel's view")
        yield group


def _sees_all(sentinel: Node) -> bool:
    state = sentinel.ask("SENTINEL MASTER", SERVICE)
    return (state["num-slaves"], state["num-other-sentinels"]) == (1, 2) and not state["is_sdown"]


def _listening(port: int, login: dict[str, Any]) -> tuple[str, ...]:
    return ("--port", "0", "--tls-port", str(port)) if login.get("ssl") else ("--port", str(port))


def _configure_sentinel(primary: int, more: tuple[str, ...]) -> Callable[[Node], None]:
    def configure(node: Node) -> None:
        if "--sentinel" not in node.arguments:
            return
        settings = _listening(node.port, node.login)
        lines = [
            *(f"{name.removeprefix('--')} {value}" for name, value in zip(settings[::2], settings[1::2], strict=True)),
            "bind 127.0.0.1",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2",
            f"sentinel down-after-milliseconds {SERVICE} {SILENCE_MS}",
            f"sentinel failover-timeout {SERVICE} 4000",
            *more,
        ]
        (Path(node.folder) / "sentinel.conf").write_text("\n".join(lines) + "\n")

    return configure


@dataclass
class Clustered:
    """Three primaries, each with a third of the slots, and a replica of each."""

    primaries: list[Node]
    replicas: list[Node]

    @property
    def url(self) -> str:
        """The URL that names all nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in (*self.primaries, *self.replicas))
        return f"redis+cluster://{hosts}"

    def holder(self, key: str) -> int:
        """The index of the third that a key is in."""
        slot = int(self.primaries[0].ask("CLUSTER KEYSLOT", key))
        return min(slot // 5462, 2)


_THIRDS: Final = ((0, 5461), (5462, 10_923), (10_924, 16_383))


@contextmanager
def clustered(
    program: Path, *settings: str, replicas: bool = True, login: dict[str, Any] | None = None
) -> Iterator[Clustered]:
    """A cluster of three primaries; with `replicas` each has one.

    It starts from configuration files that say what the nodes would have found out in ten seconds.
    """
    number = 6 if replicas else 3
    ports = free_ports(2 * number)
    nodes = []
    for port, bus in zip(ports[:number], ports[number:], strict=True):
        places = (*_listening(port, login or {}), "--cluster-port", str(bus))
        nodes.append(Node(port, program, (*places, *_SETTINGS, *_CLUSTERED, *settings), login or {}))
    lines = [_node_line(index, port, bus) for index, (port, bus) in enumerate(zip(ports, ports[number:], strict=False))]

    def configure(node: Node) -> None:
        mine = [re.sub("(master|slave)", r"myself,\1", line) if f":{node.port}@" in line else line for line in lines]
        text = "\n".join((*mine, "vars currentEpoch 3 lastVoteEpoch 0")) + "\n"
        (Path(node.folder) / "nodes.conf").write_text(text)

    with _running(nodes, prepare=configure):
        for node in nodes:
            until(partial(_is_settled, node, number - 3), "the cluster")
        for follower in nodes[3:]:
            until(partial(_is_linked, follower), "a replica")
        yield Clustered(nodes[:3], nodes[3:])


def _is_linked(replica: Node) -> bool:
    return bool(replica.ask("INFO", "replication")["master_link_status"] == "up")


def _node_line(index: int, port: int, bus: int) -> str:
    """A node as CLUSTER NODES shows it: the first three hold a third of the slots each, the others follow them."""
    name, leader = f"{index + 1:040x}", f"{index - 2:040x}"
    place = f"{name} 127.0.0.1:{port}@{bus}"
    if index >= len(_THIRDS):
        return f"{place} slave {leader} 0 0 {index - 2} connected"
    first, last = _THIRDS[index]
    return f"{place} master - 0 0 {index + 1} connected {first}-{last}"


def _is_settled(node: Node, replicas: int) -> bool:
    ranges = node.ask("CLUSTER SLOTS")
    up = node.ask("CLUSTER INFO")["cluster_state"] == "ok"
    return bool(up and sum(len(nodes) - 1 for _, _, *nodes in ranges) == replicas)


@contextmanager
def _running(nodes: list[Node], prepare: Callable[[Node], None] = lambda _node: None) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="wr-") as root:
        try:
            for number, node in enumerate(nodes):
                node.folder = f"{root}/{number}"
                Path(node.folder).mkdir()
                prepare(node)
                node.start()
            yield
        finally:
            for node in nodes:
                node.kill()
