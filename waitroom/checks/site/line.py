"""The line to a site: one request at a time, on a connection of its own, within a bounded time.

Redirects are not followed and no cookie is kept: that is the visitor's business. To a site on a loopback address the
doctor comes from one of its own, so that it can tell its address from those of the proxies there.
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final
from urllib.parse import urlsplit

from waitroom.checks.site.ending import ENDING
from waitroom.errors import SettingsError

#: Seconds within which each question must be answered.
ANSWER_SECONDS: Final = 10.0

#: Seconds after which a connection is cut whose socket has not timed out by itself.
_GRACE_SECONDS: Final = 0.5

#: Bytes of an answer that are read.
_READ: Final = 262_144

#: What may go wrong on the way to an answer.
SILENCE: Final = (OSError, http.client.HTTPException)

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers in lower case, the cookies set, and the beginning of the body.

    `body` is None where the answer has none by its nature: HEAD. `source` and `peer` are the ends of the connection.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()
    body: bytes | None = b""
    source: str = ""
    peer: str = ""

    @property
    def text(self) -> str:
        """The body as text."""
        return (self.body or b"").decode("utf-8", "replace")

    @property
    def kept(self) -> str:
        """The header by which a cache says that it had this answer already, or nothing."""
        for name, value in self.headers.items():
            if (name == "age" and value.strip() not in ("", "0")) or ("cache" in name and "hit" in value.lower()):
                return f"{name}: {value}"
        return ""


@dataclass(frozen=True)
class Site:
    """Where visitors come, and how to get there: `connect` leads elsewhere than the name does."""

    scheme: str
    host: str
    port: int
    connect: tuple[str, int] | None = None
    authorities: str = ""
    own_address: str = field(
        default_factory=lambda: f"127.{random.randint(64, 126)}.{random.randint(1, 254)}.{random.randint(1, 254)}"  # noqa: S311 # nosec B311
    )

    @property
    def authority(self) -> str:
        """The host, and the port unless it is the scheme's own: what a browser sends as Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The beginning of its addresses."""
        return f"{self.scheme}://{self.authority}"

    @property
    def secure(self) -> bool:
        """Whether visitors come by https."""
        return self.scheme == "https"

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Whom to trust."""
        try:
            return ssl.create_default_context(cafile=self.authorities or None)
        except OSError as error:
            raise SettingsError(f"ca_file: {self.authorities!r} cannot be read: {error}") from None

    def at(self, scheme: str, host: str, port: int | None = None) -> Site:
        """Another address of the same site, on the same way."""
        return replace(self, scheme=scheme, host=host, port=port or _DEFAULT_PORTS[scheme])

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> Answer:
        """One request and its answer. Raises one of SILENCE where none comes in time."""
        if seconds > ANSWER_SECONDS:
            # An upload of minutes brings no place.
            ENDING.rest()
        else:
            ENDING.ask()
        with self.opened(method, target, headers or {}, body, seconds=seconds) as (response, ends, _):
            cookies = tuple(value for name, value in response.getheaders() if name.lower() == "set-cookie")
            found = {name.lower(): value for name, value in response.getheaders()}
            content = None if method == "HEAD" else response.read(_READ)
            return Answer(response.status, found, cookies, content, *ends)

    @contextmanager
    def opened(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> Iterator[tuple[http.client.HTTPResponse, tuple[str, str], socket.socket]]:
        """An answer that is still to be read, the ends of its connection, and the connection itself.

        It is cut after so many seconds.
        """
        with self._connected(seconds) as link:
            if not target.isascii():
                raise http.client.InvalidURL(f"{target!r} is not percent-encoded")
            sent = {"Host": self.authority, "User-Agent": "waitroom doctor", "Connection": "close", **headers}
            link.request(method, target, body, sent)
            held = link.sock
            ends = (held.getsockname()[0], held.getpeername()[0])
            response = link.getresponse()
            try:
                yield response, ends, held
            finally:
                response.close()

    def declared(self, method: str, target: str, headers: Mapping[str, str], size: int, *, seconds: float) -> int:
        """The status that is answered to a body of that size by its length alone, 0 where the body is waited for.

        Raises one of SILENCE, ConnectionError among them where the other side hangs up.
        """
        with self._connected(seconds) as link:
            link.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            lines = {"Host": self.authority, "User-Agent": "waitroom doctor", **headers, "Content-Length": str(size)}
            for name, value in lines.items():
                link.putheader(name, value)
            link.endheaders()
            try:
                return link.getresponse().status
            except TimeoutError:
                return 0

    @contextmanager
    def _connected(self, seconds: float) -> Iterator[http.client.HTTPConnection]:
        host, port = self.connect or (self.host, self.port)
        link = http.client.HTTPConnection(self.host, self.port, timeout=seconds)
        began = time.monotonic()
        held = self._socket(host, port, min(seconds, ANSWER_SECONDS))
        if self.secure:
            held = self.tls.wrap_socket(held, server_hostname=self.host, do_handshake_on_connect=False)
        # A time-out of the socket begins anew with each byte: this one does not.
        cut = threading.Timer(max(seconds - (time.monotonic() - began), 0.1) + _GRACE_SECONDS, _cut, [held])
        cut.daemon = True
        cut.start()
        try:
            held.settimeout(seconds)
            if isinstance(held, ssl.SSLSocket):
                held.do_handshake()
            link.sock = held
            yield link
        finally:
            cut.cancel()
            held.close()

    def _socket(self, host: str, port: int, seconds: float) -> socket.socket:
        problem: OSError = OSError(f"{host} has no address")
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            # A part of the name is empty or too long.
            raise socket.gaierror(socket.EAI_NONAME, "it is no name") from None
        for family, kind, protocol, _, address in addresses:
            sources = [(self.own_address, 0), None] if str(address[0]).startswith("127.") else [None]
            for source in sources:
                made = socket.socket(family, kind, protocol)
                made.settimeout(seconds)
                try:
                    if source:
                        made.bind(source)
                    made.connect(address)
                except OSError as error:
                    made.close()
                    problem = error
                else:
                    return made
        raise problem


def parse(url: str, *, connect: str = "", authorities: str = "") -> tuple[Site, str]:
    """The site of an address and what to ask for there; raises SettingsError for what is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"{url!r} is not an address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or port == 0:
        raise SettingsError(f"{url!r} is not an address like https://shop.example/checkout")
    if not re.fullmatch(r"[!-~]*", url):
        raise SettingsError(f"{url!r} has characters that must be percent-encoded")
    site = Site(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], _elsewhere(connect), authorities)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if authorities:
        _ = site.tls
    return site, target


def _elsewhere(connect: str) -> tuple[str, int] | None:
    if not connect:
        return None
    host, colon, port = connect.rpartition(":")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise SettingsError(f"connect: must be HOST:PORT, got {connect!r}")
    return host.strip("[]"), int(port)


def _cut(link: socket.socket) -> None:
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
