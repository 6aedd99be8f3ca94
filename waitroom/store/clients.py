"""Clients for every kind of Redis URL, with one behaviour: every wait is bounded, and no command is ever sent twice.

    redis://, unix://    one server
    redis+sentinel://    the primary that the Sentinels name; asked again after any failure
    redis+cluster://     for each key the primary that holds its slot; the map is learned anew after any failure

A command whose reply was lost may have been carried out, so it fails and its caller decides. Only a reply that says
"not carried out, ask there" (MOVED, ASK) is followed. Connections belong to one address: while it is dead, calls to the
others go on as if nothing had happened.

(redis-py's own cluster client was tried. It learns the map anew inside of calls, and all wait for it; it never does
when a call is cancelled by a deadline, so that a frozen primary was asked for ever after its replica had taken over;
and it can send ASKING over another connection than the command. Its Sentinel client asks one Sentinel after the other.)
"""

from __future__ import annotations

import asyncio
import math
import random
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar, cast

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.typing import EncodableT

from waitroom.cancelling import cancelled
from waitroom.errors import SettingsError, Unavailable
from waitroom.store.url import Address, RedisUrl, Tls, parse, shown

#: Connections to one address at most; who finds them all in use waits.
CONNECTIONS: Final = 64

#: Part of a call's time within which a Sentinel or a node must say where a primary is.
_ASKING_SHARE: Final = 0.5

#: Seconds between two questions about where the primaries are.
_ASKING_PAUSE_SECONDS: Final = 0.1

#: Seconds between two times that the connections to a server that takes no writes are given up.
_HANG_UP_PAUSE_SECONDS: Final = 1.0

#: Times that a call follows a node that says "ask there".
_MOST_REDIRECTIONS: Final = 5

#: Seconds for which calls that are on their way to an address may end after it was dropped, in time-outs.
_LAST_CALLS: Final = 2

#: redis-py's, whose own type is wrong.
_pack: Final = cast(Callable[..., list[bytes]], HiredisRespSerializer().pack)


class Servers(Protocol):
    """Whoever holds the keys, one server or many."""

    async def send(self, key: str, *command: str | int) -> Any:
        """The reply to one command, which touches `key` and keys of the same slot only.

        Raises redis-py's errors, or Unavailable where nobody is known to send to.
        """
        ...

    async def primaries(self) -> list[Redis]:
        """A client for each primary that is known; raises Unavailable where none is."""
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


class Clients:
    """One client for each address, made when it is first asked for, with connections of its own.

    With `to_sentinels` user and password are those for the Sentinels.
    """

    def __init__(
        self, url: RedisUrl, *, timeout_seconds: float, connections: int = CONNECTIONS, to_sentinels: bool = False
    ) -> None:
        self._timeout = timeout_seconds
        self._path = url.path
        self._tls = _tls_context(url.tls) if url.tls else None
        self._settings: dict[str, Any] = {
            "username": (url.sentinel_username if to_sentinels else url.username) or None,
            "password": (url.sentinel_password if to_sentinels else url.password) or None,
            "db": 0 if to_sentinels else url.database,
            "timeout": timeout_seconds,
            "socket_timeout": timeout_seconds,
            "socket_connect_timeout": timeout_seconds,
            "retry": Retry(NoBackoff(), 0),
            "max_connections": connections,
            "decode_responses": True,
            "protocol": 2,
            # No CLIENT SETINFO: a user who may do only what is needed would be refused.
            "driver_info": None,
        }
        self._clients: dict[Address, Redis] = {}
        self._leaving: dict[asyncio.Task[None], Redis] = {}

    def at(self, address: Address) -> Redis:
        """The client for an address; without meaning for a socket."""
        if address not in self._clients:
            self._clients[address] = Redis.from_pool(self._pool(address))
        return self._clients[address]

    def keep(self, addresses: Collection[Address]) -> None:
        """Drop the connections to all other addresses, as soon as the calls on them have ended."""
        for address in self._clients.keys() - set(addresses):
            client = self._clients.pop(address)
            task = asyncio.create_task(self._close_later(client))
            self._leaving[task] = client
            task.add_done_callback(self._leaving.pop)

    async def aclose(self) -> None:
        """Close every connection."""
        leaving = dict(self._leaving)
        await cancelled(*leaving)
        for client in (*leaving.values(), *self._clients.values()):
            await client.aclose()

    def _pool(self, address: Address) -> BlockingConnectionPool:
        if self._path:
            return BlockingConnectionPool(connection_class=_UnixConnection, path=self._path, **self._settings)
        host, port = address
        if self._tls is None:
            return BlockingConnectionPool(connection_class=_TcpConnection, host=host, port=port, **self._settings)
        return BlockingConnectionPool(
            connection_class=_TlsConnection, host=host, port=port, tls=self._tls, **self._settings
        )

    async def _close_later(self, client: Redis) -> None:
        with suppress(exceptions.RedisError, OSError):
            await client.connection_pool.disconnect(inuse_connections=False)
            await asyncio.sleep(_LAST_CALLS * self._timeout)
            await client.aclose()


