"""GET /openapi.json: the HTTP interface as an OpenAPI 3.1 document. A test holds it against the routes and answers.

It is kept as data in `openapi.json`. The code adds what it knows itself: the version, the form of a room's name, and
the settings of a room. What the data share (parameters, responses and the like) is written out wherever it is used.
Only schemas stay references.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from waitroom import __version__
from waitroom.model import ROOM_NAME
from waitroom.settings.room import RoomSettings
from waitroom.web.wire import respond

#: The components that remain in the document.
_REMAINING: Final = ("schemas", "securitySchemes")


class Document:
    """GET /openapi.json"""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """The document."""
        await respond(send, 200, orjson.dumps(document()), cache=(b"cache-control", b"public, max-age=300"))


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    data = orjson.loads((resources.files("waitroom.web") / "openapi.json").read_bytes())
    components = data["components"]
    data["info"]["version"] = __version__
    components["parameters"]["room"]["schema"]["pattern"] = "^" + ROOM_NAME.pattern.removesuffix(r"\Z") + "$"
    components["schemas"]["Settings"] = RoomSettings.model_json_schema()
    return {
        **data,
        "paths": _written_out(data["paths"], components),
        "components": {name: components[name] for name in _REMAINING},
    }


def _written_out(node: Any, components: dict[str, Any]) -> Any:
    """The node with the shared parts in the places that refer to them."""
    if isinstance(node, list):
        return [_written_out(inner, components) for inner in node]
    if not isinstance(node, dict):
        return node
    kind, _, name = node.get("$ref", "").removeprefix("#/components/").partition("/")
    if kind and kind not in _REMAINING:
        return _written_out(components[kind][name], components)
    return {key: _written_out(inner, components) for key, inner in node.items()}
