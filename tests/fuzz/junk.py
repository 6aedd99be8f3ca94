"""What comes over a socket that is no request, or only half of one, and a client that sends it and leaves somehow."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from tests.deploy.corpus import everything

#: How a client goes: after an answer or silence, at once, by a reset, or with its sending half closed first.
Ending = Literal["patient", "gone", "reset", "half closed"]

ENDINGS: Final[tuple[Ending, ...]] = ("patient", "gone", "reset", "half closed")

#: Seconds without a word after which a patient client goes; it has nothing to say that deserves an answer.
_SILENCE_SECONDS: Final = 0.2

#: Connections at a time.
_AT_ONCE: Final = 64

_HOST: Final = b"Host: shop.example.com\r\n"
_ENTER: Final = b"POST /v1/rooms/shop/enter HTTP/1.1\r\n" + _HOST
_STATUS: Final = b"GET /v1/rooms/shop/status HTTP/1.1\r\n" + _HOST + b"Cookie: waitroom_ticket_shop=k1.x\r\n\r\n"
_GATE: Final = b"GET /gate/shop HTTP/1.1\r\n" + _HOST + b"X-Waitroom-Pass: a.b.c\r\n\r\n"
_WAIT: Final = b"GET /wait/shop?return=/x HTTP/1.1\r\n" + _HOST + b"Accept: text/html\r\n\r\n"
_JSON: Final = _ENTER + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_CHUNKED: Final = _ENTER + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WEBSOCKET: Final = (
    b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
    b"\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
)
_SIZES: Final = (b"-2", b"0x2", b"2;" + b"x" * 9000, b"g", b"", b" 2", b"2 ")
VALID: Final = (_STATUS, _GATE, _WAIT, _JSON, _CHUNKED + b"2\r\n{}\r\n0\r\n\r\n")


def _client_hello() -> bytes:
    """What a browser says first that takes the port for one of TLS."""
    inbound, outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(inbound, outbound, server_hostname="shop.example.com").do_handshake()
    return outbound.read()


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


#: Every input that once failed, and those that are known to have failed elsewhere.
KNOWN: Final[tuple[bytes, ...]] = (
    b"",
    b"\r\n",
    b"\0",
    b"\0" * 70_000,
    b"\r\n" * 40_000,
    b"\n" * 1_000,
    b"GET",
    b"GET /\r\n",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\n\r",
    _client_hello(),
    _client_hello() * 3,
    b"\x16\x03\x01\xff\xff" + b"\xff" * 9000,
    _PREFACE,
    _PREFACE + _frame(4, 0, 0) + _frame(1, 5, 1, b"\x82\x84\x86\x41\x01a") * 50,
    _PREFACE + _frame(4, 0, 0) + (_frame(1, 4, 1, b"\x82") + _frame(3, 0, 1, b"\0" * 4)) * 99,
    _GATE.replace(
        b"\r\n\r\n", b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n"
    ),
    _STATUS.replace(b"\r\n\r\n", _WEBSOCKET + b"\r\n\r\n\x81\xfe\xff\xff"),
    _STATUS.replace(b"Cookie: ", b"Cookie: " + b"a=b; " * 200_000),
    _STATUS.replace(b"Cookie", b"X" * 1_000_000),
    _STATUS.replace(b"\r\n\r\n", b"\r\n" + b"X-Y: z\r\n" * 20_000 + b"\r\n"),
    b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    _ENTER + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    _ENTER + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + _GATE,
    *(
        _CHUNKED + size + b"\r\n{}\r\n0\r\n\r\n"
        for size in (b"-2", b"0x2", b"2;" + b"x" * 9000, b"g", b"", b" 2", b"2 ")
    ),
    _CHUNKED + b"f" * 17 + b"\r\n{}",
    _CHUNKED + b"2\r\n{}\r\n0\r\nX: y\r\nContent-Length: 5\r\n\r\n" + _GATE,
    _CHUNKED + b"1\r\n{\r\n" * 5_000,
    _JSON.replace(b": 2", b": " + b"9" * 30),
    _JSON.replace(b": 2", b": 99999"),
    _JSON + b"junk" + _JSON,
    _STATUS * 40 + b"junk\r\n\r\n" + _STATUS * 40,
    _GATE * 200,
    (_GATE + b"\r\n\r\n") * 20,
    _STATUS.replace(b"k1.x", b"k1." + bytes(range(128, 256))),
    _GATE.replace(b"a.b.c", b"\0\x7f\x80\xff"),
    b"GET http://[::1:%25]/\xff HTTP/1.1\r\n\r\n",
    b"GET //[/gate/shop HTTP/1.1\r\n" + _HOST + b"\r\n",
)


@dataclass(frozen=True)
class Junk:
    """Bytes, how many go at a time (0: all at once), and how the client goes."""

    data: bytes
    ending: Ending
    pieces_of: int = 0


def gathered(seed: int, number: int) -> list[Junk]:
    """All that is known, and so many more: random bytes, cut and changed requests, odd ones of the nginx corpus."""
    chance = random.Random(seed)
    odd = everything()
    makers: Sequence[Callable[[], bytes]] = (
        lambda: chance.randbytes(chance.choice((1, 3, 100, 4_000, 60_000))),
        lambda: _cut(chance, chance.choice(VALID)),
        lambda: _changed(chance, chance.choice(VALID)),
        lambda: _changed(chance, b"".join(chance.choices((*VALID, *KNOWN[:12]), k=3))),
        lambda: chance.choice(odd),
        lambda: _changed(chance, chance.choice(odd)),
    )
    made = [Junk(data, chance.choice(ENDINGS)) for data in KNOWN]
    for index in range(number):
        data = makers[index % len(makers)]()
        dripped = chance.choice((0, 0, 0, 1, 7)) if len(data) < 300 else 0
        made.append(Junk(data, chance.choice(ENDINGS), dripped))
    return made


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def _changed(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at:at] = chance.choice((b"\0", b"\r\n", b"\n", b" ", b":", b"\t", b"%", b"\xff", b"9" * 40))
            case 2:
                del changed[at : at + chance.randrange(1, 9)]
            case _:
                changed[at:at] = changed[: chance.randrange(200)]
    return bytes(changed)


async def thrown(port: int, junk: Iterable[Junk]) -> None:
    """Send each over a connection of its own, many at a time."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def throw(one: Junk) -> None:
        async with gate:
            # A server that has had enough hangs up, and may do so at any moment.
            with suppress(OSError):
                await _throw(port, one)

    await asyncio.gather(*map(throw, junk))


async def _throw(port: int, junk: Junk) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        step = junk.pieces_of or len(junk.data) or 1
        for at in range(0, len(junk.data), step):
            writer.write(junk.data[at : at + step])
            # Who hears nothing may not take more either; then the rest is not sent.
            await asyncio.wait_for(writer.drain(), 2)
            if junk.pieces_of:
                await asyncio.sleep(0.001)
        if junk.ending == "half closed":
            writer.write_eof()
        if junk.ending in ("patient", "half closed"):
            while await asyncio.wait_for(reader.read(1 << 16), _SILENCE_SECONDS):
                pass
        if junk.ending == "reset":
            _reset(writer)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Let the kernel end the connection by a reset instead of in order."""
    link: socket.socket = writer.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
