"""What is sent at a gate to get past it, a reading of addresses as the laxest origin would read them, and an origin
that counts every request as it arrived, byte by byte."""

from __future__ import annotations

import asyncio
import posixpath
import re
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final
from urllib.parse import unquote

from tests.accepting import accepting

#: Seconds to wait for the first byte of an answer, and for another after that.
_PATIENCE_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 0.3

#: Connections at a time.
_AT_ONCE: Final = 64

#: Ways to write an address. RELIABILITY's list, the same tricks played from an open part, and exempt look-alikes.
_ADDRESSES: Final = r"""
/ /x /shop /shop/ /shop/x //shop/x ///shop/x /./shop/x /a/../shop/x /a/%2e%2e/shop/x /a/..%2fshop/x /a%2f..%2fshop/x
/%73hop/x /%2573hop/x /shop%2fx /shop%252fx /a/..;/shop/x /a;/../shop/x /SHOP/x /Shop /shop;/x /shop;v=1/x /;/shop/x
/a/..%5cshop/x /a/..\shop/x \shop /\shop/x /%5cshop/x /shop\x /shop/../a /a?/../shop /a%3f/../shop/x /a/%3f/../../shop
/shop/%zz /shop/x#f /a#/../shop/x /a%23/../shop/x /shop. /shop.. /.shop /shop/. /shop/.. /shop%20 /%20shop /shop%09/
/shop%0a /shop/x%0d%0aX-Injected:%20yes /%0d%0aX-Waitroom-Pass:%20x /shop/x%0aGET%20/ /shop/x/..%00/ /shop%00 /%00/shop
/a/%00/../shop /a/.%00./shop /%EF%BC%8Fshop %EF%BC%8Fshop /%EF%BD%93hop/x /%ef%bd%93%ef%bd%88%ef%bd%8f%ef%bd%90
/sh%C5%8Fp /%C0%AFshop /%c0%ae%c0%ae/shop /a/%E0%80%AF../shop /%u0073hop /&#115;hop /shop/x.css /shop/x;.css
/shop/x.css%3f /shop/x.png/../y /x.css/../shop/y /static/../shop/x /static/%2e%2e/shop/x /index.php/shop/x
/app/shop/x /a/b/../../shop/x /a/..././shop/x /a/.../shop /..;/shop/x /%2e/shop/x /%2e%2e%2fshop /..%c0%afshop
/a/.%2e/shop/x /a/%2e./shop/x /a/%252e%252e/shop/x /a/%25%32%65%25%32%65/shop/x /a/..%252fshop/x /shop/x/%2e%2e/y
http://evil.example/shop/x https://evil.example/shop/x http://shop.example.com/shop/x http://evil.example http://a@b/shop
HTTP://evil.example/shop/x ftp://evil.example/shop //evil.example/shop ://shop * shop ?shop /?shop /?/shop /?a=/../shop
/outlet/../shop/x /outlet/%2e%2e/shop/x /outlet/..%2fshop/x /outlet%2f..%2fshop /outlet;/../shop/x /outlet/..;/shop/x
/outlet/..%5cshop /outlet/%252e%252e/shop /outlet//../shop/x /outlet/.%2e/shop /outlet/x?/../shop
/outlet/x%3f/../../shop /outletshop /OUTLET/../shop /outlet./../shop /outlet%20/../shop /outlet%00/../shop
/outlet/..%00/shop /outlet/\../shop
/outlet/%EF%BC%8E%EF%BC%8E/shop /outlet/..%EF%BC%8Fshop /outlet#/../shop /outlet/.. /outlet/%2e%2e /outlet..
/gate/shop /gate/outlet /admin /admin/rooms /metrics /readyz /livez /openapi.json /_waitroom/gate /_waitroom/open
/_waitroom/shop-only /_waitroom/x /@waitroom_to_page /%40waitroom_gate_failed /v1 /wait /v1/../admin/rooms
/v1/%2e%2e/admin/rooms /v1/..%2fadmin/rooms /admin/../v1/../admin /wait/../gate/shop /wait/..;/admin /v1//../metrics
/v1/rooms/../../admin /V1/rooms/shop /wait%2f..%2fadmin /x/../gate/shop /v1/..%5cadmin /v1/..%2fshop/x /wait/../shop/x
/wait/_assets/../../shop/x /wait/_assets/%2e%2e/%2e%2e/shop/x /v1/rooms/shop/events/../../../../shop/x
/favicon.ico /.well-known/acme-challenge/x /robots.txt/ /robots.txt/x /robots.txt/../shop/x /robots.txt%2f
/robots.txt%00 /robots.txt;x /robots.txt%3bx /ROBOTS.TXT /robots%2etxt/ /robots.txt%20 /robots.txt. /shop/robots.txt
/robots.txt#/../shop /robots.txt%23 /robots.txt%0a /robots.txt%0d%0aX-Injected:%20yes /.robots.txt
/robots.txt.css /robots.txt\ /x/robots.txt
"""
ADDRESSES: Final[tuple[bytes, ...]] = (
    *(address.encode() for address in _ADDRESSES.split()),
    b"/shop\t/x",
    b"/shop /x",
    b"/\xffshop",
    b"/\xef\xbc\x8fshop",
    b"/shop\x00/x",
    b"/" + b"x" * 3000 + b"/../shop/x",
    b"/" + b"a/../" * 300 + b"shop/x",
    b"/" + b"x" * 16_000,
    b"/?" + b"x" * 16_000,
)

