"""Several real servers that belong together: a primary with a replica and Sentinels, or a cluster."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from redis.exceptions import RedisError

from rig.ports import free_ports
from rig.servers import IN_MEMORY, Server
from rig.waiting import until

SERVICE: Final = "waiting"

#: Milliseconds of silence after which Sentinels and nodes hold a server to be dead.
SILENCE_MS: Final = 1000

#: The name of a room in each third of a cluster's slots, the first third first.
ROOMS_BY_THIRD: Final = ("shop-0", "shop-2", "shop-3")

_SETTINGS: Final = (
    *IN_MEMORY,
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


@dataclass
class Watched:
    """A primary, its replica and their Sentinels; whichever leads."""

    servers: Sequence[Server]
    sentinels: Sequence[Server]

    @property
    def url(self) -> str:
        """The URL that names all Sentinels."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def primary(self) -> Server:
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
    *settings: str,
    binary: Path | None = None,
    login: dict[str, Any] | None = None,
    to_sentinels: dict[str, Any] | None = None,
    lines: tuple[str, ...] = (),
) -> Iterator[Watched]:
    """One primary, one replica and three Sentinels that know each other and agree with two of three.

    `settings` are more of the servers', `lines` of the Sentinels'; the two dicts say how to talk to each. With
    `ssl` in them the ports speak TLS.
    """
    ports = free_ports(5)
    follow = ("--replicaof", f"127.0.0.1 {ports[0]}")
    with _folders(5) as (stack, folders):
        primary, replica = (
            Server(folders[number], *_SETTINGS, *more, *settings, port=ports[number], binary=binary, login=login)
            for number, more in enumerate(((), follow))
        )
        sentinels = []
        for folder, port in zip(folders[2:], ports[2:], strict=True):
            (folder / "sentinel.conf").write_text("\n".join((*_agreeing(ports[0]), *lines)) + "\n")
            how = partial(Server, port=port, binary=binary, login=to_sentinels, file="sentinel.conf")
            sentinels.append(how(folder, "--sentinel"))
        group = Watched([primary, replica], sentinels)
        for server in (primary, replica, *sentinels):
            stack.enter_context(server)
        until(partial(_has_replica, primary), "the replica", despite=(RedisError, LookupError))
        for sentinel in sentinels:
            until(partial(_sees_all, sentinel), "a Sentinel's view", despite=RedisError)
        yield group


def _agreeing(primary: int) -> tuple[str, ...]:
    """The settings of a Sentinel that agrees with another one that the primary at that port is dead."""
    return (
        "bind 127.0.0.1",
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2",
        f"sentinel down-after-milliseconds {SERVICE} {SILENCE_MS}",
        f"sentinel failover-timeout {SERVICE} 4000",
    )


def _has_replica(primary: Server) -> bool:
    return bool(primary.ask("INFO", "replication")["slave0"]["state"] == "online")


def _sees_all(sentinel: Server) -> bool:
    state = sentinel.ask("SENTINEL MASTER", SERVICE)
    return (state["num-slaves"], state["num-other-sentinels"]) == (1, 2) and not state["is_sdown"]


@dataclass
class Clustered:
    """Three primaries, each with a third of the slots, and a replica of each."""

    primaries: list[Server]
    replicas: list[Server]

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
    *settings: str, replicas: bool = True, binary: Path | None = None, login: Mapping[str, Any] | None = None
) -> Iterator[Clustered]:
    """A cluster of three primaries; with `replicas` each has one.

    It starts from configuration files that say what the nodes would have found out in ten seconds.
    """
    number = 6 if replicas else 3
    ports = free_ports(2 * number)
    places = list(zip(ports[:number], ports[number:], strict=True))
    lines = [_node_line(index, port, bus) for index, (port, bus) in enumerate(places)]
    nodes = []
    with _folders(number) as (stack, folders):
        for folder, (port, bus) in zip(folders, places, strict=True):
            mine = [re.sub("(master|slave)", r"myself,\1", line) if f":{port}@" in line else line for line in lines]
            text = "\n".join((*mine, "vars currentEpoch 3 lastVoteEpoch 0")) + "\n"
            (folder / "nodes.conf").write_text(text)
            own = ("--cluster-port", str(bus), *_SETTINGS, *_CLUSTERED, *settings)
            nodes.append(Server(folder, *own, port=port, binary=binary, login=login))
        for node in nodes:
            stack.enter_context(node)
        for node in nodes:
            until(partial(_is_settled, node, number - 3), "the cluster", despite=RedisError)
        for follower in nodes[3:]:
            until(partial(_is_linked, follower), "a replica", despite=RedisError)
        yield Clustered(nodes[:3], nodes[3:])


def _is_linked(replica: Server) -> bool:
    return bool(replica.ask("INFO", "replication")["master_link_status"] == "up")


def _node_line(index: int, port: int, bus: int) -> str:
    """A node as CLUSTER NODES shows it: the first three hold a third of the slots each, the others follow them."""
    name, leader = f"{index + 1:040x}", f"{index - 2:040x}"
    place = f"{name} 127.0.0.1:{port}@{bus}"
    if index >= len(_THIRDS):
        return f"{place} slave {leader} 0 0 {index - 2} connected"
    first, last = _THIRDS[index]
    return f"{place} master - 0 0 {index + 1} connected {first}-{last}"


def _is_settled(node: Server, replicas: int) -> bool:
    ranges = node.ask("CLUSTER SLOTS")
    up = node.ask("CLUSTER INFO")["cluster_state"] == "ok"
    return bool(up and sum(len(nodes) - 1 for _, _, *nodes in ranges) == replicas)


@contextmanager
def _folders(number: int) -> Iterator[tuple[ExitStack, list[Path]]]:
    """So many empty folders, and what to put on top of them."""
    with tempfile.TemporaryDirectory(prefix="wr-") as root, ExitStack() as stack:
        folders = [Path(root) / str(each) for each in range(number)]
        for folder in folders:
            folder.mkdir()
        yield stack, folders
