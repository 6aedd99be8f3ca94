"""schemathesis sends whatever /openapi.json allows and forbids; the answers are what it declares, and no fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import requests
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.checks import unsupported_method

from tests.fuzz.mutations import FACTOR
from tests.web import sites
from tests.web.declared import CHECKS, loaded
from tests.web.sites import ADMIN, PATIENCE_SECONDS, Site, bearer

#: Inputs for each operation and kind of input.
EXAMPLES: Final = 15 * FACTOR

#: The rooms that visitors are sent to, by what happens to who comes.
ROOMS: Final[dict[str, dict[str, Any]]] = {
    "busy": {"capacity": 1, "session_seconds": 7200.0, "abandon_seconds": 3600.0},
    "wide": {"capacity": 0, "sliding": True, "strict": True, "return_origins": ["https://shop.example"]},
    "full": {"capacity": 1, "session_seconds": 7200.0, "abandon_seconds": 3600.0, "max_waiting": 1},
    "closed": {"state": "closed", "message": "We open at ten."},
    "paused": {"state": "paused", "bind_user_agent": True},
}


@dataclass
class Scene:
    """A running instance with those rooms, and how it is asked."""

    site: Site
    session: requests.Session

    def ask(self, case: Case[Any], who: str, room: str) -> None:
        """Send it as a visitor of that kind, to that room or the one that it names, and check the answer."""
        if case.path.startswith("/admin"):
            # Operators do not touch the visitors' rooms.
            headers, room = {} if who == "nobody" else ADMIN, room and "played"
            self.site.make_room("played")
        else:
            # Where somebody waits, a stream would not end.
            room = "wide" if case.path.endswith("/events") else room
            headers = bearer(_KINDS[who](self.site, room or "busy"))
        if room and "room" in case.path_parameters:
            case.path_parameters["room"] = room
        case.call_and_validate(
            base_url=self.site.url,
            session=self.session,
            headers=dict(case.headers or {}) | headers,
            # The gate does not look at the method: some proxies ask with the request's own.
            checks=[*CHECKS] if case.path.startswith(("/gate", "/forward-auth")) else [*CHECKS, unsupported_method],
            timeout=PATIENCE_SECONDS,
        )


def _of_who_left(site: Site, room: str) -> str | None:
    proof = _got(site, room)
    site.leave(room, proof)
    return proof


def _got(site: Site, room: str) -> str | None:
    """The proof of somebody who has just come: a ticket, an offered pass, or none where nobody is taken."""
    document = site.enter(room).json()
    proof: str | None = document.get("ticket") or document.get("pass")
    return proof


def _claimed(site: Site, room: str) -> str | None:
    proof = _got(site, room)
    granted: str | None = site.status(room, proof).json().get("pass") if proof else None
    return granted


_KINDS: Final[dict[str, Callable[[Site, str], str | None]]] = {
    "nobody": lambda _site, _room: None,
    "who came": _got,
    "who claimed": _claimed,
    "who left": _of_who_left,
    "of the other room": lambda site, _room: _got(site, "wide"),
    "strange": lambda _site, _room: "k1." + "A" * 88,
}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """An instance of its own, which ends without a fault in its log."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as site:
        for name, given in ROOMS.items():
            site.make_room(name, **given)
        for name in ("busy", "full"):
            site.pass_of_new(name)
            site.ticket_of_new(name)
        with requests.Session() as session:
            yield Scene(site, session)


SCHEMA: Final = loaded(EXAMPLES, alike=FACTOR == 1)


@SCHEMA.parametrize()
@SCHEMA.given(who=st.sampled_from(sorted(_KINDS)), room=st.sampled_from([*ROOMS, ""]))
def test_answers_are_as_declared(case: Case[Any], scene: Scene, who: str, room: str) -> None:
    """Whoever asks for whatever in whichever room."""
    scene.ask(case, who, room)


@SCHEMA.parametrize()
def test_the_edges_are_as_declared(case: Case[Any], scene: Scene) -> None:
    """What lies just inside and just outside of what is declared: bounds, kinds, lengths, missing and more."""
    scene.ask(case, "who came", "wide")
