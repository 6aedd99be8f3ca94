"""Constant answers from plain ASGI callables. Everything else is measured beside them."""

from __future__ import annotations

import asyncio
from typing import Any

_BODY = b'{"room":"shop","state":"waiting","rank":1}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]
_EVENT = b'event: place\ndata: {"room":"shop","state":"waiting","more":"' + b"x" * 340 + b'"}\n\n'


async def constant(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer everything alike."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _BODY})


async def streams(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An event of the usual size each second, on and on; of those who ask at / whether anybody is there, not at all."""
    if scope["type"] != "http" or scope["path"] == "/":
        await constant(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    leaving = asyncio.create_task(_left(receive))
    while not leaving.done():
        await send({"type": "http.response.body", "body": _EVENT, "more_body": True})
        await asyncio.wait({leaving}, timeout=1.0)


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
