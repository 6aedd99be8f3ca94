"""Opening and closing the keeper with the application, whether that takes part in the lifespan protocol or not."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waitroom.asgi.keeper import Keepers

logger = logging.getLogger(__name__)


async def live(app: ASGIApp, keepers: Keepers, scope: Scope, receive: Receive, send: Send) -> None:
    """Open before the application's startup and close after its shutdown. Do without it if it refuses."""
    replayed = [await receive()]
    try:
        await keepers.start()
    except Exception as error:
        # Raised, it would pass for an application without a lifespan, and that would be served without its startup.
        await send({"type": "lifespan.startup.failed", "message": f"the waiting room cannot be opened: {error!r}"})
        return
    try:
        if await _takes_part(app, keepers, scope, replayed, receive, send):
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await keepers.stop()
        await send({"type": "lifespan.shutdown.complete"})
    finally:
        await keepers.stop()


async def _takes_part(
    app: ASGIApp, keepers: Keepers, scope: Scope, replayed: list[Message], receive: Receive, send: Send
) -> bool:
    """Run the application's own lifespan. False if it has none, which it says by an error or by saying nothing."""
    spoke = False

    async def replaying() -> Message:
        return replayed.pop() if replayed else await receive()

    async def told(message: Message) -> None:
        nonlocal spoke
        spoke = True
        if message["type"].startswith("lifespan.shutdown"):
            # Once the server hears it, it may end the loop.
            await keepers.stop()
        await send(message)

    try:
        await app(scope, replaying, told)
    except Exception as error:
        if spoke:
            raise
        logger.info("the application does not take part in the lifespan protocol: %s", error)
    return spoke