#: An exempt address, written in ways that nginx takes for it. Only itself may reach the origin, bare.
EXEMPT: Final = b"/robots.txt"
EXEMPT_SPELLINGS: Final = (
    b"/robots.txt",
    b"//robots.txt",
    b"/./robots.txt",
    b"/%72obots.txt",
    b"/robots%2etxt",
    b"/shop/../robots.txt",
    b"/shop/x/%2e%2e/%2e%2e/robots.txt",
    b"/shop/x/..%2f..%2frobots.txt",
    b"/shop%2f..%2frobots.txt",
    b"/robots.txt?/shop/x",
    b"/robots.txt?path=/shop/x&_method=DELETE",
    b"http://evil.example/shop/../robots.txt",
    b"/robots.txt#/shop/x",
)

#: Addresses that the room protects and that reach the origin as they are once the visitor has a pass.
HARMLESS: Final = (
    b"/",
    b"/shop",
    b"/shop/x",
    b"/shop/x?a=1&b=%2F",
    b"//shop/x",
    b"/shop/../a",
    b"/a/%2e%2e/shop/x",
    b"/a/..%2fshop/x",
    b"/%73hop/x",
    b"/shop%2fx",
    b"/SHOP/x",
    b"/shop;v=1/x",
    b"/shop%20",
    b"/shop/x.css",
    b"/caf%C3%A9",
    b"/shop/x%0d%0aX-Injected:%20yes",
    b"/a?/../shop",
    b"/index.php/shop/x",
    b"/shop/" + b"x" * 3000,
)

_BROWSER: Final = b"Accept: text/html,*/*;q=0.8\r\n"
_SMUGGLED: Final = b"GET /shop/smuggled HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"

#: Headers by which somebody may hope to be taken for somebody else, or an address for another.
SPOOFS: Final = tuple(
    f"{name}: {value}\r\n".encode()
    for value, names in {
        "/robots.txt": "X-Original-URI X-Original-URL X-Rewrite-URL X-Forwarded-Uri X-Forwarded-Path "
        "X-Forwarded-Prefix X_Original_URI X.Original.URI X-Request-URI Base-Url Request-Uri",
        "OPTIONS": "X-HTTP-Method-Override X-HTTP-Method X-Method-Override X-Original-Method X_HTTP_Method_Override",
        "127.0.0.1": "X-Forwarded-For X_Forwarded_For X.Forwarded.For X-Real-IP X_Real_IP Client-IP True-Client-IP "
        "CF-Connecting-IP X-Client-IP X-Cluster-Client-IP X-Originating-IP X-Remote-Addr X-Waitroom-Trusted",
        "open": "X-Room X-Waitroom-Room X_Waitroom_Room X.Waitroom.Room X-Waitroom-Gate X-Waitroom-Status "
        "X-Waitroom-Lock X-Waitroom-Open X-Waitroom-Client Waitroom-Room X-Accel-Redirect X-Auth-Request X-Auth-Status",
        "evil.example": "X-Forwarded-Host X_Forwarded_Host X-Host X-Forwarded-Server",
        "204": "Status X-Upstream-Status",
        "for=127.0.0.1;host=shop.example.com;proto=https": "Forwarded",
        "Googlebot/2.1 (+http://www.google.com/bot.html)": "User-Agent",
        "kube-probe/1.30": "User-Agent",
        "ELB-HealthChecker/2.0": "User-Agent",
        "prefetch": "Purpose Sec-Purpose",
        "none": "Sec-Fetch-Site",
        "no-cors": "Sec-Fetch-Mode",
        "bytes=0-0": "Range If-Range",
        "*": "If-None-Match If-Match",
        "only-if-cached": "Cache-Control",
        "close, X-Waitroom-Pass": "Connection",
        "close, Cookie": "Connection",
        "close, Host, X-Forwarded-For": "Connection",
        "Basic YTpi": "Authorization",
        "Bearer x": "Authorization",
        "websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13": "Upgrade",
        "h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__": "Upgrade",
        "100-continue": "Expect",
        "gzip": "Content-Encoding",
        "trailers": "TE",
    }.items()
    for name in names.split()
)

