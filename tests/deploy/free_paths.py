"""What is sent at a free path to reach something else behind it, and what may arrive at the origin of all that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from tests.deploy.corpus import EXEMPT, EXEMPT_SPELLINGS, FORGED, SPOOFS, Arrived, everything, one

#: What a browser sends with an ordinary request, and what of it the origin is told.
BROWSER: Final = {
    "accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "accept-encoding": "gzip, deflate, br",
    "accept-language": "de-CH,de;q=0.7",
    "if-modified-since": "Mon, 30 Nov 2026 10:00:00 GMT",
    "if-none-match": '"abc", W/"d"',
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}
_NOT_TOLD: Final = (
    b"Cookie: a=1\r\nReferer: http://shop.example.com/\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n"
    b"DNT: 1\r\nPriority: u=5\r\nCache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\n"
)
_BROWSERS: Final = "".join(f"{name.title()}: {value}\r\n" for name, value in BROWSER.items()).encode() + _NOT_TOLD

#: Requests of ordinary clients: each reaches the origin.
ORDINARY: Final = (
    one(EXEMPT),
    one(EXEMPT, method=b"HEAD"),
    one(EXEMPT, headers=_BROWSERS),
    one(EXEMPT, method=b"HEAD", headers=_BROWSERS),
    b"GET %s HTTP/1.0\r\nHost: shop.example.com\r\n\r\n" % EXEMPT,
)

#: Headers that some framework takes for the address or the method.
_ADDRESSES: Final = (
    *("X-Original-URL", "X-Original-URI", "X-Original-Path", "X-Rewrite-URL", "X-Rewrite-URI", "X-Forwarded-Uri"),
    *(
        "X-Forwarded-Path",
        "X-Forwarded-Prefix",
        "X-Forwarded-Url",
        "X-Forwarded-Request-Uri",
        "X-Script-Name",
        "Script-Name",
    ),
    *("X-Accel-Redirect", "X-Accel-Internal", "X-Sendfile", "X-Request-Uri", "Request-Uri", "X-Path-Info", "Path-Info"),
    *(
        "X-Envoy-Original-Path",
        "X-Envoy-Decorator-Operation",
        "X-MS-Original-URL",
        "X-Waws-Unencoded-Url",
        "Destination",
    ),
    *(
        "X-Url-Scheme",
        "X-Proxy-Url",
        "Base-Url",
        "Uri",
        "Url",
        "Path",
        "X-Replaced-Path",
        "Content-Location",
        "Redirect-Url",
    ),
)
_METHODS: Final = (
    *(
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Method",
        "Method",
        "Method-Override",
        "HTTP-Method",
    ),
    *("X-Original-Method", "X-Forwarded-Method", "_method", "X-Request-Method", "Access-Control-Request-Method"),
)
_CLAIMS: Final = (
    *[(name, "/checkout") for name in _ADDRESSES],
    *[(name, "DELETE") for name in _METHODS],
    *[(name, "203.0.113.9") for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP")],
    *(("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Port", "1")),
    *(
        ("X-Forwarded-Server", "evil.example"),
        ("Via", "1.1 evil"),
        ("Proxy", "evil.example"),
        ("X-Host", "evil.example"),
    ),
    *(("X-Waitroom-Pass", "x"), ("Authorization", "Basic YTpi"), ("Range", "bytes=0-1"), ("Content-Type", "text/x")),
)


def spellings(name: str) -> list[str]:
    """A header's name and what some origins take for it."""
    mixed = name.replace("-", "_", 1), "_".join(name.rsplit("-", 1)), name.replace("-", ".", 1)
    return list(
        dict.fromkeys((name, name.upper(), name.lower(), name.replace("-", "_"), name.replace("-", "."), *mixed))
    )


def _claims() -> Iterable[bytes]:
    """Each header by itself in each spelling, twice, hidden as hop-by-hop, after an ordinary one, and all at once."""
    for name, value in _CLAIMS:
        line = f"{name}: {value}\r\n".encode()
        yield from (f"{spelt}: {value}\r\n".encode() for spelt in spellings(name))
        yield line + line
        yield f"{name}: {EXEMPT.decode()}\r\n".encode() + line
        yield f"Connection: close, {name}\r\n".encode() + line
        yield f"Accept: a\r\n {name}: {value}\r\n".encode()
        yield f"{name} : {value}\r\n".encode()
    yield "".join(f"{name}: {value}\r\n" for name, value in _CLAIMS).encode()
    yield from (*SPOOFS, *FORGED)
    yield from (b"".join(pair) for pair in pairwise(SPOOFS))


