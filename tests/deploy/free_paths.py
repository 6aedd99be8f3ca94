"""What is sent at a free path to reach something else behind it, and what may arrive at the origin of all that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from rig.raw import Arrived
from tests.deploy.corpus import CHUNKED, EXEMPT, EXEMPT_SPELLINGS, FORGED, FORM, SPOOFS, TABLE, everything, items, one

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

_FREE: Final = TABLE["free"]
_CLAIMS: Final = [(name, value) for value, names in _FREE["claims"] for name in names.split()]


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


def hostile() -> list[bytes]:
    """The gate's whole corpus, and all that is tried at the free path."""
    addresses = (*items(_FREE["heads"]), *(EXEMPT + tail for tail in items(_FREE["tails"])), *EXEMPT_SPELLINGS)
    verbs, upgrades, asking = items(_FREE["verbs"]), items(_FREE["upgrades"]), (b"GET", b"HEAD", b"POST")
    form = b"Content-Type: application/x-www-form-urlencoded\r\n"
    kept = one(EXEMPT).replace(b"Connection: close\r\n", b"")
    bodies = [(b"Connection: close\r\n" + form + framing, body) for framing, body in map(items, _FREE["bodies"])]
    streams = [(path, body) for path in items(_FREE["streams"]) for body in (FORM, b"") if body or path != EXEMPT]
    claims = [(spelt.lower().encode(), value.encode()) for name, value in _CLAIMS for spelt in spellings(name)]
    return [
        *everything(),
        *(one(address, method=method) for address in addresses for method in (b"GET", b"HEAD")),
        *(one(address, method=b"POST", headers=form, body=FORM) for address in addresses),
        *(one(EXEMPT, method=method) for method in verbs),
        *(one(EXEMPT, method=method, headers=form, body=FORM) for method in verbs),
        *(one(EXEMPT, method=method, headers=claim) for claim in _claims() for method in asking),
        *(one(EXEMPT, headers=upgrade) for upgrade in upgrades),
        *(one(EXEMPT, headers=upgrade, body=FORM) for upgrade in upgrades),
        *(one(EXEMPT, method=method, headers=head) + body for method in asking for head, body in bodies),
        *(kept + one(address) for address in (b"/checkout", b"//checkout", EXEMPT + b"/../checkout")),
        *(kept[:-2] + claim + b"\r\n" + one(b"/checkout", headers=claim) for claim in (form, CHUNKED)),
        *(b"GET %s%s" % (EXEMPT, rest) for rest in items(_FREE["older"])),
        *(over_http2(method, path, body=body) for method in asking for path, body in streams),
        *(over_http2(b"GET", EXEMPT, headers=[claim]) for claim in claims),
        *(over_http2(b"GET", EXEMPT, headers=headers, body=FORM) for headers in ([(b"content-length", b"30")], [])),
    ]


def over_http2(
    method: bytes,
    path: bytes,
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: bytes = b"",
    host: bytes = b"shop.example.com",
) -> bytes:
    """One request over HTTP/2, at once and without TLS; a body has no length unless the headers tell it."""
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", host)]
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