#: Passes that are none.
_FORGED: Final = (
    "x",
    "a.b.c.d",
    "eyJhbGciOiJub25lIn0.eyJyb29tIjoic2hvcCIsInN1YiI6InYiLCJleHAiOjQxMDI0NDQ4MDB9.",
    "eyJhbGciOiJIUzI1NiJ9.eyJyb29tIjoic2hvcCIsInN1YiI6InYiLCJleHAiOjQxMDI0NDQ4MDB9.AAAA",
    '"quoted"',
    "%00",
    "",
    "x" * 3000,
)
FORGED: Final = (
    *(f"X-Waitroom-Pass: {text}\r\n".encode() for text in _FORGED),
    *(f"X_Waitroom_Pass: {text}\r\n".encode() for text in _FORGED),
    *(f"Cookie: waitroom_pass_shop={text}\r\n".encode() for text in _FORGED),
    b"Cookie: waitroom_pass_shop=x; waitroom_pass_shop=y\r\n",
    b"Cookie: a=1\r\nCookie: waitroom_pass_shop=x\r\n",
    b"Cookie: __Host-waitroom_pass_shop=x\r\n",
    b"Cookie: =; ;;waitroom_pass_shop\r\n",
    b"Cookie: waitroom_ticket_shop=x\r\n",
    b"X-Waitroom-Pass: x\r\nX-Waitroom-Pass: y\r\n",
)


def one(address: bytes, *, method: bytes = b"GET", headers: bytes = b"", body: bytes = b"") -> bytes:
    """A request for that address, after which the connection ends."""
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    head = b"%s %s HTTP/1.1\r\nHost: shop.example.com\r\n%s%s" % (method, address, headers, length)
    return head + (b"" if b"\nConnection:" in head else b"Connection: close\r\n") + b"\r\n" + body


def everything() -> list[bytes]:
    """The whole corpus: each address by several methods and clients, each header, each way to write a request."""
    return [
        *(one(address, headers=_BROWSER) for address in (*ADDRESSES, *HARMLESS)),
        *(one(address) for address in ADDRESSES),
        *(one(address, method=b"POST", body=b"a=1") for address in ADDRESSES),
        *(one(address, method=method) for method in _METHODS for address in (b"/shop/x", b"/")),
        *(one(address, method=method, body=b"x=1") for address in EXEMPT_SPELLINGS for method in (b"POST", b"OPTIONS")),
        *(one(b"/shop/x", headers=spoof) for spoof in (*SPOOFS, *FORGED)),
        *(one(b"/shop/x", method=b"POST", headers=spoof, body=b"a=1") for spoof in (*SPOOFS, *FORGED)),
        *(one(b"/shop/x", headers=b"".join(pair)) for pair in pairwise(SPOOFS)),
        *_written_oddly(),
        *(
            smuggling
            for host in (b"/shop/x", b"/about", b"/v1/rooms/shop/enter", EXEMPT)
            for smuggling in _smuggling(host)
        ),
    ]


_METHODS: Final = (
    *(b"HEAD", b"OPTIONS", b"PUT", b"PATCH", b"DELETE", b"TRACE", b"CONNECT", b"PROPFIND", b"FOO", b"get", b"GeT"),
    *(b"G\tET", b"G", b"GETGETGETGETGETGETGETGETGETGET", b"PRI", b"SEARCH", b"M-SEARCH", b"QUERY", b"PURGE", b""),
)


