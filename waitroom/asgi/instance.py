"""An instance of waitroom's own inside the application's process, on a Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive, Scope, Send

from waitroom.serve.assemble import assemble
from waitroom.serve.work import working
from waitroom.settings.server import ServerSettings
from waitroom.web.app import Application
from waitroom.web.gate import Decision, Gate
from waitroom.web.instance import Instance


class OwnInstance:
    """A keeper that decides itself."""

    def __init__(self, instance: Instance, room: str) -> None:
        self._room = room
        self._gate = Gate(instance)
        self._app = Application(instance)

    async def decide(self, scope: Scope) -> Decision:
        """The gate's decision. It never raises: an outage is settled by the room's `when_down`."""
        return await self._gate.decide(scope, self._room)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The instance's answer, also when Redis is gone."""
        await self._app(scope, receive, send)


@asynccontextmanager
async def own_instance(settings: ServerSettings, room: str) -> AsyncIterator[OwnInstance]:
    """An instance with its background work, in the running event loop."""
    instance = assemble(settings)
    async with working(instance):
        yield OwnInstance(instance, room)
