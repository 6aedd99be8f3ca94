"""One client for each address of a Redis: its connections, and TLS. Every wait is bounded, nothing is sent twice."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, Final, cast

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.typing import EncodableT

from waitroom.cancelling import cancelled
from waitroom.errors import SettingsError
from waitroom.store.url import Address, RedisUrl, Tls

#: Connections to one address at most. A call that finds them all in use waits.
CONNECTIONS: Final = 64

#: Seconds for which calls that are on their way to an address may end after it was dropped, in time-outs.
_LAST_CALLS: Final = 2

#: redis-py's, which has a wrong type there.
_pack: Final = cast(Callable[..., list[bytes]], HiredisRespSerializer().pack)


async def execute(client: Redis, *command: str | int) -> Any:
    """The reply to one command, which redis-py does not type. Raises redis-py's errors."""
    execute = cast(Callable[..., Awaitable[Any]], client.execute_command)
    return await execute(*command)


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
            # No CLIENT SETINFO: a user with only the needed rights would be refused.
            "driver_info": None,
        }
        self._clients: dict[Address, Redis] = {}
        self._leaving: dict[asyncio.Task[None], Redis] = {}

    def at(self, address: Address) -> Redis:
        """The client for an address. The address has no meaning for a socket."""
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
        """Send it. Raises redis-py's errors, also where the connection broke or was closed since it was taken."""
        if self._has_broken():
            # asyncio of Python 3.12 and 3.13 would write all the same, and leave the dead socket's number with its
            # selector: the next connection that gets that number would never hear an answer.
            await self.disconnect(nowait=True)
            raise exceptions.ConnectionError("the connection is closed")
        try:
            await super().send_packed_command(command, check_health)
        except (RuntimeError, AttributeError) as error:
            # uvloop writes to no closed transport, and redis-py may have none any more.
            raise exceptions.ConnectionError("the connection is closed") from error

    async def can_read(self) -> bool:
        """Whether something is there to read. Raises redis-py's error where the connection broke while out of use.

        The pool then connects anew. redis-py sees an end by itself, but no reset: after an outage each connection of
        the pool would have failed one more call.
        """
        if self._has_broken():
            raise exceptions.ConnectionError("the connection is closed")
        return await super().can_read()

    def _has_broken(self) -> bool:
        return self._writer is not None and self._writer.is_closing()


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
    """The TLS context of the options. Raises SettingsError that names the option with the wrong file."""
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