_QUERIES: Final = (
    b"?",
    b"?_method=DELETE",
    b"?/checkout",
    b"?path=/checkout&x=%2F",
    b"?%3f",
    b"??",
    b"%3f",
    b"%3Fx=1",
    b"#?",
)
_TAILS: Final = (
    *(
        b"/",
        b"//",
        b"/.",
        b"/..",
        b"/../checkout",
        b"/..;/checkout",
        b";/../checkout",
        b";x",
        b"%2f..%2fcheckout",
        b"%2f",
    ),
    *(
        b"%00",
        b"%00/../checkout",
        b"%0a",
        b"%0d%0aX-Original-Url:%20/checkout",
        b"%20",
        b"\\..\\checkout",
        b"%5c..%5ccheckout",
    ),
    *(
        b"/%2e%2e/checkout",
        b"/%252e%252e/checkout",
        b"%252f..%252fcheckout",
        b"/checkout",
        b".css",
        b"#/checkout",
        b"#",
        b"+",
    ),
)
_HEADS: Final = (
    *(b"//robots.txt", b"///robots.txt", b"/./robots.txt", b"/checkout/../robots.txt", b"/checkout/..;/robots.txt"),
    *(
        b"/checkout%2f..%2frobots.txt",
        b"/checkout/%2e%2e/robots.txt",
        b"/ROBOTS.TXT",
        b"/%72obots.txt",
        b"/robots%2etxt",
    ),
    *(
        b"robots.txt",
        b"\\robots.txt",
        b"/\\robots.txt",
        b"/%5crobots.txt",
        b"/checkout;/../robots.txt",
        b"/checkout?/../robots.txt",
    ),
    *(b"http://evil.example/robots.txt", b"http://shop.example.com/robots.txt", b"http://shop.example.com//robots.txt"),
    *(
        b"http://shop.example.com/checkout/../robots.txt",
        b"HTTP://shop.example.com/robots.txt?x",
        b"//shop.example.com/robots.txt",
    ),
    *(
        b"http://shop.example.com:80/robots.txt",
        b"http://a@shop.example.com/robots.txt",
        b"https://shop.example.com/robots.txt",
    ),
)
_BODY: Final = b"_method=DELETE&_path=/checkout"
_FORM: Final = b"Content-Type: application/x-www-form-urlencoded\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_VERBS: Final = (
    b"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PROPFIND MOVE COPY QUERY PURGE SEARCH get Get HEAD2".split()
)
_UPGRADES: Final = (
    (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    ),
    b"Upgrade: websocket\r\nConnection: Upgrade, close, Host\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    b"Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
)


def hostile() -> list[bytes]:
    """The gate's whole corpus, and all that is tried at the free path."""
    addresses = (*_HEADS, *(EXEMPT + tail for tail in (*_QUERIES, *_TAILS)), *EXEMPT_SPELLINGS)
    kept = one(EXEMPT).replace(b"Connection: close\r\n", b"")
    return [
        *everything(),
        *(one(address, method=method) for address in addresses for method in (b"GET", b"HEAD")),
        *(one(address, method=b"POST", headers=_FORM, body=_BODY) for address in addresses),
        *(one(EXEMPT, method=method) for method in _VERBS),
        *(one(EXEMPT, method=method, headers=_FORM, body=_BODY) for method in _VERBS),
        *(one(EXEMPT, method=method, headers=claim) for claim in _claims() for method in (b"GET", b"HEAD", b"POST")),
        *(one(EXEMPT, headers=upgrade) for upgrade in _UPGRADES),
        *(one(EXEMPT, method=b"GET", headers=upgrade, body=_BODY) for upgrade in _UPGRADES),
        *(_framed(method, framing, body) for method in (b"GET", b"HEAD", b"POST") for framing, body in _framings()),
        *(kept + one(address) for address in (b"/checkout", b"//checkout", EXEMPT + b"/../checkout")),
        *(kept[:-2] + claim + b"\r\n" + one(b"/checkout", headers=claim) for claim in (_FORM, _CHUNKED)),
        b"GET %s HTTP/1.0\r\nX-Original-Url: /checkout\r\n\r\n" % EXEMPT,
        b"GET %s HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc" % EXEMPT,
        b"GET %s HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % EXEMPT,
        b"GET %s\r\n\r\n" % EXEMPT,
        *(over_http2(method, path, body=body) for method in (b"GET", b"HEAD", b"POST") for path, body in _streams()),
        *(over_http2(b"GET", EXEMPT, headers=[header]) for header in _claims_over_http2()),
        *(over_http2(b"GET", EXEMPT, headers=headers, body=_BODY) for headers in ([(b"content-length", b"30")], [])),
    ]


