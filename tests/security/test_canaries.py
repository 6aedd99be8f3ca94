"""What clients send and what must stay secret is nowhere that it does not belong: logs, metrics, answers to others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import pytest

from tests.web import sites
from tests.web.sites import ADMIN, ADMIN_KEY, SIGNING_KEY, Site, bearer

pytestmark = pytest.mark.system

CANARY: Final = "canary-7f3a"

#: The canary in disguises that would start a line, colour a terminal or open a tag.
SHAPES: Final = (
    CANARY,
    f"\r\n2026-01-02 03:04:05 INFO waitroom: {CANARY}",
    f"\x1b[31m{CANARY}\x1b[0m",
    f"{CANARY}\u2028{CANARY}",
    f"<script>{CANARY}</script>",
    f"%n%s{{}}{CANARY}${{jndi:ldap://a}}",
)


@dataclass(frozen=True)
class Told:
    """What an instance logged and measured while all of it was sent, and the proofs that were among it."""

    log: str
    metrics: str
    proofs: tuple[str, ...]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Every address is asked for with every shape wherever a client can put one; with good proofs and bad ones."""
    folder = tmp_path_factory.mktemp("instance")
    with (
        sites.own_redis() as (url, redis),
        sites.program(redis, url, folder=folder, WAITROOM_LOG_LEVEL="debug") as site,
    ):
        room = site.make_room("shop", capacity=1)
        proofs = (site.pass_of_new(room), site.ticket_of_new(room))
        for shape in SHAPES:
            _send_everywhere(site, shape, proofs)
        site.admin("POST", f"/{room}/pause", json={"message": "for a while"})
        with sites.frozen(redis):
            site.call("GET", f"/v1/rooms/{room}/status?{CANARY}", headers=bearer(proofs[1]))
        metrics = site.call("GET", "/metrics").text
        yield Told((folder / "serve.log").read_text(), metrics, proofs)


_CALLS: Final = ("v1/rooms/{}/enter", "v1/rooms/{}/status", "v1/rooms/{}/leave")
_PLACES: Final = ("v1/rooms/{}", "gate/{}", "forward-auth/{}", "wait/{}", "wait/_assets/{}", "admin/rooms/{}", "x/{}")

#: At the gate the room is the operator's word, in the proxy's configuration. One that could be a room's name is told.
_OF_THE_OPERATOR: Final = f"gate: no room {CANARY}, every request is refused\n"
_OF_THE_ROOM: Final = ("wait/shop?return=/{0}", "forward-auth/shop/{0}", "v1/rooms/shop/status?{0}={0}")


def _send_everywhere(site: Site, shape: str, proofs: tuple[str, ...]) -> None:
    """In paths, queries, bodies and every header that is read, beside each proof and in place of one."""
    encoded = quote(shape, safe="")
    plain = re.sub(r"[\r\n\0]", " ", shape).encode()
    for proof in (*proofs, ADMIN_KEY, shape):
        for method in (b"GET", b"POST", b"PUT"):
            for path in (*_CALLS, *_PLACES, *_OF_THE_ROOM):
                head = _head(re.sub(r"[\r\n\0]", " ", proof).encode(), plain)
                site.raw(b"%s /%s HTTP/1.1\r\n%s\r\n\r\n%s" % (method, path.format(encoded).encode(), head, plain))
    site.raw(f"GET /{shape} HTTP/1.1\r\nHost: {shape}\r\n{shape}\r\n\r\n".encode())
    for name in ("message", "state", shape):
        site.call("PATCH", "/admin/rooms/shop", headers=ADMIN, json={name: shape * 40})


_READ: Final = (b"User-Agent", b"X-Forwarded-For", b"X-Forwarded-Uri", b"Origin", b"Referer")


def _head(proof: bytes, plain: bytes) -> bytes:
    lines = [
        b"Host: a",
        b"Authorization: Bearer " + proof,
        b"Cookie: waitroom_ticket_shop=%s; waitroom_pass_shop=%s; %s" % (proof, proof, plain),
        b"X-Waitroom-Pass: " + proof,
        *(name + b": " + plain for name in _READ),
        b"If-Match: " + plain,
        b"Content-Length: %d" % len(plain),
        b"Connection: close",
    ]
    return b"\r\n".join(lines)


def test_no_client_writes_into_the_log(told: Told) -> None:
    """Not at the least level either, nor while something goes wrong: no text of a client's, in whatever shape (T19)."""
    assert told.log.count(_OF_THE_OPERATOR) == 1
    assert CANARY not in told.log.replace(_OF_THE_OPERATOR, "")
    assert "jndi" not in told.log
    assert "\x1b" not in told.log


def test_no_secret_is_in_the_log(told: Told) -> None:
    """No proof, no key, not even the part of a proof that names the visitor (T31)."""
    secrets = [ADMIN_KEY, SIGNING_KEY.partition(":")[2], *told.proofs]
    secrets += [part for proof in told.proofs for part in proof.split(".") if len(part) > 24]
    assert [secret for secret in secrets if secret in told.log] == []


def test_nothing_of_it_is_a_label(told: Told) -> None:
    """Metrics are read by many: no text of a client's and no secret is among them (T31)."""
    assert [word for word in (CANARY, ADMIN_KEY, *told.proofs) if word in told.metrics] == []


def test_what_an_operator_did_is_in_the_log(told: Told) -> None:
    """Each change by the admin API leaves a line; reading and failing do not (T29)."""
    lines = re.findall(r"waitroom\.web\.admin\.calls: (admin: .*)", told.log)
    assert lines[0] == "admin: PUT /admin/rooms/shop: 201"
    assert lines[-1] == "admin: POST /admin/rooms/shop/pause: 200"
    assert {line.split()[1] for line in lines} <= {"PUT", "POST", "PATCH", "DELETE"}
