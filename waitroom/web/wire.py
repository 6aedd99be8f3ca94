"""Reading a request's body and sending whole answers, without a request object per call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from waitroom.web.answers import Problem
from waitroom.web.headers import NO_STORE, Header, header

#: Bytes that a visitor's request body may have.
VISITOR_BODY: Final = 4 * 1024

#: Bytes that an operator's request body may have.
OPERATOR_BODY: Final = 64 * 1024

JSON: Final = b"application/json"


async def respond(
    send: Send,
    status: int,
    body: bytes = b"",
    *,
    headers: Sequence[Header] = (),
    content_type: bytes = JSON,
    cache: Header = NO_STORE,
    sized: bool = True,
) -> None:
    """Send one whole answer. It is `no-store` unless `cache` says otherwise. `sized` if its length may be told."""
    lines = [cache, *headers]
    # A length is that of the whole thing: 204 has none, and 304 leaves out what it would be (RFC 9110, 8.6).
    if status not in (204, 304):
        lines.append((b"content-type", content_type))
        if sized:
            lines.append((b"content-length", b"%d" % len(body)))
    # `waitroom serve` takes it in one piece, which spares two messages and their checks. Other servers take it as ASGI
    # says.
    whole = getattr(send, "whole", None) if sized else None
    if whole is None or not whole(status, lines, body):
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": body})


async def json_body(scope: Scope, receive: Receive, *, limit: int) -> dict[str, Any]:
    """The JSON object in a request's body. An empty body is an empty object.

    Raises Problem: 413 beyond `limit` bytes, 415 for another content type, 400 for what is not one JSON object.
    """
    declared = header(scope, b"content-length")
    if declared is not None and (not declared.isdigit() or int(declared) > limit):
        raise Problem(413, "body-too-large", "Body too large", f"at most {limit} bytes are read")
    kind = header(scope, b"content-type")
    # Only application/json needs a preflight across sites, so nothing else may carry a command.
    if kind is not None and kind.split(b";")[0].strip().lower() != JSON:
        raise Problem(415, "not-json", "Not JSON", f"content-type must be application/json, got {_shown(kind)}")
    body = await whole_body(receive, limit) if _has_body(scope, declared) else b""
    if not body:
        return {}
    if kind is None:
        raise Problem(415, "not-json", "Not JSON", "a body needs the content-type application/json")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "not-json", "Not JSON", str(error)) from None
    if not isinstance(document, dict):
        raise Problem(400, "not-an-object", "Not an object", "the body must be a JSON object")
    return document


def _has_body(scope: Scope, declared: bytes | None) -> bool:
    if declared is not None:
        return int(declared) > 0
    return header(scope, b"transfer-encoding") is not None


async def whole_body(receive: Receive, limit: int) -> bytes:
    """A request's body. Raises Problem: 413 beyond `limit` bytes, 400 where it was cut off."""
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "body-cut", "Body cut off")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise Problem(413, "body-too-large", "Body too large", f"at most {limit} bytes are read")
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _shown(value: bytes) -> str:
    return repr(value[:80].decode("latin-1"))