def _framed(method: bytes, framing: bytes, body: bytes) -> bytes:
    head = b"%s %s HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n" % (method, EXEMPT)
    return head + _FORM + framing + b"\r\n" + body


def _framings() -> Iterable[tuple[bytes, bytes]]:
    """Bodies by length and in chunks, with trailers, and some that are announced only."""
    chunks = b"%x\r\n%s\r\n" % (len(_BODY), _BODY)
    trailer = b"X-Original-Url: /checkout\r\nX-Http-Method-Override: DELETE\r\n"
    yield b"Content-Length: %d\r\n" % len(_BODY), _BODY
    yield b"Content-Length: 0\r\n", b""
    yield b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"a=b=c"
    yield _CHUNKED, b"0\r\n\r\n"
    yield _CHUNKED, chunks + b"0\r\n\r\n"
    yield _CHUNKED + b"Trailer: X-Original-Url\r\nTE: trailers\r\n", chunks + b"0\r\n" + trailer + b"\r\n"
    yield _CHUNKED + b"Connection: close, Transfer-Encoding\r\n", chunks + b"0\r\n\r\n"
    yield b"Content-Length: %d\r\nConnection: close, Content-Length\r\n" % len(_BODY), _BODY
    yield b"Transfer-Encoding: gzip, chunked\r\n", chunks + b"0\r\n\r\n"
    yield b"Transfer_Encoding: chunked\r\n", chunks + b"0\r\n\r\n"


def _claims_over_http2() -> Iterable[tuple[bytes, bytes]]:
    for name, value in _CLAIMS:
        yield from ((spelt.lower().encode(), value.encode()) for spelt in spellings(name))


def _streams() -> Iterable[tuple[bytes, bytes]]:
    for path in (
        EXEMPT,
        EXEMPT + b"?_method=DELETE",
        b"//robots.txt",
        b"/robots.txt/../checkout",
        b"/checkout",
        b"*",
        b"",
    ):
        yield path, _BODY
        if path != EXEMPT:
            yield path, b""


def over_http2(method: bytes, path: bytes, *, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"") -> bytes:
    """One request over HTTP/2, at once and without TLS; a body has no length unless the headers tell it."""
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"shop.example.com")]
    block = b"".join(b"\0" + _string(name) + _string(value) for name, value in (*pseudo, *headers))
    last = _frame(0, 1, 1, body) if body else b""
    settings = _frame(4, 0, 0, b"")
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + _frame(1, 4 if body else 5, 1, block) + last


def _string(text: bytes) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


#: What a proxy itself may tell the origin, and how.
_OWN: Final = {
    "x-forwarded-for": r"127\.0\.0\.1",
    "x-forwarded-proto": "http",
    "x-forwarded-host": r"[a-z.]*(:80)?",
    "via": r"[12]\.[01] Caddy",
    "x-envoy-expected-rq-timeout-ms": r"15000",
    "connection": "close|keep-alive",
}


def is_bare(request: Arrived) -> bool:
    """Whether it is the free path and nothing by which an origin could take it for more."""
    plain = request.target == EXEMPT and request.method in (b"GET", b"HEAD") and not request.body
    names = [name for name, _ in request.headers if name not in BROWSER]
    return plain and len(names) == len(set(names)) and all(_is_harmless(*header) for header in request.headers)


def _is_harmless(name: str, value: str) -> bool:
    return name == "host" or name in BROWSER or re.fullmatch(_OWN.get(name, "(?!)"), value) is not None
