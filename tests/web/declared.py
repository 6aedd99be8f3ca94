"""Whether an answer is one that /openapi.json declares, by schemathesis."""

from __future__ import annotations

import re
from typing import Any, Final

import httpx
import orjson
import schemathesis
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import BaseSchema

from waitroom.web.openapi import document

#: What is asked of each answer.
CHECKS: Final = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

#: One server-sent event, as schemathesis reads it; a document of OpenAPI 3.1 can only say that a stream is text.
_EVENT: Final = {
    "type": "object",
    "properties": {
        "event": {"enum": ["place", "admitted", "over", "reconnect"]},
        "data": {"type": "string"},
        "retry": {"type": "integer", "minimum": 1000},
    },
    "required": ["event", "data"],
    "additionalProperties": False,
}


def loaded(examples: int = 1, *, alike: bool = True) -> BaseSchema:
    """The document for schemathesis, strict; `examples` inputs of each kind, `alike` in every run."""
    config = SchemathesisConfig.from_dict(
        {
            "generation": {"max-examples": examples, "deterministic": alike},
            # 503 is what an instance answers that cannot; where it may come, the document says so.
            "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]}},
        }
    )
    return schemathesis.openapi.from_dict(strict(orjson.loads(orjson.dumps(document()))), config=config)


def strict(node: Any) -> Any:
    """The document with no room for what it does not name: a property that is not declared is a fault."""
    if isinstance(node, list):
        return [strict(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    made = {name: strict(inner) for name, inner in node.items()}
    if made.get("type") == "object" and isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    if "text/event-stream" in made:
        made["text/event-stream"] = {"schema": _EVENT}
    return made


_SCHEMA: Final = loaded()


def assert_declared(answer: httpx.Response, path: str) -> None:
    """The answer's status, content type and document are among those that the path declares."""
    operation = _SCHEMA[path][answer.request.method]
    named = dict.fromkeys(re.findall(r"\{(\w+)\}", path), "x")
    operation.Case(path_parameters=named).validate_response(answer, checks=list(CHECKS))
