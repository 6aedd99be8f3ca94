"""What the query of the waiting page's address says."""

from __future__ import annotations

import pytest

from waitroom.web.page.address import asked_return


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        (b"return=/basket", "/basket"),
        (b"return=/basket?step=2&x=1", "/basket?step=2&x=1"),
        (b"return=%2Fbasket%3Fstep%3D2%26x%3D1", "/basket?step=2&x=1"),
        (b"return=%2Fbasket&lang=en", "/basket"),
        (b"lang=en&return=/basket&x=1", "/basket"),
        (b"return=https://shop.example/a?x=1&y=%20", "https://shop.example/a?x=1&y=%20"),
        (b"return=http://shop.example/a&x=1", "http://shop.example/a"),
        (b"return=https%3A%2F%2Fshop.example%2Fa", "https://shop.example/a"),
        (b"return=/a%20b", "/a%20b"),
        (b"return=%2Fa%2520b", "/a%20b"),
        (b"return=/x?return=/y", "/x?return=/y"),
        (b"return=", ""),
        (b"return=/tickets&fbclid=IwAR1", "/tickets"),
        (b"return=/tickets?a=1&fbclid=x", "/tickets?a=1&fbclid=x"),
        (b"return=%2Ftickets%3Fa%3D1&fbclid=x", "/tickets?a=1"),
        (b"return=/tickets%3Fa%3D1&utm_source=x", "/tickets?a=1"),
        (b"return=/where%3F", "/where%3F"),
        (b"return=/H&M&as_sent", "/H&M"),
        (b"return=/H&M?a=1&as_sent&fbclid=x", "/H&M?a=1"),
        (b"return=/H&M&as_sent=&fbclid=x", "/H&M"),
        (b"return=/a&as_sent&as_sent", "/a&as_sent"),
        (b"return=/x%3Fa%3D1&as_sent", "/x%3Fa%3D1"),
        (b"return=/H&as_sentence", "/H"),
        (b"return=/x?a=1&as_sentence=2", "/x?a=1&as_sentence=2"),
        (b"utm_source=a&return=%2Fx&utm_medium=b", "/x"),
        (b"xreturn=/a&return=/b", "/b"),
        (b"return=%2Fa+b", "/a+b"),
        (b"", None),
        (b"xreturn=/a", None),
        (b"back=/a", None),
        (b"return=%ff", None),
    ],
)
def test_the_return_address_is_read_raw_and_encoded(query: bytes, asked: str | None) -> None:
    """nginx puts the address there as it came, others encode it: both are read."""
    assert asked_return(query) == asked
