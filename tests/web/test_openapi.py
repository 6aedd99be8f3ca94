"""The OpenAPI document, held against the routes and against real answers; tests/fuzz has more of those."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from importlib import resources
from typing import Any

import httpx
import pytest
from schemathesis.core.failures import FailureGroup
from starlette.routing import Route

from rig.waiting import until
from tests.web import sites
from tests.web.declared import assert_declared
from tests.web.sites import ADMIN, Site, bearer
from waitroom import __version__
from waitroom.serve.assemble import assemble
from waitroom.web.app import routes
from waitroom.web.openapi import document

Schema = dict[str, Any]


def resolved(schema: Schema) -> Schema:
    """The schema that a reference names, or the schema itself."""
    target = schema
    if "$ref" in schema:
        target = document()
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
    return target


def operations() -> Iterator[tuple[str, str, Schema]]:
    """Every path, method and operation of the document."""
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


# The document itself.


def test_it_is_served(site: Site) -> None:
    """The address gives the document, for caches to keep."""
    answer = site.call("GET", "/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == document()
    assert "max-age" in answer.headers["cache-control"]


def test_its_frame_is_openapi() -> None:
    """Version, info and paths are what OpenAPI 3.1 wants, and the version is the package's."""
    assert re.fullmatch(r"3\.1\.\d+", document()["openapi"])
    assert document()["info"]["title"]
    assert document()["info"]["version"] == __version__
    assert document().keys() <= {"openapi", "info", "paths", "components", "servers", "tags", "security"}


def test_every_operation_is_whole() -> None:
    """Each has an id of its own, a summary and described responses; each parameter of its path is declared."""
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    for path, _, operation in operations():
        assert operation["summary"]
        assert all(re.fullmatch(r"[1-5]\d\d", status) for status in operation["responses"])
        assert all(response["description"] for response in operation["responses"].values())
        parameters = [*document()["paths"][path].get("parameters", []), *operation.get("parameters", [])]
        named = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path))
        assert all(parameter["required"] for parameter in parameters if parameter["in"] == "path")
        for scheme in (name for choice in operation.get("security", []) for name in choice):
            assert scheme in document()["components"]["securitySchemes"]


def test_every_reference_leads_somewhere() -> None:
    """References resolve, and every schema is used."""
    referred: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                assert resolved(node)
                referred.add(node["$ref"].rpartition("/")[2])
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(document())
    assert referred == set(document()["components"]["schemas"])


def test_every_shared_part_is_used_and_written_out() -> None:
    """What the data share is referred to there, and in the document stands where it is used."""
    data = (resources.files("waitroom.web") / "openapi.json").read_text()
    for kind, parts in json.loads(data)["components"].items():
        if kind != "securitySchemes":
            assert [name for name in parts if f'"#/components/{kind}/{name}"' not in data] == []
    assert document()["components"].keys() == {"schemas", "securitySchemes"}


async def test_routes_and_document_say_the_same() -> None:
    """Every route and method of the application is in the document, and nothing else is, under the same names."""
    instance = assemble(sites.settings_for("unix:///nowhere"))
    served = {
        (route.path_format, method.lower(), route.name)
        for route in routes(instance)
        if isinstance(route, Route)
        # The gate answers every method alike; the document tells of GET.
        for method in (route.methods or {"GET"}) - {"HEAD"}
    }
    assert served == {(path, method, operation["operationId"]) for path, method, operation in operations()}
    await instance.store.close()


def test_the_check_finds_faults() -> None:
    """What is told by schemathesis would be told of a wrong answer: another status, type, field or value."""
    path = "/v1/rooms/{room}"
    good: dict[str, Any] = {"type": "urn:waitroom:x", "title": "x", "status": 404}
    assert_declared(_answer(404, good), path)
    bad_ones: list[tuple[int, Any]] = [
        (404, {"title": "x", "status": 404}),
        (404, good | {"status": "404"}),
        (404, good | {"more": 1}),
        (404, []),
        (410, good),
        (200, good),
        (500, good),
    ]
    for status, bad in bad_ones:
        with pytest.raises(FailureGroup):
            assert_declared(_answer(status, bad), path)
    with pytest.raises(FailureGroup):
        assert_declared(_answer(404, good, kind="application/json"), path)