def _written_oddly() -> Iterable[bytes]:
    """Requests whose form is out of the ordinary."""
    host = b"Host: shop.example.com\r\n"
    end = b"Connection: close\r\n\r\n"
    yield b"GET /shop/x\r\n"  # HTTP/0.9
    yield b"GET /shop/x \r\n"
    yield b"GET /shop/x HTTP/1.0\r\n\r\n"
    yield b"GET /shop/x HTTP/1.0\r\n" + host + b"Connection: keep-alive\r\n\r\n"
    for version in b"HTTP/1.2 HTTP/2.0 HTTP/9.9 HTTP/1 HTTP/1.1	x http/1.1 HTTP/01.1 XTTP/1.1".split(b" "):
        yield b"GET /shop/x " + version + b"\r\n" + host + end
    for hosts in (
        b"",
        b"Host:\r\n",
        host + b"Host: evil.example\r\n",
        host + host,
        b"Host: evil.example\r\n",
        b"Host: shop.example.com@evil.example\r\n",
        b"Host: shop.example.com:80:80\r\n",
        b"Host: shop.example.com/../x\r\n",
        b"Host: shop.example.com.\r\n",
        b"Host: SHOP.example.com\r\n",
        b"Host: outlet.example.com\r\n",
        b"Host: [::1]\r\n",
        b"Host: a b\r\n",
        b"Host: a\x00b\r\n",
        b"Host: " + b"a" * 5000 + b"\r\n",
        b"Host : evil.example\r\n",
        b" Host: evil.example\r\n" + host,
    ):
        yield b"GET /shop/x HTTP/1.1\r\n" + hosts + end
    for odd in (
        b"X-Folded: a\r\n b\r\n",
        b"X-Folded: a\r\n\tX-Waitroom-Pass: b\r\n",
        b"X-Nul: a\x00b\r\n",
        b"X-Nul\x00: a\r\n",
        b"X-Control: a\x01\x7fb\r\n",
        b"X-Blank : a\r\n",
        b": no name\r\n",
        b"no colon\r\n",
        b"X-Bare: a\rX-Waitroom-Pass: b\r\n",
        b"X-Line: a\nX-Waitroom-Pass: b\n",
        b"X-Latin: \xe9\r\n",
        b"Accept: */*;q=nan\r\n",
        b"Accept: text/html;q=" + b"9" * 4000 + b"\r\n",
        b"Accept: " + b"text/html;" * 400 + b"\r\n",
        b"Accept: " + b"/json;" * 600 + b"q=0.1\r\n",
        b"X-Long: " + b"x" * 9000 + b"\r\n",
        b"X-Long: " + b"x" * 40_000 + b"\r\n",
        b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(500)),
        b"Cookie: " + b"a=1; " * 1500 + b"\r\n",
        b"Content-Length: 3\r\nExpect: 100-continue\r\n",
        b"Content-Length: 99999999999\r\n",
    ):
        yield b"GET /shop/x HTTP/1.1\r\n" + host + odd + end
    yield b"\r\n\r\nGET /shop/x HTTP/1.1\r\n" + host + end
    yield b"GET  /shop/x  HTTP/1.1\r\n" + host + end
    yield b"GET\t/shop/x\tHTTP/1.1\r\n" + host + end
    yield b"GET /shop/x HTTP/1.1\n" + b"Host: a\nConnection: close\n\n"
    yield b"GET /shop/x HTTP/1.1\r" + b"Host: a\rConnection: close\r\r"
    yield b"GET /shop/x HTTP/1.1\r\nHost: a\x0b\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    yield b"\x16\x03\x01\x00\x05hello"
    # One connection, several requests: what one of them may do the next may not.
    yield one(b"/v1/rooms/shop").replace(b"Connection: close\r\n", b"") + one(b"/shop/x")
    yield one(EXEMPT).replace(b"Connection: close\r\n", b"") + one(b"/shop/x")
    yield one(b"/about").replace(b"Connection: close\r\n", b"") + one(b"/shop/x")
    yield one(b"/shop/x").replace(b"Connection: close\r\n", b"") * 5 + one(b"/shop/y")
    yield b"POST /shop/x HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n" + end + b"3\r\na=1\r\n0\r\n\r\n"
    yield b"POST /shop/x HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n" + end + b"ffffffffffffffffff\r\n"
    yield b"POST /shop/x HTTP/1.1\r\n" + host + b"Content-Length: 10\r\n" + end + b"cut"


