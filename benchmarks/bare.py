"""Bare uvicorn: a constant JSON answer from a plain ASGI callable. Everything else is measured beside it."""

from __future__ import annotations

from typing import Any

_BODY = b'{"room":"shop","state":"waiting","rank":1}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer everything alike."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})