def _answer(status: int, content: Any, *, kind: str = "application/problem+json") -> httpx.Response:
    request = httpx.Request("GET", "http://a/v1/rooms/shop")
    answer = httpx.Response(status, json=content, headers={"Content-Type": kind}, request=request)
    answer.elapsed = timedelta()
    return answer


# Real answers.


def test_visitors_answers_are_as_declared(site: Site) -> None:
    """Waiting, admitted, refused, unknown, gone: each document is what its path declares."""
    room = site.make_room(capacity=1, max_waiting=1)
    closed = site.make_room(state="closed")
    enter, status, leave = (f"/v1/rooms/{{room}}/{call}" for call in ("enter", "status", "leave"))
    admitted = site.enter(room)
    granted = site.status(room, admitted.json()["pass"])
    waiting = site.enter(room)
    ticket = waiting.json()["ticket"]
    assert (admitted.status_code, granted.status_code, waiting.status_code) == (200, 200, 202)
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for path, answer in (
        (enter, admitted),
        (status, granted),
        (enter, waiting),
        (status, site.status(room, ticket)),
        (enter, site.enter(room)),
        (enter, site.enter(closed)),
        (enter, site.enter("nowhere")),
        (enter, site.call("POST", f"/v1/rooms/{room}/enter", headers=foreign)),
        (enter, site.call("POST", f"/v1/rooms/{room}/enter", json={"a": 1})),
        (enter, site.call("POST", f"/v1/rooms/{room}/enter", content=b"x" * 5000)),
        (enter, site.call("POST", f"/v1/rooms/{room}/enter", data={"a": "b"})),
        (status, site.status(room)),
        (status, site.status("nowhere")),
        (leave, site.leave(room)),
        (leave, site.leave("nowhere")),
        (leave, site.call("POST", f"/v1/rooms/{room}/leave", json=[1])),
        (leave, site.leave(room, ticket)),
        (status, site.status(room, ticket)),
        ("/v1/rooms/{room}", site.call("GET", f"/v1/rooms/{room}")),
        ("/v1/rooms/{room}", site.call("GET", "/v1/rooms/nowhere")),
    ):
        assert_declared(answer, path)
    for name in (room, closed):
        site.admin("DELETE", f"/{name}")


@pytest.mark.parametrize("state", ["open", "paused", "closed", "bypass"])
def test_documents_are_as_declared_in_every_state(site: Site, state: str) -> None:
    """Unlimited rooms, messages and every state fit the schemas as well."""
    room = site.make_room(capacity=0, state=state, message="Hello.", return_origins=["https://a.example"])
    assert_declared(site.enter(room), "/v1/rooms/{room}/enter")
    assert_declared(site.call("GET", f"/v1/rooms/{room}"), "/v1/rooms/{room}")
    assert_declared(site.admin("GET", f"/{room}"), "/admin/rooms/{room}")
    site.admin("DELETE", f"/{room}")


def test_pages_and_the_gate_are_as_declared(site: Site) -> None:
    """The waiting page, its files and the gate answer with what their paths declare."""
    room = site.make_room(capacity=1, max_waiting=1)
    closed = site.make_room(state="closed")
    gate, wait, asset = "/gate/{room}", "/wait/{room}", "/wait/_assets/{name}"
    css = site.call("GET", "/wait/_assets/wait.css")
    for path, answer in (
        (gate, site.gate(room)),
        (gate, site.gate(room)),
        (gate, site.gate(closed)),
        (wait, site.call("GET", f"/wait/{room}")),
        (wait, site.call("GET", f"/wait/{room}")),
        (wait, site.call("GET", f"/wait/{closed}")),
        (wait, site.call("GET", "/wait/nowhere")),
        (asset, css),
        (asset, site.call("GET", "/wait/_assets/wait.css", headers={"If-None-Match": css.headers["etag"]})),
        (asset, site.call("GET", "/wait/_assets/nothing")),
    ):
        assert_declared(answer, path)
    for name in (room, closed):
        site.admin("DELETE", f"/{name}")


