"""schemathesis sends whatever /openapi.json allows and forbids; the answers are what it declares, and no fault."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.config import ChecksConfig, GenerationConfig, NotAServerErrorConfig, SchemathesisConfig
from schemathesis.schemas import BaseSchema

from tests.fuzz.mutations import FACTOR
from tests.web import sites
from tests.web.sites import ADMIN, PATIENCE_SECONDS, Site, bearer

#: Inputs for each operation and kind of input.
EXAMPLES: Final = 8 * FACTOR

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
    """A running instance with those rooms, its document, and the proofs of visitors of each kind."""

    site: Site
    schema: BaseSchema
    session: requests.Session = field(default_factory=requests.Session)

    def proof(self, kind: str, room: str) -> str | None:
        """What a visitor of that kind brings."""
        return _KINDS[kind](self.site, room)


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
    """An instance of its own."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as site:
        for name, given in ROOMS.items():
            site.make_room(name, **given)
        for name in ("busy", "full"):
            site.pass_of_new(name)
            site.ticket_of_new(name)
        config = SchemathesisConfig.from_dict({})
        config.projects.default.generation = GenerationConfig(
            modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE], max_examples=EXAMPLES, deterministic=FACTOR == 1
        )
        config.projects.default.checks = ChecksConfig(
            not_a_server_error=NotAServerErrorConfig(expected_statuses=["2xx", "3xx", "4xx", "503"])
        )
        made = Scene(site, schemathesis.openapi.from_url(f"{site.url}/openapi.json", config=config))
        yield made
        made.session.close()


@pytest.fixture
def document(scene: Scene) -> BaseSchema:
    """What the instance says of itself."""
    return scene.schema


DOCUMENT: Final = schemathesis.pytest.from_fixture("document")
EXAMPLES_ALIKE: Final = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck)
)
