"""Proofs in requests: where they are looked for, which one counts, and how they are handed out."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import pytest

from tests.rooms.test_eta import READING
from tests.web import sites
from waitroom.model import Pass, Place, Standing, Ticket, Visitor
from waitroom.rooms.room import Room
from waitroom.serve.assemble import assemble
from waitroom.settings.room import RoomSettings
from waitroom.web.instance import Instance
from waitroom.web.proofs import Proof, ProofDesk, fingerprint, fits

VISITOR, OTHER = Visitor("AbCdEfGhIjKlMnOpQrStUg"), Visitor("BbCdEfGhIjKlMnOpQrStUg")
TICKET = Ticket(VISITOR, 7, 8)
PREFIXES = {False: "waitroom_", True: "__Host-waitroom_"}


class Desk(ProofDesk):
    """The desk of an instance that is connected to nothing, and the proofs that it gives out."""

    def __init__(self, *, secure: bool = False) -> None:
        base = "https://shop.example" if secure else "http://shop.example"
        self.instance: Instance = assemble(sites.settings_for("unix:///nowhere", public_url=base))
        parts = self.instance
        super().__init__(parts.tickets, parts.passes, parts.clock, secure=parts.settings.secure)

    def room(self, **settings: Any) -> Room:
        """A room that nobody has read from Redis."""

        async def never(_: Room) -> None:
            raise AssertionError("nothing is lost")

        chosen = RoomSettings(**settings)
        return Room("shop", self.instance.store, settings=chosen, reading=READING, most_waiting=1, remake=never)

    def pass_text(self, visitor: Visitor = VISITOR, *, bound: str = "") -> str:
        """A pass for a minute."""
        now = self.instance.clock.now()
        return self.instance.passes.issue("shop", Pass(visitor, now + 60, bound=bound), now=now)

    def ticket_text(self, ticket: Ticket = TICKET) -> str:
        """A ticket."""
        return self.instance.tickets.issue("shop", ticket)


def request(*headers: tuple[str, str]) -> dict[str, Any]:
    """A request with these headers, as a server gives it."""
    return {"type": "http", "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]}


@pytest.mark.parametrize("secure", [False, True])
def test_cookies_of_http_and_https(secure: bool) -> None:
    """Under https a cookie is tied to the host and to https; in both no script reads it and no other site sends it."""
    desk = Desk(secure=secure)
    end = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
    name = f"{PREFIXES[secure]}ticket_shop"
    assert desk.set_cookie("shop", "ticket", "x", seconds=9.9) == (
        b"set-cookie",
        f"{name}=x; Max-Age=9{end}".encode(),
    )
    assert desk.clear_cookie("shop", "ticket") == (b"set-cookie", f"{name}=; Max-Age=0{end}".encode())
    assert desk.cookie(request(("cookie", f"{name}=y")), "shop", "ticket") == "y"
    assert desk.cookie(request(("cookie", f"{PREFIXES[not secure]}ticket_shop=y")), "shop", "ticket") is None


@pytest.mark.parametrize(("seconds", "age"), [(0.4, 1), (0.0, 1), (-5.0, 1), (1.0, 1), (1.9, 1), (2.0, 2)])
def test_a_cookie_lives_a_second_at_least(seconds: float, age: int) -> None:
    """Max-Age=0 would take a proof away that has just been given."""
    assert f"; Max-Age={age};".encode() in Desk().set_cookie("shop", "pass", "x", seconds=seconds)[1]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["waitroom_pass_shop=a"], "a"),
        (["x=1; waitroom_pass_shop=a; y=2"], "a"),
        (["x=1;waitroom_pass_shop=a;y=2"], "a"),
        (["x=1; \t waitroom_pass_shop=a \t ; y=2"], "a"),
        (["waitroom_pass_shop=a=b=="], "a=b=="),
        (["waitroom_pass_shop="], ""),
        (["waitroom_pass_shop=a; waitroom_pass_shop=b"], "a"),
        (["x=1", "waitroom_pass_shop=a", "waitroom_pass_shop=b"], "a"),
        (["y=waitroom_pass_shop=a"], None),
        (["waitroom_pass_shop2=a"], None),
        (["waitroom_ticket_shop=a"], None),
        (["Waitroom_pass_shop=a"], None),
        (["\x0bwaitroom_pass_shop=a"], None),
        ([""], None),
        ([], None),
    ],
)
def test_which_cookie_counts(lines: list[str], found: str | None) -> None:
    """The first of the room's own name and kind; blanks around it are HTTP's, nothing else is taken off."""
    assert Desk().cookie(request(*(("cookie", line) for line in lines)), "shop", "pass") == found


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([("x-waitroom-pass", "a")], ["a"]),
        ([("x-waitroom-pass", " \ta\t ")], ["a"]),
        ([("x-waitroom-pass", "\x0ba")], ["\x0ba"]),
        ([("x-waitroom-pass", "a"), ("cookie", "waitroom_pass_shop=b")], ["b", "a"]),
        ([("x-waitroom-pass", "a"), ("cookie", "waitroom_pass_shop=")], ["", "a"]),
        ([("x-waitroom-pass", "a"), ("cookie", "waitroom_pass_shop=a")], ["a"]),
        ([("x-waitroom-pass", "a"), ("cookie", "waitroom_ticket_shop=b")], ["a"]),
        ([("x-waitroom-pass", "a, b"), ("x-waitroom-pass", "c")], ["a", "b", "c"]),
        ([("cookie", "waitroom_pass_shop=a; waitroom_pass_shop=b"), ("cookie", "waitroom_pass_shop=a")], ["a", "b"]),
        ([("cookie", "; ".join(f"waitroom_pass_shop={n}" for n in range(100)))], ["0", "1", "2", "3"]),
        ([("x-waitroom-pass", ",".join(map(str, range(100))))], ["0", "1", "2", "3"]),
        ([("authorization", "Bearer a")], []),
        ([], []),
    ],
)
def test_what_the_gate_looks_at(headers: list[tuple[str, str]], found: list[str]) -> None:
    """The first few pass cookies and lines of the gate's own header, each once, and never Authorization."""
    assert Desk().of_gate(request(*headers), "shop") == found


