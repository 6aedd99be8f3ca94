"""GET /openapi.json: the HTTP interface, as an OpenAPI 3.1 document. A test holds it against the routes and answers."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from waitroom import __version__
from waitroom.model import ROOM_NAME
from waitroom.settings.room import RoomSettings
from waitroom.web.wire import respond

Schema = dict[str, Any]

_NUMBER_OR_NULL: Final[Schema] = {"type": ["number", "null"], "minimum": 0}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_TIME_OR_NULL: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_SERIAL: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
_LADDER: Final[Schema] = {
    "type": "array",
    "description": "up to 32 ranks of the wait queue, ascending, each with the serial that stands there",
    "items": {"type": "array", "items": _SERIAL, "minItems": 2, "maxItems": 2},
    "maxItems": 32,
}
_STATE: Final[Schema] = {"type": "string", "enum": ["open", "paused", "closed", "bypass"]}
_ETAS: Final[Schema] = {
    "eta_seconds": _NUMBER_OR_NULL,
    "eta_low_seconds": _NUMBER_OR_NULL,
    "eta_high_seconds": _NUMBER_OR_NULL,
}


class Document:
    """GET /openapi.json"""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """The document."""
        await respond(send, 200, orjson.dumps(document()), cache=(b"cache-control", b"public, max-age=300"))


@cache
def document() -> Schema:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "waitroom", "version": __version__, "description": "A virtual waiting room."},
        "paths": {**_visitor_paths(), **_proxy_paths(), **_admin_paths(), **_probe_paths()},
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "proof": {"type": "http", "scheme": "bearer", "description": "a ticket or a pass; or its cookie"},
                "admin": {"type": "http", "scheme": "bearer", "description": "the admin key"},
            },
        },
    }


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


_WHOM: Final[Schema] = {
    "type": "object",
    "properties": {"visitor": {"type": "string"}, "proof": {"type": "string"}},
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}


def _schemas() -> dict[str, Schema]:
    settings = RoomSettings.model_json_schema()
    counts = ("entered", "restored", "admitted", "claimed", "left", "finished", "no_show", "abandoned")
    return {
        "Problem": {
            "type": "object",
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
            },
            "required": ["type", "title", "status"],
        },
        "Demand": {
            "type": "object",
            "description": "what a new place takes here",
            "properties": {
                "type": {
                    "enum": [
                        f"urn:waitroom:{slug}" for slug in ("too-many-places", "challenge-required", "token-required")
                    ]
                },
                "title": {"type": "string"},
                "status": {"enum": [403, 429]},
                "detail": {"type": "string"},
                "challenge": _object(
                    text={"type": "string"},
                    bits={"type": "integer", "minimum": 1, "maximum": 24},
                    seed_characters={"type": "integer"},
                    expires_at=_TIME,
                ),
                "enqueue_url": {"type": "string", "description": "where a token is to be had"},
            },
            "required": ["type", "title", "status", "detail"],
        },
        "Refusal": {
            "type": "object",
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "room": {"type": "string"},
                "enter": {"type": "string"},
                "page": {"type": "string"},
            },
            "required": ["type", "title", "status", "detail"],
        },
        "Waiting": _object(
            room={"type": "string"},
            state={"const": "waiting"},
            rank={"type": "integer", "minimum": 1},
            serial=_SERIAL,
            waiting=_COUNT,
            **_ETAS,
            poll_after_seconds={"type": "number", "description": "when to ask again"},
            latest_poll_seconds={
                "type": "number",
                "description": "when to ask again at the latest, for who watches the room document meanwhile",
            },
            entered_at=_TIME,
            as_of=_TIME,
            room_state=_STATE,
            message={"type": "string"},
            ticket={"type": "string"},
        ),
        "Admitted": _object(
            room={"type": "string"},
            state={"const": "admitted"},
            **{"pass": {"type": "string"}},
            expires_at=_TIME,
            session_seconds={"type": "number"},
        ),
        "Public": _object(
            room={"type": "string"},
            state=_STATE,
            waiting=_COUNT,
            occupancy=_COUNT,
            capacity=_COUNT,
            admit_per_second={"type": "number"},
            admitted_per_second=_NUMBER_OR_NULL,
            **_ETAS,
            message={"type": "string"},
            ladder=_LADDER,
            lost_at=_TIME_OR_NULL,
            refresh_after_seconds={
                "type": "number",
                "description": "age, from as_of, at which who watches fetches this anew; or a little earlier",
            },
            as_of=_TIME,
        ),
        "Settings": settings,
        "Room": _object(
            room={"type": "string"},
            version={"type": "integer"},
            settings={"$ref": "#/components/schemas/Settings"},
            waiting=_COUNT,
            occupancy=_COUNT,
            offered=_COUNT,
            counts=_object(**dict.fromkeys((*counts, "refused_full", "refused_limited", "refused_closed"), _COUNT)),
        ),
        "Rooms": _object(
            rooms={"type": "array", "items": {"$ref": "#/components/schemas/Room"}},
            faults={"type": "object", "additionalProperties": {"type": "string"}},
        ),
        "Revoked": _object(room={"type": "string"}, visitor={"type": "string"}, had_place={"type": "boolean"}),
    }


def _json(description: str, *schemas: str) -> Schema:
    references = [{"$ref": f"#/components/schemas/{name}"} for name in schemas]
    schema = references[0] if len(references) == 1 else {"oneOf": references}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_MEANINGS: Final = {
    "400": "the request is not valid; the detail names the field",
    "401": "no valid proof or key",
    "403": "closed, or asked for by a page of another site",
    "404": "no such room",
    "405": "no such method here",
    "410": "the turn is over: had, or left",
    "412": "the room has another version",
    "413": "the body is too large",
    "415": "the body is not JSON",
    "429": "this address or its network has taken its places; see Retry-After",
    "503": "full, overloaded or out of reach; see Retry-After",
}


def _problems(*statuses: str) -> dict[str, Schema]:
    reference = {"$ref": "#/components/schemas/Problem"}
    content = {"application/problem+json": {"schema": reference}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def _demands() -> dict[str, Schema]:
    problem, demand = ({"$ref": f"#/components/schemas/{name}"} for name in ("Problem", "Demand"))
    meaning = f"{_MEANINGS['403']}, or a place takes a token or some work"
    return {
        "403": {
            "description": meaning,
            "content": {"application/problem+json": {"schema": {"anyOf": [problem, demand]}}},
        },
        "429": {"description": _MEANINGS["429"], "content": {"application/problem+json": {"schema": demand}}},
    }


def _operation(name: str, summary: str, answers: dict[str, Schema], **more: Any) -> Schema:
    return {"operationId": name, "summary": summary, "responses": answers, **more}


_ROOM: Final[list[Schema]] = [
    {
        "name": "room",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^" + ROOM_NAME.pattern.removesuffix(r"\Z") + "$"},
    }
]
_VERSION: Final[list[Schema]] = [
    {
        "name": name,
        "in": "header",
        "description": meaning,
        "schema": {"type": "string"},
    }
    for name, meaning in (
        ("If-Match", "the version that the room must have, as its ETag says it; `*`: it must exist"),
        ("If-None-Match", "`*`: it must not exist"),
    )
]
_RETURN: Final[Schema] = {
    "name": "return",
    "in": "query",
    "description": "where to go on admission: a path, or an address on one of the room's return_origins",
    "schema": {"type": "string"},
}
_ENQUEUE: Final[Schema] = {
    "name": "enqueue",
    "in": "query",
    "description": "an enqueue token of the site; it goes out of the address at once",
    "schema": {"type": "string"},
}
_PROVED: Final[list[Schema]] = [
    {"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}}
    for name, meaning in (
        ("X-Waitroom-Enqueue", "an enqueue token of the site; or the room's cookie waitroom_enqueue_<room>"),
        ("X-Waitroom-Challenge", "the solution of a challenge: its text, a dot, and the number found"),
    )
]
_EMPTY_BODY: Final[Schema] = {"content": {"application/json": {"schema": {"type": "object", "maxProperties": 0}}}}


_STREAM: Final[Schema] = {
    "description": (
        "`place`, whenever it changes: the document of a waiting visitor without the ticket. Then `admitted` or "
        "`over` (ask for the status), or `reconnect` (open a stream again, after `retry` milliseconds), and the end. "
        "A stream only tells: whoever listens asks for the status all the same, before latest_poll_seconds are over."
    ),
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def _visitor_paths() -> dict[str, Schema]:
    proof: list[Schema] = [{"proof": []}, {}]
    common = ("400", "403", "404", "413", "415", "503")
    return {
        "/v1/rooms/{room}/enter": {
            "parameters": _ROOM,
            "post": _operation(
                "enter",
                "get a place; with a proof the same place again",
                {
                    "200": _json("admitted", "Admitted"),
                    "202": _json("waiting", "Waiting"),
                    **_problems("410", *common),
                    **_demands(),
                },
                parameters=_PROVED,
                security=proof,
                requestBody=_EMPTY_BODY,
            ),
        },
        "/v1/rooms/{room}/status": {
            "parameters": _ROOM,
            "get": _operation(
                "status",
                "where the visitor stands",
                {"200": _json("waiting or admitted", "Waiting", "Admitted"), **_problems("401", "404", "410", "503")},
                security=proof,
            ),
        },
        "/v1/rooms/{room}/events": {
            "parameters": _ROOM,
            "get": _operation(
                "events",
                "server-sent events: what becomes of the visitor's place",
                {"200": _STREAM, **_problems("401", "404", "410", "503")},
                security=proof,
            ),
        },
        "/v1/rooms/{room}/leave": {
            "parameters": _ROOM,
            "post": _operation(
                "leave",
                "say goodbye; the proofs are spent",
                {"204": {"description": "gone"}, **_problems("401", *common)},
                security=proof,
                requestBody=_EMPTY_BODY,
            ),
        },
        "/v1/rooms/{room}": {
            "parameters": _ROOM,
            "get": _operation(
                "room", "what anybody may know", {"200": _json("the room", "Public"), **_problems("404", "503")}
            ),
        },
        "/wait/{room}": {
            "parameters": [*_ROOM, _ENQUEUE, _RETURN],
            "get": _operation(
                "wait",
                "the waiting page; enters the room",
                {
                    "200": _page("waiting"),
                    "303": {
                        "description": "admitted: on to the return address; or to this page, the token as a cookie"
                    },
                    "403": _page("closed, or a place takes a token or some work"),
                    "410": _page("the customer has had their turn"),
                    "429": _page("this address or its network has taken its places"),
                    **_problems("404"),
                    "503": _page("full or out of reach"),
                },
            ),
        },
        "/wait/_assets/{name}": {
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": _operation(
                "asset",
                "a file of the waiting page",
                {"200": {"description": "the file"}, "304": {"description": "not changed"}, **_problems("404")},
            ),
        },
    }


def _page(description: str) -> Schema:
    return {"description": description, "content": {"text/html": {"schema": {"type": "string"}}}}


def _proxy_paths() -> dict[str, Schema]:
    cookie = {"description": "a pass, where one was just given or claimed", "schema": {"type": "string"}}
    answers: dict[str, Schema] = {
        "204": {"description": "go on", "headers": {"Set-Cookie": cookie, "X-Waitroom-Pass": cookie}},
        "401": {"description": "must wait"},
        "403": {"description": "revoked, closed, or no such room"},
    }
    return {
        "/gate/{room}": {
            "parameters": _ROOM,
            "get": _operation("gate", "may this request go on? For proxies", answers),
        },
        **_forward_paths(cookie),
    }


def _forward_paths(cookie: Schema) -> dict[str, Schema]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    answers: dict[str, Schema] = {
        "200": {"description": "go on", "headers": {"Set-Cookie": cookie, "X-Waitroom-Pass": cookie}},
        "303": {"description": "a browser must wait: on to the waiting page"},
        "401": {"description": "any other client must wait", "content": problem},
        "403": {"description": "revoked, closed, or no such room", "content": {**problem, **_page("")["content"]}},
    }
    sent = {
        name: {"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in (
            ("X-Forwarded-Method", "the method of the visitor's request"),
            ("X-Forwarded-Uri", "the path and query of the visitor's request"),
        )
    }
    tail = {"name": "tail", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/forward-auth/{room}": {
            "parameters": [*_ROOM, *sent.values()],
            "get": _operation("forward_auth", "the gate, for proxies that hand its answer on", answers),
        },
        "/forward-auth/{room}/{tail}": {
            "parameters": [*_ROOM, tail, sent["X-Forwarded-Method"]],
            "get": _operation("forward_auth_below", "the same, with the visitor's path below it", answers),
        },
    }


def _admin_paths() -> dict[str, Schema]:
    security: list[Schema] = [{"admin": []}]
    room = {"200": _json("the room", "Room")}
    change = _problems("400", "401", "404", "412", "413", "415", "503")
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Settings"}}}}
    message = _object(message={"type": "string"})
    commands = {
        f"/admin/rooms/{{room}}/{command}": {
            "parameters": _ROOM,
            "post": _operation(
                f"{command}_room",
                meaning,
                {**room, **change},
                security=security,
                parameters=_VERSION,
                requestBody={"content": {"application/json": {"schema": {**message, "required": []}}}},
            ),
        }
        for command, meaning in (
            ("pause", "admit nobody; places are kept"),
            ("resume", "open again"),
            ("close", "let nobody enter"),
        )
    }
    return {
        "/admin/rooms": {
            "get": _operation(
                "list_rooms",
                "every room",
                {"200": _json("the rooms", "Rooms"), **_problems("401", "503")},
                security=security,
            )
        },
        "/admin/rooms/{room}": {
            "parameters": _ROOM,
            "get": _operation(
                "read_room", "one room", {**room, **_problems("400", "401", "404", "503")}, security=security
            ),
            "put": _operation(
                "put_room",
                "create it or replace its settings",
                {**room, "201": _json("created", "Room"), **change},
                security=security,
                parameters=_VERSION,
                requestBody=body,
            ),
            "patch": _operation(
                "patch_room",
                "change what is given",
                {**room, **change},
                security=security,
                parameters=_VERSION,
                requestBody=body,
            ),
            "delete": _operation(
                "delete_room",
                "remove it and everybody in it",
                {"204": {"description": "gone"}, **_problems("400", "401", "404", "412", "503")},
                security=security,
                parameters=_VERSION,
            ),
        },
        **commands,
        "/admin/rooms/{room}/revoke": {
            "parameters": _ROOM,
            "post": _operation(
                "revoke_room",
                "send one visitor away: their place is free, their ticket and pass are spent",
                {
                    "200": _json("whom it was, and whether they had a place", "Revoked"),
                    **_problems("400", "401", "404", "413", "415", "503"),
                },
                security=security,
                requestBody={"content": {"application/json": {"schema": _WHOM}}},
            ),
        },
    }


def _probe_paths() -> dict[str, Schema]:
    status = {"description": "yes", "content": {"application/json": {"schema": {"type": "object"}}}}
    text = {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        "/livez": {"get": _operation("livez", "does the process answer?", {"200": status})},
        "/readyz": {"get": _operation("readyz", "can it serve?", {"200": status, **_problems("503")})},
        "/metrics": {"get": _operation("metrics", "metrics for Prometheus", {"200": text})},
        "/openapi.json": {"get": _operation("openapi", "this document", {"200": status})},
    }
