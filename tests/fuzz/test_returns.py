"""Return addresses, judged by another reading of the WHATWG URL Standard than ours."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

import ada_url
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.mutations import NUMBERS, ODD, fuzzed, mutated
from tests.test_returns import BAD, GOOD, ORIGINS, OWN
from waitroom.returns import HOME, return_address
from waitroom.web.forward import requested
from waitroom.web.page.address import asked_return, join_address

#: Where a browser is that gets the address: on the waiting page of a site.
PAGE: Final = "https://site.example/wait/shop?return=%2F"
HERE: Final = "https://site.example"

_PIECES: Final = st.sampled_from(
    ["/", "//", "\\", ".", "..", "%2e", "%2f", "%5c", "@", ":", "?", "#", "a", "e.example", "shop.example", "wait",
     "https:", "http://", "https://shop.example", "http://10.0.0.1:8080", "javascript:", "data:", "[::1]", "xn--e-",
     "admin", "gate", "v1", "%77ait", "%61dmin", *ODD, *NUMBERS]
)  # fmt: skip
ADDRESSES: Final = (
    mutated([*GOOD, *BAD, *OWN])
    | st.lists(_PIECES | st.text(max_size=2), max_size=8).map("".join)
    | st.lists(_PIECES, max_size=8).map(lambda pieces: "/" + "".join(pieces))
    | st.lists(_PIECES, max_size=6).map(lambda pieces: "https://shop.example/" + "".join(pieces))
)


def assert_harmless(asked: str | None) -> None:
    """A browser that is sent there stays on the site or an allowed origin, at the very path that was read."""
    address = return_address(asked, ORIGINS)
    assert address in (HOME, asked)
    url = ada_url.URL(address, base=PAGE)
    assert url.origin in (HERE, *ORIGINS), address
    assert (url.username, url.password) == ("", "")
    # One form: what a browser makes of it is what was written, but for characters that it encodes.
    written = HERE + address if address.startswith("/") else address if address.count("/") > 2 else address + "/"
    assert unquote(url.href) == unquote(written)
    if url.origin == HERE:
        assert not re.fullmatch(r"/wait/[a-z0-9_-]+/?|/v1/rooms/[a-z0-9_-]+(/[a-z]+)?/?", url.pathname.lower())


@pytest.mark.parametrize("address", [*GOOD, *BAD, *OWN], ids=lambda address: repr(address)[:40])
def test_the_corpus_is_harmless(address: str) -> None:
    """Everything in the tables, by the other reading."""
    assert_harmless(address)


@pytest.mark.parametrize(
    "address", [address for address in GOOD if address.startswith("/")], ids=lambda text: text[:40]
)
def test_a_browser_asks_for_the_good_ones_as_they_stand(address: str) -> None:
    """They are what a browser has in its address bar, and it finds the way back to the very same."""
    assert ada_url.URL(address, base=PAGE).href == HERE + address
    assert asked_return(join_address("shop", address).partition("?")[2].encode()) == address
    assert asked_return(b"x=1&" + join_address("shop", address).partition("?")[2].encode() + b"&fbclid=x") == address


@fuzzed(1500)
@given(ADDRESSES)
@example("/a?b#c?d")
def test_no_address_leads_elsewhere(address: str) -> None:
    """Whatever is asked for."""
    assert_harmless(address)


@fuzzed(300)
@given(ADDRESSES)
def test_no_query_leads_elsewhere(address: str) -> None:
    """However it stands in the waiting page's address: as it is, encoded, encoded twice, or behind something."""
    for query in (address, quote(address, safe="", errors="surrogatepass"), "x=1&return=" + address):
        raw = f"return={query}".encode("utf-8", "surrogatepass")
        assert_harmless(asked_return(raw))
        assert_harmless(asked_return(quote(raw).encode()))


@fuzzed(300)
@given(ADDRESSES)
def test_no_forwarded_address_leads_elsewhere(address: str) -> None:
    """X-Forwarded-Uri and the path below /forward-auth/ROOM/, as a Location of ours."""
    raw = address.encode("utf-8", "surrogatepass")
    scopes = (
        {"raw_path": b"/forward-auth/shop", "query_string": b"", "headers": [(b"x-forwarded-uri", raw)]},
        {"raw_path": b"/forward-auth/shop/" + raw, "query_string": b"", "headers": []},
        {"raw_path": b"/forward-auth/shop/x", "query_string": raw, "headers": []},
    )
    for scope in scopes:
        asked = requested(scope)
        assert asked is not None
        address_of_page = join_address("shop", return_address(asked))
        url = ada_url.URL(address_of_page, base=PAGE)
        assert (url.origin, url.pathname) == (HERE, "/wait/shop")
        assert all("!" <= character <= "~" for character in address_of_page)
        assert_harmless(asked_return(url.search.removeprefix("?").encode()))


def test_the_other_reading_finds_what_is_wrong() -> None:
    """Without our check the corpus leads all over the place: so the tests above could fail."""
    elsewhere = 0
    for address in BAD:
        try:
            url = ada_url.URL(address, base=PAGE)
        except ValueError:
            continue
        elsewhere += url.origin not in (HERE, *ORIGINS)
    assert elsewhere > len(BAD) / 4
