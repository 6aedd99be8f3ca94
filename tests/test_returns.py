"""Return addresses: RELIABILITY's corpus, and the property behind it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitroom.returns import HOME, LONGEST, fault_of, is_allowed, return_address

ORIGINS = ("https://shop.example", "http://10.0.0.1:8080")

#: Good addresses of sites, by kind.
CORPUS: Final[dict[str, list[str]]] = tomllib.loads(
    (Path(__file__).parent / "good_returns.toml").read_text(encoding="utf-8")
)

GOOD = [
    *(address for kind in CORPUS.values() for address in kind),
    "/" + "a" * (LONGEST - 1), "/?a=" + "%20" * 600, "/a/" + "%C3%A9" * 300 + "?" + "b=1&" * 50,
    "https://shop.example", "https://shop.example/", "https://shop.example/cart?x=1#y", "http://10.0.0.1:8080/x",
    "https://shop.example/search?q=a%0D%0Ab\\", "https://shop.example/wait/shop",
]  # fmt: skip

BAD = [
    # Another host, as a browser reads it.
    "//e.example", "///e", "////e", "/\\e.example", "\\\\e", "\\/e", "\\e", "/%5ce", "/%5Ce", "/x\\y", "/%2F/e",
    "/%2fe",
    "/%252f%252fe", "/%255ce", "/.//e", "/./e", "/../e", "/x/..//e", "/x/%2e%2e//e", "/%2e%2E/e", "/..",
    "/x/.",
    "//", "/x/..?y", "/x/.%2e/y",
    "https:e", "https:/e", "https:", "https://", "http:\\\\e", "https:///e", "HTTPS://e.example/",
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "data:text/html,x",
    "vbscript:x", "file:///etc/passwd", "blob:https://shop.example/x", "ftp://shop.example/",
    "http://shop@e", "https://shop.example@e", "https://shop.example:443@e", "https://shop.example:x@e.example/",
    "https://shop.example.e.example", "https://shop.example.", "https://shop.example%2ee", "https://shop.example%00.e/",
    "https://e#shop.example", "https://e?shop.example", "https://e/https://shop.example", "https://[::1]",
    "https://[::1]/",
    "https://shop.example\\.e", "https://shop.example:8443/", "http://shop.example/", "https://sh\u043ep.example/",
    "https://xn--shp-5cd.example/", "https://shop.example\u3002e/", "https://e.example/", "https://SHOP.EXAMPLE/",
    "https://shop.example//e", "https://shop.example/\\e", "https://shop.example/../x", "https://shop.example/%0d%0ax",
    "https://shop.example\n/", "https://shop.example/ x", "https://10.0.0.1:8080/x",
    # Not a path.
    "", " ", " /x", "/x ", "x", "?x", "#x", ".", "..", "./x", "~", "*", "/ x",
    # Control characters, raw and escaped; quotes and brackets.
    "/\t/e", "/%09/e", "/\t", "/%09", "/\n", "/x\r", "/\r\nSet-Cookie:x=1", "/%0d%0aSet-Cookie:x=1", "/%0D%0A",
    "/\0", "/%00", "/%1f", "/%7f", "/\x7f", "/\x0b", "/\x85", "/\u2028", "/\u2029", "/\u202e", "/\u00e9", "/\u00a0",
    "/\uff0fe",
    "/\u2215e", '/"', "/'\"", "/<script>", "/>", "/`",
    "/" + "a" * 8192,
]  # fmt: skip

OWN = [
    "/wait/shop", "/wait/shop?return=/x", "/WAIT/shop", "/Wait/shop#x", "/wait/shop/", "/wait/_assets/x.js",
    "/wait//shop", "/v1//rooms///shop/leave",
    "/wait/other_room-2", "/v1/rooms/shop", "/v1/rooms/shop?x=1", "/v1/rooms/shop/leave", "/v1/rooms/shop/enter",
    "/v1/rooms/shop/events#x", "/V1/rooms/shop/status",
]  # fmt: skip


@pytest.mark.parametrize("address", GOOD, ids=lambda address: repr(address)[:40])
def test_a_good_address_is_kept(address: str) -> None:
    """A plain path, or a path on an allowed origin, is where the visitor goes."""
    assert return_address(address, ORIGINS) == address


@pytest.mark.parametrize("address", BAD, ids=lambda address: repr(address)[:40])
def test_a_bad_address_leads_home(address: str) -> None:
    """What could lead to another host, or be read in two ways, is refused and not repaired."""
    assert return_address(address, ORIGINS) == HOME


@pytest.mark.parametrize("address", OWN)
def test_waitrooms_own_paths_are_refused(address: str) -> None:
    """No visitor is sent in circles, or to a document for scripts."""
    assert not is_allowed(address, ORIGINS)


@pytest.mark.parametrize(
    "address",
    ["/%77ait/shop", "/w%61it/shop", "/wait%2fshop", "/wait/%73hop", "/v%31/rooms/shop", "/v1%2Frooms/shop/l%65ave"],
)
def test_waitrooms_own_paths_are_refused_in_any_spelling(address: str) -> None:
    """A percent-encoded letter is the same path to the server that answers it."""
    assert not is_allowed(address, ORIGINS)


def test_every_character() -> None:
    """The visible ones of ASCII are good, but for quotes, angle brackets and the backslash; no others are."""
    allowed = {character for character in map(chr, range(256)) if is_allowed(f"/x{character}y")}
    assert allowed == {character for character in map(chr, range(0x21, 0x7F)) if character not in '"<>\\`'}


@pytest.mark.parametrize("before", ["/x?", "/x#", "/x?a#"])
def test_every_character_of_a_query_and_behind_it(before: str) -> None:
    """There every visible character is only itself, and an encoded one stays encoded."""
    allowed = {character for character in map(chr, range(256)) if is_allowed(f"{before}{character}y")}
    assert allowed == set(map(chr, range(0x21, 0x7F)))
    assert all(is_allowed(f"{before}%{code:02X}y") for code in range(256))


def test_the_corpus_is_large() -> None:
    """Good addresses are as many as there are ways to write them, and none is there twice."""
    assert len({address for kind in CORPUS.values() for address in kind}) >= 150


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ("/" + "a" * LONGEST, "long"),
        ("//e.example", "elsewhere"),
        ("https://e.example/", "elsewhere"),
        ("x", "elsewhere"),
        ("/wait/shop", "own"),
        ("/x/./y", "unclear"),
        ("/%0d", "unclear"),
        ("https://shop.example/../x", "unclear"),
        ("/cart", None),
    ],
)
def test_a_refusal_has_a_reason(asked: str, fault: str | None) -> None:
    """One of four."""
    assert fault_of(asked, ORIGINS) == fault


def test_nothing_asked_leads_home() -> None:
    """Without an address the visitor goes home."""
    assert return_address(None) == HOME


@pytest.mark.parametrize("address", ["https://shop.example/", "http://10.0.0.1:8080/x"])
def test_without_allowed_origins_only_paths_are_good(address: str) -> None:
    """No other host is allowed unless the room names it."""
    assert not is_allowed(address)


def test_the_longest_address_is_bounded() -> None:
    """An address of the longest length is good, one more character is not."""
    assert is_allowed("/" + "a" * (LONGEST - 1))
    assert not is_allowed("/" + "a" * LONGEST)


PIECES = st.sampled_from(
    ["/", "//", "\\", ".", "..", "%2e", "%2f", "%5c", "%", "@", ":", "?", "#", "a", "e.example", "shop.example",
     "https://shop.example", "https:", "http://", "javascript:", "\t", "\n", "\r", "\0", " ", "%09", "%0d", "%0A",
     "%00", "%7f", "[", "]", "\u3002", "\uff0f", "wait", "=", "&", ";"]
)  # fmt: skip
ADDRESSES = st.lists(PIECES | st.text(max_size=4), max_size=8).map("".join) | st.lists(PIECES, max_size=8).map(
    lambda pieces: "/" + "".join(pieces)
)


@given(ADDRESSES)
def test_whatever_is_accepted_stays_here_or_on_an_allowed_origin(address: str) -> None:
    """An accepted address has one leading slash or an allowed origin, and nothing that browsers rewrite."""
    if not is_allowed(address, ORIGINS):
        return
    path = address
    for origin in ORIGINS:
        if address == origin or address.startswith(origin + "/"):
            path = address.removeprefix(origin) or "/"
    assert path.startswith("/")
    assert not path.startswith("//")
    assert "\\" not in address.split("?")[0].split("#")[0]
    assert all("!" <= character <= "~" for character in address)
    assert ".." not in path.split("?")[0].split("#")[0].split("/")
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc) == ("", "") or f"{parts.scheme}://{parts.netloc}" in ORIGINS
