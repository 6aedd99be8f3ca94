"""The servers of every kind of Redis URL, with one behaviour: every wait is bounded, and no command is sent twice.

    redis://, unix://    one server: `single`
    redis+sentinel://    the primary that the Sentinels name, asked again after any failure: `sentinel`
    redis+cluster://     for each key the primary that holds its slot, learned anew after any failure: `cluster`

A command with a lost reply may have been carried out, so it fails and its caller decides. Connections belong to one
address: while it is dead, calls to the others go on as if nothing had happened.
"""

from __future__ import annotations

from typing import Any, Protocol

from redis.asyncio import Redis

from waitroom.store.clients import CONNECTIONS, Clients
from waitroom.store.cluster import Cluster
from waitroom.store.sentinel import Watched
from waitroom.store.single import Single
from waitroom.store.url import parse


class Servers(Protocol):
    """The servers that hold the keys, one or many."""

    async def send(self, key: str, *command: str | int) -> Any:
        """The reply to one command, which touches `key` and keys of the same slot only.

        Raises redis-py's errors, or Unavailable where no server is known to send to.
        """
        ...

    async def primaries(self) -> list[Redis]:
        """A client for each primary that is known. Raises Unavailable where none is."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


def connect(url: str, *, timeout_seconds: float, connections: int = CONNECTIONS) -> Servers:
    """The servers of a URL. Connects to nothing yet. Raises SettingsError for a bad URL or TLS files.

    `timeout_seconds` bounds each wait: for a free connection, for connecting, for a reply.
    """
    parsed = parse(url)
    clients = Clients(parsed, timeout_seconds=timeout_seconds, connections=connections)
    if parsed.kind == "sentinel":
        return Watched(parsed, clients, timeout_seconds=timeout_seconds)
    if parsed.kind == "cluster":
        return Cluster(parsed, clients, timeout_seconds=timeout_seconds)
    return Single(parsed, clients)
