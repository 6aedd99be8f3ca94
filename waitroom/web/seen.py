"""GET /v1/rooms/{room}/seen: what an instance saw of this very request, for `waitroom doctor`.

Only a question signed with the admin key is answered. Nothing is told of another request or visitor, and nothing
changes.
"""

from __future__ import annotations

from typing import Final

import orjson
from starlette.types import Receive, Scope, Send

from waitroom.proofs.question import nonce_of
from waitroom.web.answers import Problem
from waitroom.web.documents import iso
from waitroom.web.headers import header, headers_of
from waitroom.web.instance import Instance
from waitroom.web.wire import respond

#: How the doctor brings its question.
QUESTION: Final = b"x-waitroom-doctor"

#: Headers in which a content delivery network tells whose request it passes on.
_OF_NETWORKS: Final = (b"cf-connecting-ip", b"true-client-ip", b"fastly-client-ip", b"x-azure-clientip")


def asked_by_doctor(instance: Instance, scope: Scope, room: str) -> str | None:
    """The nonce of a good question that the request brings, or None."""
    brought = header(scope, QUESTION)
    if brought is None:
        return None
    now = instance.clock.now()
    return nonce_of(instance.settings.admin_key, room, brought.decode("latin-1"), now=now)


class Seen:
    """GET /v1/rooms/{room}/seen"""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """200 and what was seen; raises Problem 401 without a good question."""
        instance = self._instance
        name = scope["path_params"]["room"]
        nonce = asked_by_doctor(instance, scope, name)
        if nonce is None:
            raise Problem(401, "no-question", "No valid question", "only `waitroom doctor` with the admin key may ask")
        settings = instance.rooms.get(name).settings
        peer = (scope.get("client") or ("",))[0]
        chain = headers_of(scope, b"x-forwarded-for")
        client = instance.proxies.client(peer, chain)
        document = {
            "nonce": nonce,
            "peer": peer,
            "forwarded_for": b",".join(chain).decode("latin-1"),
            "network_says": _text(next(filter(None, (header(scope, name) for name in _OF_NETWORKS)), None)),
            "client": None if client is None else str(client),
            "proxies_known": instance.proxies.known,
            "counts_addresses": bool(settings.places_per_address or settings.places_per_network),
            "scheme": _text(header(scope, b"x-forwarded-proto")),
            "host": _text(header(scope, b"host")),
            "public_url": instance.settings.public_url,
            "clock_ahead_seconds": round(instance.clock.skew_seconds(), 3),
            "as_of": iso(instance.clock.now_us()),
        }
        await respond(send, 200, orjson.dumps(document))


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("latin-1")
