"""What is sent at a gate to get past it, and a reading of addresses as the laxest origin would read them."""

from __future__ import annotations

import asyncio
import posixpath
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

#: Seconds to wait for the first byte of an answer, and for another after that.
_PATIENCE_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 0.3

#: Connections at a time.
_AT_ONCE: Final = 64

_HOST: Final = "Host: shop.example.com\r\n"
FORM: Final = b"_method=DELETE&_path=/checkout"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_SMUGGLED: Final = f"GET /shop/smuggled HTTP/1.1\r\n{_HOST}\r\n".encode()

#: The words in braces.
_WORDS: Final = {
    "host": _HOST,
    "end": "Connection: close\r\n\r\n",
    "length": f"Content-Length: {len(_SMUGGLED) + 5}\r\n",
    "chunked": CHUNKED.decode(),
    "many": "".join(f"X-{n}: {n}\r\n" for n in range(500)),
    "form": FORM.decode(),
    "chunk": f"{len(FORM):x}\r\n{FORM.decode()}\r\n",
}


def _read_table() -> dict[str, Any]:
    text = (Path(__file__).parent / "corpus.toml").read_text(encoding="ascii")
    for word, meaning in _WORDS.items():
        text = text.replace(f"{{{word}}}", meaning.replace("\r\n", "\\r\\n"))
    return tomllib.loads(re.sub(r"\{([^{}]+)\*(\d+)\}", lambda match: match[1] * int(match[2]), text))


TABLE: Final = _read_table()


def items(given: str | list[str]) -> tuple[bytes, ...]:
    """A list of the table: an array or words."""
    return tuple(item.encode("latin-1") for item in (given.split() if isinstance(given, str) else given))


ADDRESSES: Final = items(TABLE["addresses"]) + items(TABLE["odd_addresses"])
EXEMPT: Final = b"/robots.txt"
EXEMPT_SPELLINGS: Final = items(TABLE["exempt_spellings"])
HARMLESS: Final = items(TABLE["harmless"])
SPOOFS: Final = tuple(f"{name}: {value}\r\n".encode() for value, names in TABLE["spoofs"] for name in names.split())
FORGED: Final = (
    *(start + b"%s\r\n" % text for start in items(TABLE["carriers"]) for text in items(TABLE["forged"])),
    *items(TABLE["forged_headers"]),
)


def one(address: bytes, *, method: bytes = b"GET", headers: bytes = b"", body: bytes = b"") -> bytes:
    """A request for that address, after which the connection ends."""
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    head = b"%s %s HTTP/1.1\r\nHost: shop.example.com\r\n%s%s" % (method, address, headers, length)
    return head + (b"" if b"\nConnection:" in head else b"Connection: close\r\n") + b"\r\n" + body


def everything() -> list[bytes]:
    """The whole corpus: each address by several methods and clients, each header, each way to write a request."""
    browser = b"Accept: text/html,*/*;q=0.8\r\n"
    return [
        *(one(address, headers=browser) for address in (*ADDRESSES, *HARMLESS)),
        *(one(address) for address in ADDRESSES),
        *(one(address, method=b"POST", body=b"a=1") for address in ADDRESSES),
        *(one(address, method=method) for method in items(TABLE["methods"]) for address in (b"/shop/x", b"/")),
        *(one(address, method=method, body=b"x=1") for address in EXEMPT_SPELLINGS for method in (b"POST", b"OPTIONS")),
        *(one(b"/shop/x", headers=spoof) for spoof in (*SPOOFS, *FORGED)),
        *(one(b"/shop/x", method=b"POST", headers=spoof, body=b"a=1") for spoof in (*SPOOFS, *FORGED)),
        *(one(b"/shop/x", headers=b"".join(pair)) for pair in pairwise(SPOOFS)),
        *(
            item
            for family in TABLE["oddly"]
            for item in items([family["form"].replace("*", item, 1) for item in family["items"]])
        ),
        *(request for host in (b"/shop/x", b"/about", b"/v1/rooms/shop/enter", EXEMPT) for request in _smuggling(host)),
    ]


def _smuggling(address: bytes) -> Iterator[bytes]:
    """Two lengths for one body, and chunks that two parsers may read differently: another request hides in it."""
    for method in (b"POST", b"GET"):
        for framing in items(TABLE["framings"]):
            yield b"%s %s HTTP/1.1\r\n%s%s\r\n0\r\n\r\n%s" % (method, address, _HOST.encode(), framing, _SMUGGLED)
    for size in items(TABLE["chunk_sizes"]):
        head = b"POST %s HTTP/1.1\r\n%s%s\r\n" % (address, _HOST.encode(), CHUNKED)
        yield head + size + b"\r\n\r\n" + _SMUGGLED


def readings(target: bytes) -> set[str]:
    """Every path that some origin might take a request's address for, in lower case."""
    text = target.decode("latin-1")
    text = re.sub(r"^[a-z]+://[^/?#]*", "", text, flags=re.IGNORECASE) or "/"
    found: set[str] = set()
    fresh = {text.partition("?")[0]}
    while fresh and len(found) < 400:
        found |= fresh
        fresh = {read for path in fresh for read in _read_once(path)} - found
    return {posixpath.normpath("/" + path.lower().lstrip("/")) for path in found}


def _read_once(path: str) -> Iterator[str]:
    yield unquote(path, encoding="utf-8", errors="replace")
    yield path.replace("\\", "/")
    yield re.sub(r";[^/]*", "", path)
    yield unicodedata.normalize("NFKC", path)
    yield re.sub(r"/{2,}", "/", path)
    yield re.sub(r"[\x00-\x20]", "", path)
    yield path.partition("\0")[0]
    yield path.partition("#")[0]
    yield re.sub(r"\.+(?=/|$)", lambda dots: "" if len(dots[0]) > 2 else dots[0], path)
    yield posixpath.normpath(path) if path else ""


async def send_all(port: int, requests: Iterable[bytes]) -> list[bytes]:
    """Send each over a connection of its own, many at a time; what came back, in order."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def send(data: bytes) -> bytes:
        async with gate:
            return await exchange(port, data)

    return await asyncio.gather(*map(send, requests))


async def exchange(port: int, data: bytes) -> bytes:
    """Send these bytes; all that comes back until the connection ends or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""
    with suppress(ConnectionError, TimeoutError):
        writer.write(data)
        while more := await asyncio.wait_for(reader.read(1 << 16), _SILENCE_SECONDS if said else _PATIENCE_SECONDS):
            said += more
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return said