class _Packed(AbstractConnection):
    """Commands are packed by hiredis: redis-py's own loop took a microsecond and a half for each visitor of a batch."""

    def pack_command(self, *args: EncodableT) -> list[bytes]:
        """One command as it goes over the wire."""
        return _pack(*args)

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Send it. Raises redis-py's errors."""
        try:
            await super().send_packed_command(command, check_health)
        except (RuntimeError, AttributeError) as error:
            # What comes of a connection that broke, or that the pool closed, since it was taken: uvloop writes to no
            # closed transport (asyncio would write into the void), and redis-py has none any more.
            raise exceptions.ConnectionError("the connection is closed") from error


class _TcpConnection(_Packed, Connection):
    pass


class _UnixConnection(_Packed, UnixDomainSocketConnection):
    pass


class _TlsConnection(_Packed, SSLConnection):
    """A connection with the pool's TLS context: making one reads all certificates anew, which takes milliseconds."""

    def __init__(self, *, tls: ssl.SSLContext, **settings: Any) -> None:
        super().__init__(**settings)
        self._tls = tls

    def _connection_arguments(self) -> dict[str, Any]:
        return {"host": self.host, "port": self.port, "ssl": self._tls}


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """The TLS context of the options; raises SettingsError that names the option whose file is wrong."""
    try:
        context = ssl.create_default_context(cafile=tls.ssl_ca_certs or None, capath=tls.ssl_ca_path or None)
    except OSError as error:  # an SSLError is one
        raise SettingsError(f"redis_url: cannot read the authorities in ssl_ca_certs: {_why(error)}") from None
    try:
        if tls.ssl_certfile:
            context.load_cert_chain(tls.ssl_certfile, tls.ssl_keyfile or None, tls.ssl_password)
        if tls.ssl_ciphers:
            context.set_ciphers(tls.ssl_ciphers)
    except OSError as error:
        raise SettingsError(
            f"redis_url: cannot use ssl_certfile, ssl_keyfile, ssl_password or ssl_ciphers: {_why(error)}"
        ) from None
    context.check_hostname = tls.ssl_check_hostname and tls.ssl_cert_reqs == "required"
    context.verify_mode = ssl.CERT_REQUIRED if tls.ssl_cert_reqs == "required" else ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.ssl_min_version == "TLSv1.3" else ssl.TLSVersion.TLSv1_2
    return context


def _why(error: OSError) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or type(error).__name__


class Single:
    """One server."""

    def __init__(self, url: RedisUrl, clients: Clients) -> None:
        self._clients = clients
        self._client = clients.at(url.hosts[0] if url.hosts else ("", 0))
        self._hung_up = -math.inf

    async def send(self, _key: str, *command: str | int) -> Any:
        """The reply to one command."""
        try:
            return await _execute(self._client, *command)
        except exceptions.ResponseError as error:
            now = time.monotonic()
            if _is_doubtful(error) and now - self._hung_up > _HANG_UP_PAUSE_SECONDS:
                # A name may lead to the new primary by now: the next call looks it up again. Not at each error: what is
                # read is served all the same, and would be disturbed.
                self._hung_up = now
                await self._client.connection_pool.disconnect(inuse_connections=False)
            raise

    async def primaries(self) -> list[Redis]:
        """The one."""
        return [self._client]

    async def aclose(self) -> None:
        """Close every connection."""
        await self._clients.aclose()


