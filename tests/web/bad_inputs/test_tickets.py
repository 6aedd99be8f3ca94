"""Tickets that are none, and ids and proofs in places where none belongs."""

from __future__ import annotations

import pytest

from tests.web.bad_inputs.crowd import Crowd
from tests.web.sites import assert_problem
from waitroom.model import Visitor


def _last_character(text: str) -> str:
    return text[:-1] + ("A" if text[-1] != "A" else "B")


def bad_tickets(crowd: Crowd) -> dict[str, str]:
    """Everything that looks like a ticket of the room and is none."""
    good, ticket = crowd.waiting[0], crowd.ticket()
    kid, _, body = good.partition(".")
    now_us = crowd.site.now_us()
    return {
        "truncated": good[:-1],
        "longer": good + "A",
        "bit flipped": _last_character(good),
        "first flipped": f"{kid}.{'B' if body[0] != 'B' else 'C'}{body[1:]}",
        "padded": good + "=",
        "quoted": f'"{good}"',
        "other alphabet": good.replace("-", "+").replace("_", "/") + ("" if "-" in good or "_" in good else "+"),
        "unknown key": "k2." + body,
        "key of a path": "../../etc/passwd." + body,
        "key of 10 kB": "k" * 10_000 + "." + body,
        "no key": "." + body,
        "unicode digits": kid + "." + "\u0661" * 88,
        "other room": crowd.other_ticket,
        "pass of other room": crowd.other_pass,
        "random": f"{kid}." + "A" * 88,
        "empty": "",
        "1 MB": "x" * 60_000,
        "expired": crowd.site.forge_ticket(crowd.room, ticket._replace(issued_us=now_us - 3_700_000_000)),
        "issued at zero": crowd.site.forge_ticket(crowd.room, ticket._replace(issued_us=0)),
    }


BAD_TICKETS = [
    "truncated",
    "longer",
    "bit flipped",
    "first flipped",
    "padded",
    "quoted",
    "other alphabet",
    "unknown key",
    "key of a path",
    "key of 10 kB",
    "no key",
    "unicode digits",
    "other room",
    "pass of other room",
    "random",
    "empty",
    "1 MB",
    "expired",
    "issued at zero",
]


@pytest.mark.parametrize("bad", BAD_TICKETS)
@pytest.mark.usefixtures("unchanged")
def test_a_bad_ticket_shows_and_ends_nothing(crowd: Crowd, bad: str) -> None:
    """Status refuses it as bearer and as cookie, and leave does too unless it was signed here."""
    text = bad_tickets(crowd)[bad]
    site, raw = crowd.site, text.encode("utf-8")
    for headers in (
        [(b"Authorization", b"Bearer " + raw if raw else b"Bearer")],
        [(b"Cookie", f"waitroom_ticket_{crowd.room}=".encode() + raw)],
    ):
        assert_problem(site.call("GET", f"/v1/rooms/{crowd.room}/status?id={crowd.waiting[1]}", headers=headers), 401)
        if bad not in ("expired", "issued at zero"):
            assert_problem(site.call("POST", f"/v1/rooms/{crowd.room}/leave", headers=headers), 401)


@pytest.mark.parametrize("bad", [*BAD_TICKETS, "left"])
def test_a_bad_ticket_gives_the_last_place(crowd: Crowd, bad: str) -> None:
    """Entering with it is entering without: behind everybody else, whose places stay what they are (T10, T11)."""
    text = crowd.left if bad == "left" else bad_tickets(crowd)[bad]
    before = crowd.site.waiting(crowd.room)
    headers = [(b"Authorization", b"Bearer " + text.encode() if text else b"Bearer")]
    answer = crowd.site.call("POST", f"/v1/rooms/{crowd.room}/enter", headers=headers)
    assert (answer.status_code, answer.json()["rank"]) == (202, len(before) + 1)
    assert crowd.site.waiting(crowd.room)[:-1] == before
    crowd.site.leave(crowd.room, answer.json()["ticket"])


@pytest.mark.usefixtures("unchanged")
def test_a_used_ticket_is_told_so(crowd: Crowd) -> None:
    """After leaving, status is 410 and leaving again is 204: both without effect."""
    assert_problem(crowd.site.status(crowd.room, crowd.left), 410)


@pytest.mark.usefixtures("unchanged")
def test_nobody_acts_for_somebody_else(crowd: Crowd) -> None:
    """Ids in query, header or another room's cookie neither show nor end another's place."""
    visitor: Visitor = crowd.ticket().visitor
    spoof = {
        "X-Visitor": visitor,
        "X-Waitroom-Ticket": crowd.waiting[0],
        "Cookie": f"waitroom_ticket_other={crowd.waiting[0]}; ticket={crowd.waiting[0]}; Waitroom_Ticket_shop=x",
    }
    query = f"?id={visitor}&ticket={crowd.waiting[0]}&visitor={visitor}"
    assert_problem(crowd.site.call("GET", f"/v1/rooms/shop/status{query}", headers=spoof), 401)
    assert_problem(crowd.site.call("POST", f"/v1/rooms/shop/leave{query}", headers=spoof), 401)
