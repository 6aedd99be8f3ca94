"""What operators send."""

from __future__ import annotations

import json

import pytest

from tests.web.bad_inputs.crowd import Crowd
from tests.web.sites import ADMIN, assert_problem

BAD_SETTINGS: dict[str, str] = {
    "capacity -1": '{"capacity": -1}',
    "capacity 1.5": '{"capacity": 1.5}',
    "capacity text": '{"capacity": "10"}',
    "capacity true": '{"capacity": true}',
    "capacity null": '{"capacity": null}',
    "capacity NaN": '{"capacity": NaN}',
    "capacity Infinity": '{"capacity": Infinity}',
    "capacity 1e400": '{"capacity": 1e400}',
    "capacity 2^31": '{"capacity": 2147483648}',
    "capacity 2^53+1": '{"capacity": 9007199254740993}',
    "capacity 2^64": '{"capacity": 18446744073709551616}',
    "capacity list": '{"capacity": [1]}',
    "capacity object": '{"capacity": {"": 1}}',
    "rate 1e-9": '{"admit_per_second": 1e-9}',
    "rate 1e9": '{"admit_per_second": 1e9}',
    "rate -1": '{"admit_per_second": -1}',
    "rate NaN": '{"admit_per_second": NaN}',
    "rate 1e400": '{"admit_per_second": 1e400}',
    "rate text": '{"admit_per_second": "1"}',
    "rate true": '{"admit_per_second": true}',
    "session 0": '{"session_seconds": 0}',
    "session 1 ms": '{"session_seconds": 0.001}',
    "session 10 years": '{"session_seconds": 315360000}',
    "session text": '{"session_seconds": "5m"}',
    "claim 0": '{"claim_seconds": 0}',
    "claim -1": '{"claim_seconds": -1}',
    "abandon 0": '{"abandon_seconds": 0}',
    "ticket below abandon": '{"abandon_seconds": 100, "ticket_seconds": 99}',
    "ticket 10 years": '{"ticket_seconds": 315360000}',
    "waiting 0": '{"max_waiting": 0}',
    "waiting 10^9": '{"max_waiting": 1000000000}',
    "sliding 1": '{"sliding": 1}',
    "sliding text": '{"sliding": "true"}',
    "state unknown": '{"state": "Open"}',
    "state empty": '{"state": ""}',
    "when_down unknown": '{"when_down": "fail"}',
    "message CRLF": '{"message": "a\\r\\nSet-Cookie: x=1"}',
    "message newline": '{"message": "a\\nb"}',
    "message nul": '{"message": "a\\u0000b"}',
    "message RTL override": '{"message": "abc\\u202edef"}',
    "message line separator": '{"message": "a\\u2028b"}',
    "message surrogate": '{"message": "\\ud800"}',
    "message number": '{"message": 1}',
    "message 501": json.dumps({"message": "x" * 501}),
    "message 1 MB": json.dumps({"message": "x" * 1_000_000}),
    "origins text": '{"return_origins": "https://a.example"}',
    "origin *": '{"return_origins": ["*"]}',
    "origin https://*": '{"return_origins": ["https://*"]}',
    "origin wildcard": '{"return_origins": ["https://*.a.example"]}',
    "origin null": '{"return_origins": ["null"]}',
    "origin none": '{"return_origins": [null]}',
    "origin trailing dot": '{"return_origins": ["https://a.example."]}',
    "origin path": '{"return_origins": ["https://a.example/"]}',
    "origin user": '{"return_origins": ["https://x@a.example"]}',
    "origin port 0": '{"return_origins": ["https://a.example:0"]}',
    "origin port 99999": '{"return_origins": ["https://a.example:99999"]}',
    "origin javascript": '{"return_origins": ["javascript:alert(1)"]}',
    "origin relative": '{"return_origins": ["//a.example"]}',
    "origin newline": '{"return_origins": ["https://a\\n.example"]}',
    "origin homoglyph": '{"return_origins": ["https://\\u0430.example"]}',
    "21 origins": json.dumps({"return_origins": [f"https://a{number}.example" for number in range(21)]}),
    "unknown field": '{"prioritye": 1}',
    "unknown empty field": '{"": 1}',
    "inner field": '{"version": 3}',
    "private field": '{"tickets_after_us": 0}',
    "array": "[]",
    "null": "null",
    "cut": '{"capacity": ',
    "not json": "capacity=5",
    "deep": '{"capacity":' * 1500 + "1" + "}" * 1500,
    "long unknown name": json.dumps({"x" * 10_000: 1}),
}