def test_operators_answers_are_as_declared(site: Site) -> None:
    """Every admin call, done, refused and unknown."""
    one, every = "/admin/rooms/{room}", "/admin/rooms"
    stale = {"If-Match": '"99"'}
    for path, answer in (
        (one, site.admin("PUT", "/declared", json={})),
        (one, site.admin("PUT", "/declared", json={"capacity": 3})),
        (one, site.admin("PUT", "/declared", json={"capacity": -3})),
        (one, site.admin("PUT", "/declared", json={}, headers=stale)),
        (one, site.admin("PUT", "/Declared", json={})),
        (one, site.admin("PUT", "/declared", content=b"x" * 70_000)),
        (one, site.admin("PUT", "/declared", data={"a": "b"})),
        (one, site.call("PUT", "/admin/rooms/declared")),
        (one, site.admin("GET", "/declared")),
        (one, site.admin("GET", "/nowhere")),
        (one, site.admin("GET", "/Nowhere")),
        (one, site.call("GET", "/admin/rooms/declared")),
        (one, site.admin("PATCH", "/declared", json={"message": "x"})),
        (one, site.admin("PATCH", "/declared", json={})),
        (one, site.admin("PATCH", "/declared", json={"capacity": 1}, headers=stale)),
        (one, site.admin("PATCH", "/nowhere", json={"capacity": 1})),
        *((f"{one}/{command}", site.admin("POST", f"/declared/{command}")) for command in ("pause", "resume", "close")),
        *((f"{one}/{command}", site.admin("POST", f"/nowhere/{command}")) for command in ("pause", "resume", "close")),
        *(
            (f"{one}/{command}", site.admin("POST", f"/declared/{command}", headers=stale))
            for command in ("pause", "close")
        ),
        (every, site.admin("GET")),
        (every, site.call("GET", "/admin/rooms")),
        (one, site.call("DELETE", "/admin/rooms/declared")),
        (one, site.admin("DELETE", "/Declared")),
        (one, site.admin("DELETE", "/declared", headers=stale)),
        (one, site.admin("DELETE", "/declared")),
        (one, site.admin("DELETE", "/declared")),
    ):
        assert_declared(answer, path)


def test_a_changes_schema_is_the_settings(site: Site) -> None:
    """What PUT takes by its schema it takes indeed: the settings as they are read back."""
    room = site.make_room(capacity=3)
    answer = site.admin("GET", f"/{room}")
    assert_declared(answer, "/admin/rooms/{room}")
    body = document()["paths"]["/admin/rooms/{room}"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == document()["components"]["schemas"]["Room"]["properties"]["settings"]
    settings = answer.json()["settings"]
    assert site.admin("PUT", f"/{room}", json=settings).json()["settings"] == settings
    site.admin("DELETE", f"/{room}")


def test_probes_are_as_declared(site: Site) -> None:
    """Ready or not, the probes answer as declared."""
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
        assert_declared(site.call("GET", path), path)


def test_outages_are_as_declared() -> None:
    """What is answered without Redis, before it was ever seen and after, is declared too."""
    rooms: dict[str, dict[str, Any]] = {"shop": {"capacity": 1}}
    with sites.own_redis() as (url, redis):
        missing = sites.settings_for("unix:///nowhere", rooms=rooms)
        settings = sites.settings_for(url, rooms=rooms)
        with sites.serving(redis, missing) as site:
            _assert_all_declared(site, "k1.ticket")
        with sites.serving(redis, settings) as site:
            site.pass_of_new("shop")
            ticket = site.ticket_of_new("shop")
            with sites.hurried(site), sites.frozen(redis):
                _assert_all_declared(site, ticket)
            until(lambda: site.call("GET", "/readyz").status_code == 200, what="readiness")


def _assert_all_declared(site: Site, ticket: str) -> None:
    for path, method, operation in operations():
        headers = ADMIN if {"admin": []} in operation.get("security", []) else bearer(ticket)
        address = path.replace("{room}", "shop").replace("{name}", "wait.css")
        body = {"json": {"capacity": 1}} if method == "patch" else {}
        assert_declared(site.call(method.upper(), address, headers=headers, **body), path)
