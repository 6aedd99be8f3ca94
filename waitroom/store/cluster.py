"""A cluster: for each key the primary that holds its slot. The map is learned anew after any failure.

Only a reply that says "not carried out, ask there" (MOVED, ASK) is followed.

(redis-py's own cluster client was tried. It learns the map anew inside of calls, and all wait for it. It never does
when a call is cancelled by a deadline, so that a frozen primary was asked for ever after its replica had taken over.
And it can send ASKING over another connection than the command.)
"""

from __future__ import annotations

import random
from typing import Any, Final

from redis import exceptions
from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from waitroom.errors import Unavailable
from waitroom.store.clients import Clients, execute
from waitroom.store.failures import is_doubtful
from waitroom.store.learner import Learner
from waitroom.store.url import Address, RedisUrl, shown

#: Times that a call follows a node that says "ask there".
_MOST_REDIRECTIONS: Final = 5


class Cluster(Learner):
    """A cluster: for each key the primary that holds its slot.

    An address that failed is doubted: while it is, one call at a time tries it and the others fail at once, so that
    what lives on a dead node holds up nothing else.
    """

    def __init__(self, url: RedisUrl, clients: Clients, *, timeout_seconds: float) -> None:
        super().__init__(url, clients, timeout_seconds=timeout_seconds)
        self._nodes: tuple[Address, ...] = ()
        self._slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        #: Addresses that failed. True while a call tries one.
        self._doubted: dict[Address, bool] = {}
        #: Addresses that did not answer when they were last asked for the map.
        self._silent: set[Address] = set()

    async def send(self, key: str, *command: str | int) -> Any:
        """The reply of the primary that holds the key's slot."""
        slot = key_slot(key.encode())
        address, asking = await self._holder(slot), False
        for _ in range(_MOST_REDIRECTIONS):
            try:
                return await self._try(address, command, asking=asking)
            except exceptions.MovedError as moved:
                address, asking = (moved.host or address[0], moved.port), False
                self._slots[slot] = address
                self._ask_anew()
            except exceptions.AskError as elsewhere:
                address, asking = (elsewhere.host or address[0], elsewhere.port), True
        raise Unavailable("the nodes of the cluster redirect this call in a circle")

    async def primaries(self) -> list[Redis]:
        """Each node that holds slots."""
        if not self._nodes:
            await self._answer()
        found = {address for address in self._slots if address is not None}
        if not found:
            raise Unavailable(f"no node of the cluster tells which node holds which slots: {self._fault}")
        return [self._clients.at(address) for address in sorted(found)]

    async def layout(self) -> list[list[Any]]:
        """CLUSTER SLOTS as the first node that answers gives it: for each range first, last, primary, replicas."""
        for address in self._known():
            ranges = await self._told(self._clients.at(address), "CLUSTER SLOTS")
            self._silent.discard(address)
            if ranges is None:
                self._silent.add(address)
            elif ranges:
                return [[first, last, *(_node(node, address) for node in nodes)] for first, last, *nodes in ranges]
        return []

    async def _holder(self, slot: int) -> Address:
        address = self._slots[slot]
        if address is None or address in self._doubted:
            await self._answer()
            address = self._slots[slot]
        if address is None:
            why = "no node holds it" if self._nodes else self._fault
            raise Unavailable(f"no node of the cluster to send slot {slot} to: {why}")
        return address

    async def _try(self, address: Address, command: tuple[str | int, ...], *, asking: bool) -> Any:
        if self._doubted.get(address, False):
            raise Unavailable(f"the node {shown(address)} of the cluster does not answer")
        if address in self._doubted:
            self._doubted[address] = True
        client = self._clients.at(address)
        try:
            reply = await (_execute_asking(client, *command) if asking else execute(client, *command))
        except BaseException as error:
            if is_doubtful(error):
                self._doubted[address] = False
                self._ask_anew()
            else:
                self._doubted.pop(address, None)
            raise
        self._doubted.pop(address, None)
        return reply

    def _known(self) -> list[Address]:
        """The nodes to ask: those known in any order, those that failed last."""
        known = list(dict.fromkeys((*self._nodes, *self._url.hosts)))
        random.shuffle(known)
        return sorted(known, key=lambda address: address in self._doubted or address in self._silent)

    async def _ask(self) -> None:
        layout = await self.layout()
        if not layout:
            return
        slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, primary, *_ in layout:
            slots[first : last + 1] = [primary] * (last + 1 - first)
        self._slots = slots
        self._nodes = tuple({node for _, _, *nodes in layout for node in nodes})
        known = {*self._nodes, *self._url.hosts}
        self._doubted = {address: tried for address, tried in self._doubted.items() if address in known}
        self._silent &= known
        self._clients.keep(known)


def _node(told: list[Any], asked: Address) -> Address:
    """The address in a line of CLUSTER SLOTS. A node that does not know its own is where it was asked."""
    host, port = told[0], int(told[1])
    return (asked[0] if host in ("", "?", None) else str(host)), port


async def _execute_asking(client: Redis, *command: str | int) -> Any:
    """A command to a node that is just taking the slot over: ASKING goes before it on the same connection."""
    pipeline = client.pipeline(transaction=False)
    pipeline.execute_command("ASKING")
    pipeline.execute_command(*command)
    reply = (await pipeline.execute(raise_on_error=False))[1]
    if isinstance(reply, Exception):
        raise reply
    return reply
