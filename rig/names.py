"""A name server that answers from a table, as a container engine's does."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable, Sequence
from typing import Final, Self

from dnslib import QTYPE, RCODE, RR, A, DNSError, DNSRecord

#: Seconds between two looks at whether it shall end.
_LOOK_SECONDS: Final = 0.05

Table = Callable[[str], Sequence[str]]


class Names:
    """A name server on a loopback port (UDP): answers A questions from a table of names, which may change.

    A name that is not in the table, or has no address, does not exist.
    """

    def __init__(self, table: Table) -> None:
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


def _answer(datagram: bytes, table: Table) -> bytes:
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