@pytest.mark.parametrize("bad", BAD_SETTINGS)
@pytest.mark.usefixtures("unchanged")
def test_bad_settings_are_refused(crowd: Crowd, bad: str) -> None:
    """PUT, on a room that exists and on one that does not, and PATCH refuse the whole document."""
    headers = ADMIN | {"Content-Type": "application/json"}
    for method, room in (("PUT", "shop"), ("PUT", "new"), ("PATCH", "shop")):
        answer = crowd.site.call(method, f"/admin/rooms/{room}", content=BAD_SETTINGS[bad], headers=headers)
        detail = assert_problem(answer, 400, 413)["detail"]
        assert len(detail) < 20_000


@pytest.mark.parametrize(
    "message",
    [
        "<script>alert(1)</script>",
        "</script><img src=x onerror=alert(1)>",
        "{{7*7}} {% raw %}",
        "${x} $(x) `x`",
        "\U0001f600",
    ],
)
def test_a_message_is_kept_as_it_is(crowd: Crowd, message: str) -> None:
    """What looks like code is text: it is read back as it was written, and the page shows it escaped."""
    site = crowd.site
    room = site.make_room("spoken", message=message, state="closed")
    assert site.admin("GET", f"/{room}").json()["settings"]["message"] == message
    assert assert_problem(site.enter(room), 403)["detail"] == message
    assert "<script>alert" not in site.call("GET", f"/wait/{room}").text
    site.admin("DELETE", f"/{room}")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
@pytest.mark.usefixtures("unchanged")
def test_an_operators_body_must_be_json(crowd: Crowd, kind: str | None) -> None:
    """A body of another type is 415, for changes and for commands."""
    headers = ADMIN | ({"Content-Type": kind} if kind else {})
    for method, path in (("PUT", "/shop"), ("PATCH", "/shop"), ("POST", "/shop/pause")):
        answer = crowd.site.call(method, f"/admin/rooms{path}", content=b'{"message":"x"}', headers=headers)
        assert_problem(answer, 415)


@pytest.mark.parametrize(
    "body", ['{"message": 1}', '{"message": "a\\nb"}', '{"state": "open"}', "[]", '{"message": null}']
)
@pytest.mark.usefixtures("unchanged")
def test_a_commands_bad_body_is_refused(crowd: Crowd, body: str) -> None:
    """pause, resume and close take a message or nothing."""
    headers = ADMIN | {"Content-Type": "application/json"}
    for command in ("pause", "resume", "close"):
        answer = crowd.site.call("POST", f"/admin/rooms/shop/{command}", content=body, headers=headers)
        assert_problem(answer, 400)


@pytest.mark.parametrize("query", ["limit=-1", "limit=1000000000", "cursor=%00", "limit=nan", "=&&="])
@pytest.mark.usefixtures("unchanged")
def test_a_query_of_the_list_is_ignored(crowd: Crowd, query: str) -> None:
    """The list has no pages: what a query asks for plays no part."""
    listed = crowd.site.admin("GET", f"?{query}")
    assert listed.status_code == 200
    assert {"shop", "other", "full", "closed"} <= {room["room"] for room in listed.json()["rooms"]}


@pytest.mark.usefixtures("unchanged")
def test_an_empty_change_is_refused(crowd: Crowd) -> None:
    """A PATCH that names no setting is a mistake."""
    assert_problem(crowd.site.admin("PATCH", "/shop", json={}), 400)
