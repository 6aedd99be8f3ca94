"""Bare event streams: on each a constant event a second, of the usual size, from a plain ASGI loop."""

from __future__ import annotations

import asyncio
from typing import Any

_EVENT = b'event: place\ndata: {"room":"shop","state":"waiting","more":"' + b"x" * 340 + b'"}\n\n'


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer everything with a stream, but the question whether anybody is there."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    if scope["path"] == "/livez":
        await send({"type": "http.response.body", "body": b""})
        return
    leaving = asyncio.create_task(_left(receive))
    while not leaving.done():
        await send({"type": "http.response.body", "body": _EVENT, "more_body": True})
        await asyncio.wait({leaving}, timeout=1.0)


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