def test_the_bearers_proof_goes_before_the_cookies() -> None:
    """A bearer that is a ticket or a pass counts alone; one that is neither, or is the origin's, hides no cookie."""
    desk = Desk()
    room, ticket, granted = desk.room(), desk.ticket_text(), desk.pass_text()
    cookies = ("cookie", f"waitroom_ticket_shop={desk.ticket_text(Ticket(OTHER, 1, 2))}")

    def found(authorization: str) -> Proof:
        return desk.of_visitor(request(("authorization", authorization), cookies), room)

    for scheme in ("Bearer", "bearer", "BEARER"):
        assert found(f"{scheme} {ticket}") == Proof(TICKET, None, "")
    proof = found(f"Bearer  {granted}\t")
    assert (proof.ticket, proof.granted and proof.granted.visitor) == (None, VISITOR)
    for other in (
        f"Bearer \x0b{ticket}",
        "",
        "Bearer",
        "Bearer ",
        "Bearer x.y.z",
        f"Basic {ticket}",
        f"Bearer{ticket}",
        ticket,
    ):
        assert found(other) == Proof(Ticket(OTHER, 1, 2), None, ""), other


def test_any_cookie_that_verifies_counts() -> None:
    """Wherever it stands. Of two tickets the newer one, of two passes the one that lives longer."""
    desk = Desk()
    room, newer = desk.room(), Ticket(OTHER, 1, 9)
    now = desk.instance.clock.now()

    def lasting(visitor: Visitor, seconds: float, *, offer: bool = False) -> str:
        return desk.instance.passes.issue("shop", Pass(visitor, now + seconds, offer=offer), now=now)

    def found(kind: str, *texts: str) -> Proof:
        return desk.of_visitor(request(("cookie", "; ".join(f"waitroom_{kind}_shop={text}" for text in texts))), room)

    good = desk.ticket_text()
    for order in ((good, "stale", desk.ticket_text(newer)), (desk.ticket_text(newer), good), ("", "x.y", good)):
        assert found("ticket", *order).ticket == (TICKET if "x.y" in order else newer), order
    short, long, offer = lasting(VISITOR, 5), lasting(OTHER, 50), lasting(VISITOR, 500, offer=True)
    for passes in ((short, long), (long, short), ("x.y.z", long, offer)):
        granted = found("pass", *passes).granted
        assert granted is not None
        assert granted.visitor == OTHER
    assert found("pass", *"abcd", long).granted is None


def test_any_bearer_that_verifies_counts() -> None:
    """A client may bear the origin's own beside it."""
    desk = Desk()
    for lines in (("Basic dTpw", f"Bearer {desk.ticket_text()}"), ("Bearer x", f"Bearer {desk.ticket_text()}")):
        scope = request(*(("authorization", line) for line in lines))
        assert desk.of_visitor(scope, desk.room()).ticket == TICKET


def test_both_cookies_are_read() -> None:
    """Each as what its name says: a ticket in the pass's cookie is none."""
    desk = Desk()
    ticket, granted = desk.ticket_text(), desk.pass_text()
    right = request(("cookie", f"waitroom_ticket_shop={ticket}; waitroom_pass_shop={granted}"))
    proof = desk.of_visitor(right, desk.room())
    assert (proof.ticket, proof.granted and proof.granted.visitor) == (TICKET, VISITOR)
    swapped = request(("cookie", f"waitroom_ticket_shop={granted}; waitroom_pass_shop={ticket}"))
    assert desk.of_visitor(swapped, desk.room()) == Proof()
    assert desk.of_visitor(request(), desk.room()) == Proof()


