"""Whose address the instances saw, and how far clocks are apart: cases that no single machine has."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from waitroom.checks.site.clocks import Reading, examine
from waitroom.checks.site.line import Answer
from waitroom.checks.site.seen import Sight, Sights, examine_address

PUBLIC, OFFICE, BALANCER, EDGE, PROXY = "8.8.4.4", "10.1.2.3", "10.9.9.9", "1.1.1.1", "10.0.0.2"
SITE = "9.9.9.9"


def sights(
    source: str, forwarded: str, *, client: str | None, network: str = "", known: bool = True, peer: str = SITE
) -> Sights:
    """What an instance saw of a doctor at that address, by its proxy's word."""
    told: dict[str, Any] = {
        "peer": PROXY,
        "forwarded_for": forwarded,
        "network_says": network,
        "client": client,
        "proxies_known": known,
        "counts_addresses": False,
    }
    return Sights((Sight(told, Answer(200, source=source, peer=peer), 0, 0),))


@pytest.mark.parametrize(
    ("seen", "own", "verdict"),
    [
        (sights(PUBLIC, PUBLIC, client=PUBLIC), "", "ok"),
        (sights(PUBLIC, PUBLIC, client=None, known=False), "", "ok"),
        (sights("::ffff:8.8.4.4", PUBLIC, client=PUBLIC), "", "ok"),
        (sights(PUBLIC, BALANCER, client=BALANCER), "", "fail"),
        (sights(PUBLIC, EDGE, client=EDGE), "", "fail"),
        # Behind an office's own router the doctor does not know as what it is seen.
        (sights(OFFICE, PUBLIC, client=PUBLIC), "", "unknown"),
        (sights(OFFICE, PUBLIC, client=PUBLIC), PUBLIC, "ok"),
        (sights(OFFICE, EDGE, client=EDGE), PUBLIC, "fail"),
        (sights(OFFICE, EDGE, client=EDGE, network=PUBLIC), "", "fail"),
        (sights(OFFICE, BALANCER, client=BALANCER), "", "fail"),
        (sights(OFFICE, BALANCER, client=BALANCER, peer=BALANCER), "", "fail"),
        (sights(OFFICE, BALANCER, client=BALANCER, peer="10.9.9.8"), "", "unknown"),
        (sights(PUBLIC, PUBLIC, client=PROXY), "", "fail"),
        (sights(PUBLIC, "", client=PROXY), "", "fail"),
        (Sights(why="no key"), "", "unknown"),
    ],
)
def test_whose_address_is_seen(seen: Sights, own: str, verdict: str) -> None:
    """The visitor's own, a proxy's, or one that cannot be told."""
    found = examine_address(seen, own=own)
    assert found.verdict == verdict, found
    assert bool(found.remedy) == (verdict != "ok")


@pytest.mark.parametrize(
    ("own", "proxy", "machine", "verdict"),
    [
        (0, 0, 0, "ok"),
        (4, 2, 1, "ok"),
        (-4, -2, -1, "ok"),
        (30, 0, 0, "fail"),
        (-30, 0, 0, "fail"),
        (0, 10, 0, "fail"),
        (0, -10, 0, "fail"),
        (0, 0, -10, "fail"),
    ],
)
def test_clocks(own: float, proxy: float, machine: float, verdict: str) -> None:
    """A few seconds are nothing; each clock that is further apart is found."""
    redis = 1_800_000_000.5
    date = {"date": _http_date(redis + proxy)}
    reading = Reading(Answer(200, date), redis, redis + own - 0.1, redis + own + 0.1)
    assert examine([reading], [machine]).verdict == verdict


def test_a_slow_answer_is_no_wrong_clock() -> None:
    """What an answer took on its way counts for neither."""
    redis = 1_800_000_000.5
    reading = Reading(Answer(200, {"date": _http_date(redis + 5)}), redis, redis - 1, redis + 9)
    assert examine([reading], []).verdict == "ok"
    assert examine([], []).verdict == "unknown"


def _http_date(seconds: float) -> str:
    return formatdate(int(seconds), usegmt=True)
