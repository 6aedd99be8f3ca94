"""A server process: the application, and what works behind it. `create` is what each uvicorn worker calls."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette

from waitroom.serve import process
from waitroom.serve.assemble import assemble
from waitroom.serve.signals import draining_at_sigterm, ending_streams_at_sigint
from waitroom.serve.work import working
from waitroom.settings.server import ServerSettings
from waitroom.web.app import Application

#: Where `serve` leaves the complete settings for its workers, as JSON. They hold keys: never log the environment.
SETTINGS_VARIABLE: Final = "WAITROOM_RESOLVED_SETTINGS"

#: Where `serve` leaves its process id for workers that are processes of their own.
PARENT_VARIABLE: Final = "WAITROOM_SERVE_PID"


def create() -> Starlette:
    """The application of one worker, from the settings that `serve` left in the environment."""
    settings = ServerSettings.model_validate_json(os.environ[SETTINGS_VARIABLE])
    process.set_up_logging(settings)
    process.collect_rarely()
    process.allow_many_files()
    process.forget_dead_workers()
    parent = os.environ.get(PARENT_VARIABLE)
    return build(settings, parent=int(parent) if parent else None)


def build(settings: ServerSettings, *, parent: int | None = None) -> Application:
    """The application and its background work, from complete settings. Ends with the process `parent`, if given."""
    instance = assemble(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with working(instance, parent=parent) as work:
            with draining_at_sigterm(instance, work), ending_streams_at_sigint(instance):
                yield

    return Application(instance, lifespan=lifespan)