def test_the_fingerprint_of_a_client() -> None:
    """In a room that binds: 48 bits of the User-Agent's hash, also of none; elsewhere nothing."""
    desk = Desk()
    binding, free = desk.room(bind_user_agent=True), desk.room()
    for agent in ("phone/1", ""):
        right = urlsafe_b64encode(sha256(agent.encode()).digest()[:6]).decode()
        scope = request(("user-agent", agent)) if agent else request()
        assert (fingerprint(scope, binding), fingerprint(scope, free)) == (right, "")


@pytest.mark.parametrize(
    ("bound", "client", "good"), [("", "", True), ("", "a", True), ("a", "", True), ("a", "a", True), ("a", "b", False)]
)
def test_which_client_a_proof_fits(bound: str, client: str, good: bool) -> None:
    """Only a bound proof before another client is refused."""
    assert fits(Ticket(VISITOR, 1, 2, bound), client) is good
    assert fits(Pass(VISITOR, 1.0, bound=bound), client) is good


def test_a_bound_proof_of_another_client_is_none() -> None:
    """Neither the ticket nor the pass; what is given in answer is to be bound to the client that asked."""
    desk = Desk()
    room = desk.room(bind_user_agent=True)
    mine, others = (fingerprint(request(("user-agent", agent)), room) for agent in ("phone", "laptop"))
    for bound, good in ((mine, True), (others, False), ("", True)):
        ticket, granted = desk.ticket_text(TICKET._replace(bound=bound)), desk.pass_text(bound=bound)
        cookies = f"waitroom_ticket_shop={ticket}; waitroom_pass_shop={granted}"
        proof = desk.of_visitor(request(("user-agent", "phone"), ("cookie", cookies)), room)
        assert (proof.ticket is not None, proof.granted is not None, proof.bound) == (good, good, mine)
        proof = desk.of_visitor(request(("user-agent", "phone"), ("authorization", f"Bearer {ticket}")), room)
        assert (proof.ticket is not None, proof.bound) == (good, mine)


# What is handed out.


def cookies_of(*headers: tuple[bytes, bytes]) -> dict[str, tuple[str, str]]:
    """The cookies that the headers set, by name: value and Max-Age."""
    found = {}
    for name, line in headers:
        assert name == b"set-cookie"
        pair, age, *_ = line.decode().split("; ")
        key, _, text = pair.partition("=")
        found[key] = (text, age)
    return found


NOW_US, BOUND = 1_800_000_000_000_000, "AbCdEfGh"


def placed(desk: Desk, standing: Standing, *, serial: int) -> Place:
    """A place that ends in a minute."""
    desk.instance.clock.observe(NOW_US)
    return Place(standing, NOW_US, VISITOR, serial=serial, expires_us=NOW_US + 60_000_000)


def test_a_ticket_names_the_place_and_the_moment() -> None:
    """It proves visitor, serial and when it was given, for the client it is bound to, and lives as long as the room
    says."""
    desk = Desk()
    room, place = desk.room(ticket_seconds=900.0), placed(desk, Standing.WAITING, serial=7)
    text, header = desk.ticket(room, place, BOUND)
    assert cookies_of(header) == {"waitroom_ticket_shop": (text, "Max-Age=900")}
    assert desk.instance.tickets.verify("shop", text) == Ticket(VISITOR, 7, NOW_US, BOUND)


@pytest.mark.parametrize("serial", [0, 7])
def test_an_offer_comes_with_a_way_back(serial: int) -> None:
    """The pass of an offer says so; a visitor with a serial gets the ticket too, in case the offer lapses."""
    desk = Desk()
    room, place = desk.room(ticket_seconds=900.0), placed(desk, Standing.OFFERED, serial=serial)
    text, headers = desk.grant(room, place, BOUND)
    expected = {"waitroom_pass_shop": (text, "Max-Age=60")}
    if serial:
        expected["waitroom_ticket_shop"] = (desk.ticket(room, place, BOUND)[0], "Max-Age=900")
    assert cookies_of(*headers) == expected
    granted = desk.instance.passes.verify("shop", text, now=NOW_US / 1_000_000)
    assert granted == Pass(VISITOR, place.expires_us / 1_000_000, offer=True, bound=BOUND)


def test_a_claimed_place_takes_the_ticket_away() -> None:
    """The pass is for a session, and stands first: a proxy hands on one cookie only."""
    desk = Desk()
    text, headers = desk.grant(desk.room(), placed(desk, Standing.ADMITTED, serial=7), "")
    assert list(cookies_of(*headers).items()) == [
        ("waitroom_pass_shop", (text, "Max-Age=60")),
        ("waitroom_ticket_shop", ("", "Max-Age=0")),
    ]
    granted = desk.instance.passes.verify("shop", text, now=NOW_US / 1_000_000)
    assert granted is not None
    assert not granted.offer
