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
        (b"lang=en&return=/basket&x=1", "/basket&x=1"),
        (b"return=https://shop.example/a?x=1&y=%20", "https://shop.example/a?x=1&y=%20"),
        (b"return=http://shop.example/a&x=1", "http://shop.example/a&x=1"),
        (b"return=https%3A%2F%2Fshop.example%2Fa", "https://shop.example/a"),
        (b"return=/a%20b", "/a%20b"),
        (b"return=%2Fa%2520b", "/a%20b"),
        (b"return=/x?return=/y", "/x?return=/y"),
        (b"return=", ""),
        (b"", None),
        (b"xreturn=/a", None),
        (b"back=/a", None),
        (b"return=%ff", None),
    ],
)
def test_the_return_address_is_read_raw_and_encoded(query: bytes, asked: str | None) -> None:
    """nginx puts the address there as it came, others encode it: both are read."""
    assert asked_return(query) == asked