class _Learner(ABC):
    """Where a primary is must be asked: one question at a time, shared by all who need the answer, with pauses."""

    def __init__(self, url: RedisUrl, clients: Clients, *, timeout_seconds: float) -> None:
        self._url = url
        self._clients = clients
        self._asking_seconds = timeout_seconds * _ASKING_SHARE
        #: Why whoever was asked last did not say.
        self._fault = "no answer"
        self._question: asyncio.Task[None] | None = None
        self._asked = 0.0

    def _ask_anew(self) -> asyncio.Task[None]:
        """Ask, unless that is under way."""
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._ask_after_pause())
        return self._question

    async def _answer(self) -> None:
        # Shielded: who gives up waiting does not take the answer from the others.
        await asyncio.shield(self._ask_anew())

    async def _ask_after_pause(self) -> None:
        await asyncio.sleep(max(0.0, self._asked + _ASKING_PAUSE_SECONDS - time.monotonic()))
        try:
            await self._ask()
        except (LookupError, TypeError, ValueError):
            self._fault = "an answer that makes no sense"
        finally:
            self._asked = time.monotonic()

    @abstractmethod
    async def _ask(self) -> None:
        """Find out where primaries are; keeps what was known where nobody answers."""

    async def _told(self, client: Redis, *question: str) -> Any:
        """What one of those who know says, None if nothing in time."""
        try:
            async with asyncio.timeout(self._asking_seconds):
                return await _execute(client, *question)
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            self._fault = self._url.scrubbed(describe(error))
            return None

    async def aclose(self) -> None:
        """Close every connection."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.gather(self._question, return_exceptions=True)
        await self._clients.aclose()


class Watched(_Learner):
    """The primary that Sentinels name: all are asked at once, and a majority's answers are enough."""

    def __init__(self, url: RedisUrl, clients: Clients, *, timeout_seconds: float) -> None:
        super().__init__(url, clients, timeout_seconds=timeout_seconds)
        self._sentinels = Clients(url, timeout_seconds=self._asking_seconds, connections=1, to_sentinels=True)
        self._primary: Address | None = None
        self._sure = False

    async def send(self, _key: str, *command: str | int) -> Any:
        """The reply of the primary to one command."""
        address = await self._current()
        try:
            return await _execute(self._clients.at(address), *command)
        except BaseException as error:
            if _is_doubtful(error):
                self._sure = False
            raise

    async def primaries(self) -> list[Redis]:
        """The one that is primary now."""
        return [self._clients.at(await self._current())]

    async def states(self, enough: int) -> list[dict[str, Any]]:
        """What the first `enough` Sentinels that answer say of the service, as redis-py reads SENTINEL MASTER.

        `ip` and `port` are of the new primary as soon as a failover has one; until then `is_sdown` tells.
        """
        questions = [asyncio.create_task(self._state(self._sentinels.at(host))) for host in self._url.hosts]
        answers: list[dict[str, Any]] = []
        try:
            for coming in asyncio.as_completed(questions):
                answer = await coming
                answers += [answer] if answer else []
                if len(answers) == enough:
                    break
        finally:
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)
        return answers

    async def _state(self, sentinel: Redis) -> dict[str, Any] | None:
        state = await self._told(sentinel, "SENTINEL MASTER", self._url.service)
        primary = await self._told(sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME", self._url.service) if state else None
        if state is None or primary is None:
            return None
        host, port = primary
        if (host, port) == (state["ip"], state["port"]):
            return dict(state)
        # The failover has promoted somebody, but is not over: what else is said is of the old primary.
        return {**state, "ip": host, "port": port, "is_sdown": False, "is_odown": False}

    async def aclose(self) -> None:
        """Close every connection, also those to the Sentinels."""
        await super().aclose()
        await self._sentinels.aclose()

    async def _current(self) -> Address:
        if not self._sure:
            await self._answer()
        if self._primary is None:
            raise Unavailable(f"no Sentinel names a primary for the service {self._url.service!r}: {self._fault}")
        return self._primary

    async def _ask(self) -> None:
        majority = len(self._url.hosts) // 2 + 1
        named = [it for it in await self.states(majority) if not (it["is_sdown"] or it["is_odown"])]
        if not named:
            return
        # One that has not heard of the failover yet is outvoted by a newer configuration.
        newest = max(named, key=lambda state: int(state["config-epoch"]))
        self._primary = str(newest["ip"]), int(newest["port"])
        self._sure = True
        self._clients.keep([self._primary])


class Cluster(_Learner):
    """A cluster: for each key the primary that holds its slot.

    An address that failed is doubted: while it is, one call at a time tries it and the others fail at once, so that
    what lives on a dead node holds up nothing else.
    """

    def __init__(self, url: RedisUrl, clients: Clients, *, timeout_seconds: float) -> None:
        super().__init__(url, clients, timeout_seconds=timeout_seconds)
        self._nodes: tuple[Address, ...] = ()
        self._slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        #: Addresses that failed; True while a call tries one.
        self._doubted: dict[Address, bool] = {}
        #: Addresses that did not answer when they were last asked for the map.
        self._silent: set[Address] = set()

    async def send(self, key: str, *command: str | int) -> Any:
        """The reply of whoever holds the key's slot."""
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
        raise Unavailable("the nodes of the cluster send each other's calls in a circle")

    async def primaries(self) -> list[Redis]:
        """Each node that holds slots."""
        if not self._nodes:
            await self._answer()
        found = {address for address in self._slots if address is not None}
        if not found:
            raise Unavailable(f"no node of the cluster says who holds what: {self._fault}")
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
            why = "nobody holds it" if self._nodes else self._fault
            raise Unavailable(f"no node of the cluster to send slot {slot} to: {why}")
        return address

    async def _try(self, address: Address, command: tuple[str | int, ...], *, asking: bool) -> Any:
        if self._doubted.get(address, False):
            raise Unavailable(f"the node {shown(address)} of the cluster does not answer")
        if address in self._doubted:
            self._doubted[address] = True
        client = self._clients.at(address)
        try:
            reply = await (_execute_asking(client, *command) if asking else _execute(client, *command))
        except BaseException as error:
            if _is_doubtful(error):
                self._doubted[address] = False
                self._ask_anew()
            else:
                self._doubted.pop(address, None)
            raise
        self._doubted.pop(address, None)
        return reply

    def _known(self) -> list[Address]:
        """Whom to ask: known nodes in any order, those that failed last."""
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
    """The address in a line of CLUSTER SLOTS; a node that does not know its own is where it was asked."""
    host, port = told[0], int(told[1])
    return (asked[0] if host in ("", "?", None) else str(host)), port


def _is_doubtful(error: BaseException) -> bool:
    """Whether an error may mean that the primary is somewhere else now. A call that took too long is cancelled."""
    if isinstance(error, exceptions.ResponseError):
        return isinstance(error, exceptions.ReadOnlyError | exceptions.ClusterDownError) or str(error).startswith(
            "NOREPLICAS"
        )
    return isinstance(error, exceptions.RedisError | OSError | TimeoutError | asyncio.CancelledError)


def describe(error: BaseException) -> str:
    """What went wrong with a connection or a command, in a few words that name no user and quote no argument."""
    if isinstance(error, exceptions.NoPermissionError):
        return "the user may not do that"
    if isinstance(error, exceptions.AuthenticationError):
        return "user or password is wrong"
    certificate = _cause(error, ssl.SSLCertVerificationError)
    if certificate is not None:
        return f"its certificate is not accepted: {certificate.verify_message}"
    if _cause(error, ssl.SSLError) is not None:
        return "no TLS connection comes about"
    if isinstance(error, exceptions.ResponseError):
        return str(error).split(" script:")[0]
    return type(error).__name__


_Error = TypeVar("_Error", bound=BaseException)


def _cause(error: BaseException | None, kind: type[_Error]) -> _Error | None:
    """The error, or whichever it was raised because of, if it is of that kind."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


async def _execute(client: Redis, *command: str | int) -> Any:
    execute = cast(Callable[..., Awaitable[Any]], client.execute_command)
    return await execute(*command)


async def _execute_asking(client: Redis, *command: str | int) -> Any:
    """A command to a node that is just taking the slot over: ASKING goes before it on the same connection."""
    pipeline = client.pipeline(transaction=False)
    pipeline.execute_command("ASKING")
    pipeline.execute_command(*command)
    reply = (await pipeline.execute(raise_on_error=False))[1]
    if isinstance(reply, Exception):
        raise reply
    return reply