def _smuggling(address: bytes) -> Iterable[bytes]:
    """Two lengths for one body, in which another request hides."""
    body = b"0\r\n\r\n" + _SMUGGLED
    length, real = b"Content-Length: %d\r\n" % len(body), b"Content-Length: 5\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    for method in (b"POST", b"GET"):
        for framing in (
            length + chunked,
            chunked + length,
            real + chunked,
            length + length,
            real + length,
            length + real,
            length + b"Transfer-Encoding: xchunked\r\n",
            length + b"Transfer-Encoding: chunked, identity\r\n",
            length + b"Transfer-Encoding: identity, chunked\r\n",
            length + b"Transfer-Encoding:\tchunked\r\n",
            length + b"Transfer-Encoding : chunked\r\n",
            length + b"Transfer-Encoding:\x0bchunked\r\n",
            length + b"X: y\r\nTransfer-Encoding\r\n : chunked\r\n",
            length + b"Transfer_Encoding: chunked\r\n",
            length + b"Transfer-Encoding: CHUNKED\r\n",
            chunked + chunked + length,
            b"Content-Length: +5\r\n",
            b"Content-Length: 5, %d\r\n" % len(body),
            b"Content-Length: -1\r\n",
            b"Content-Length: 0x5\r\n",
            b"Content-Length: 5 \r\n",
            b"Content-Length : 5\r\n" + length,
            b"Content_Length: 5\r\n" + length,
            b"Content-Length: 0\r\n",
            b"Content-Length: 5\r\n",
            b"",
            chunked,
        ):
            yield b"%s %s HTTP/1.1\r\nHost: shop.example.com\r\n%s\r\n%s" % (method, address, framing, body)
    # A chunk whose size two parsers may read differently.
    for size in (b"0;x", b"000", b"0 ", b"0\n\n", b"0\r\nX: y", b"-1", b"0x5", b"0\x0b"):
        yield (
            b"POST %s HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n\r\n%s%s"
            % (address, size + b"\r\n\r\n", _SMUGGLED)
        )


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


def _read_once(path: str) -> Iterable[str]:
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


@dataclass
class Arrived:
    """A request as it came to the counting origin."""

    method: bytes
    target: bytes
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of that header."""
        return [value for key, value in self.headers if key == name]


@dataclass
class Counter:
    """An origin on `port` that notes every request and answers 200; `ambiguous` are those that others may read
    differently."""

    port: int = 0
    requests: list[Arrived] = field(default_factory=list)
    ambiguous: list[Arrived] = field(default_factory=list)
    connections: int = 0

    def targets(self) -> list[bytes]:
        """The addresses asked for, in order."""
        return [request.target for request in self.requests]


#: What stands in the counting origin's answers and nowhere else.
MARK: Final = b"here is the origin"


def _admitted(request: Arrived) -> bytes:
    body = b"" if request.method == b"HEAD" else MARK
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(MARK), body)


@asynccontextmanager
async def counting(answer: Callable[[Arrived], bytes] = _admitted) -> AsyncIterator[Counter]:
    """Run a counting origin, or whatever else answers so."""
    counter = Counter()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counter.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await _read_request(reader)
                counter.requests.append(request)
                if _is_ambiguous(request):
                    counter.ambiguous.append(request)
                writer.write(answer(request))

    async with accepting(serve, limit=1 << 20, backlog=2048) as counter.port:
        yield counter


async def _read_request(reader: asyncio.StreamReader) -> Arrived:
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    method, _, rest = head[0].partition(b" ")
    pairs = [line.decode("latin-1").partition(":") for line in head[1:-2]]
    request = Arrived(
        method, rest.rpartition(b" ")[0], [(name.lower(), value.strip()) for name, _, value in pairs], b""
    )
    request.body = await reader.readexactly(sum(map(int, request.all("content-length")[:1])))
    return request


def _is_ambiguous(request: Arrived) -> bool:
    lengths = request.all("content-length") + request.all("transfer-encoding")
    return len(lengths) > 1 or len(request.all("host")) != 1 or bool(request.all("x-waitroom-pass"))


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
        while True:
            more = await asyncio.wait_for(reader.read(1 << 16), _SILENCE_SECONDS if said else _PATIENCE_SECONDS)
            if not more:
                break
            said += more
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return said
