"""What the verdict on a run finds: a check that finds nothing in a bad history proves nothing of a good one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crowd.history import History, Operation
from tests.faults.crowd import Guest, Journal, past_the_gate
from tests.faults.scrape import Scraper, fired
from tests.faults.verdict import between_steps_back, duplicates, failed, lost, turned_away


def said(visitor: str, call: str, **more: Any) -> Operation:
    """An answer."""
    operation: dict[str, Any] = {"invoked": 1.0, "completed": 1.1, "outcome": "ok", "status": 200, "habit": "guest"}
    return Operation(visitor=visitor, call=call, **{**operation, **more})


def guest(*, inside: bool = True, left: bool = True) -> Guest:
    """A guest who has come so far."""
    made = Guest("a", [1], "shop", Journal(), seed=1)
    made.inside, made.left = inside, left
    return made


@pytest.mark.parametrize(
    ("serials", "inside", "left", "expected"),
    [
        ((1, 1), True, True, False),
        ((1, 2), True, True, True),
        ((1, 1), False, True, True),
        ((1, 1), True, False, True),
    ],
)
def test_who_lost_the_place(serials: tuple[int, int], inside: bool, left: bool, expected: bool) -> None:
    """Another serial, never in, or never out."""
    history = History([said("a", "status", state="waiting", serial=serial) for serial in serials])
    assert lost(guest(inside=inside, left=left), history) is expected


def test_who_shares_a_place() -> None:
    """A serial and an identity of two visitors are two duplicates; one's own again is none."""
    one = said("a", "status", state="waiting", serial=1, identity="x")
    assert duplicates(History([one, one])) == 0
    assert duplicates(History([one, said("b", "status", state="waiting", serial=1, identity="x")])) == 2


def test_who_got_past_the_gate() -> None:
    """A forger who is let through without a pass of their own; not who is given one, or who is refused."""
    let_in = said("f", "gate", status=204, passed=True, attempt="no pass")
    given = said("f", "gate", status=204, passed=True, attempt="no pass", identity="new")
    refused = said("f", "gate", status=401, attempt="no pass")
    assert past_the_gate([let_in, given, refused]) == ["f: past the gate with no pass"]


def test_who_was_turned_away() -> None:
    """Somebody inside; not before the admission, and not after leaving."""
    admitted, shut = said("a", "status", state="admitted"), said("a", "gate", status=401)
    assert turned_away(History([shut, admitted, said("a", "leave", status=204), shut])) == []
    assert len(turned_away(History([admitted, shut]))) == 1


def test_what_nobody_may_be_told() -> None:
    """A bad answer counts, no answer does not."""
    bad, none = said("a", "enter", outcome="fail", status=500), said("a", "enter", outcome="unknown", completed=None)
    assert failed(History([bad, none])) == [bad]


def test_a_clock_that_goes_back_begins_anew() -> None:
    """The rate is counted in stretches of its own."""
    assert list(between_steps_back([(1.0, 1), (9.0, 2), (2.0, 3), (3.0, 4)])) == [
        [(1.0, 1), (9.0, 2)],
        [(2.0, 3), (3.0, 4)],
    ]


def test_alerts_fire_on_what_was_scraped_only(tmp_path: Path) -> None:
    """Of an instance that stops answering and one that goes on: the alert on the one, none on what did not happen."""
    scraper = Scraper({"a": 1, "b": 2})
    scraper.answers["a"] = dict.fromkeys(range(60), "waitroom_leader 1.0\n")
    scraper.answers["b"] = {number: None if number > 20 else "waitroom_leader 0.0\n" for number in range(60)}
    alerts = ["WaitroomNobodyAnswers", "WaitroomInstanceDown", "WaitroomNoLeader", "WaitroomManyLeaders"]
    assert fired(scraper, alerts, tmp_path) == ["WaitroomInstanceDown"]
