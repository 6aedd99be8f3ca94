"""Bodies of enter and leave."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.web.bad_inputs.crowd import Crowd
from tests.web.sites import assert_problem, bearer

BAD_BODIES: dict[str, tuple[bytes, str | None]] = {
    "array": (b"[]", "application/json"),
    "null": (b"null", "application/json"),
    "number": (b"1", "application/json"),
    "text": (b'"x"', "application/json"),
    "true": (b"true", "application/json"),
    "cut": (b'{"a":', "application/json"),
    "two documents": (b"{}{}", "application/json"),
    "trailing comma": (b'{"a":1,}', "application/json"),
    "blanks": (b"   ", "application/json"),
    "nan": (b'{"a":NaN}', "application/json"),
    "infinity": (b'{"a":-Infinity}', "application/json"),
    "1e400": (b'{"a":1e400}', "application/json"),
    "2^63": (b'{"a":9223372036854775808}', "application/json"),
    "2^53+1": (b'{"a":9007199254740993}', "application/json"),
    "duplicate keys": (b'{"a":1,"a":2}', "application/json"),
    "deep": (b'{"a":' * 600 + b"1" + b"}" * 600, "application/json"),
    "10,000 deep": (b"[" * 10_000 + b"]" * 10_000, "application/json"),
    "10 MB": (b'{"a":"' + b"x" * 10_000_000 + b'"}', "application/json"),
    "not utf-8": (b'{"a":"\xff"}', "application/json"),
    "utf-16": ('{"a":1}'.encode("utf-16"), "application/json"),
    "byte order mark": (b"\xef\xbb\xbf{}", "application/json"),
    "lone surrogate": (b'{"a":"\\ud800"}', "application/json"),
    "nul": (b"\x00", "application/json"),
    "gzip": (gzip.compress(b'{"a":"' + b"x" * 3_000_000 + b'"}'), "application/json"),
    "own id": (b'{"id":"!aaa"}', "application/json"),
    "own serial": (b'{"serial":-1}', "application/json"),
    "own score": (b'{"score":0,"seq":1,"priority":99}', "application/json"),
    "own visitor": (b'{"visitor":"AAAAAAAAAAAAAAAAAAAAAA"}', "application/json"),
    "return address": (b'{"return":"//evil.example"}', "application/json"),
    "prototype": (b'{"__proto__":{"admin":true}}', "application/json"),
    "long name": (json.dumps({"x" * 3000: 1}).encode(), "application/json"),
    "plain text": (b"{}", "text/plain"),
    "beacon": (b"", "text/plain;charset=UTF-8"),
    "form": (b"a=b", "application/x-www-form-urlencoded"),
    "multipart": (b"--x--", "multipart/form-data; boundary=x"),
    "no type": (b"{}", None),
    "nonsense type": (b"{}", ";;;"),
    "type by half": (b"{}", "application/jsonx"),
}


@pytest.mark.parametrize("bad", BAD_BODIES)
@pytest.mark.parametrize("call", ["enter", "leave"])
@pytest.mark.usefixtures("unchanged")
def test_a_bad_body_is_refused(crowd: Crowd, call: str, bad: str) -> None:
    """Anything but nothing or `{}` is refused, with a good ticket as well; the place stays as it is."""
    body, kind = BAD_BODIES[bad]
    headers = bearer(crowd.waiting[0]) | ({"Content-Type": kind} if kind is not None else {})
    if bad == "gzip":
        headers["Content-Encoding"] = "gzip"
    path = f"/v1/rooms/{crowd.room}/{call}"
    assert_problem(crowd.site.call("POST", path, content=body, headers=headers), 400, 413, 415)


@pytest.mark.parametrize("call", ["enter", "leave"])
@pytest.mark.usefixtures("unchanged")
def test_a_long_body_in_chunks_is_refused(crowd: Crowd, call: str) -> None:
    """A body without a declared length is read no further than its limit."""
    path = f"/v1/rooms/{crowd.room}/{call}"
    headers = bearer(crowd.waiting[0]) | {"Content-Type": "application/json"}
    chunks = (b"x" * 1000 for _ in range(10))
    assert_problem(crowd.site.call("POST", path, content=chunks, headers=headers), 413)


@pytest.mark.parametrize("body", [b"", b"{}", b" {} "])
@pytest.mark.usefixtures("unchanged")
def test_an_empty_document_is_fine(crowd: Crowd, body: bytes) -> None:
    """Nothing and `{}` are the two ways to say nothing."""
    headers = bearer(crowd.waiting[0]) | {"Content-Type": "application/json; charset=utf-8"}
    answer = crowd.site.call("POST", f"/v1/rooms/{crowd.room}/enter", content=body, headers=headers)
    assert (answer.status_code, answer.json()["rank"]) == (202, 1)
