"""What `waitroom serve` does: keys, a socket, a Redis, and the web server on them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waitroom.serve import workers
from waitroom.serve.embedded import kept_alive
from waitroom.serve.process import set_up_logging
from waitroom.serve.signals import unwind_when_told
from waitroom.serve.sockets import bound
from waitroom.settings import generated_keys, sources
from waitroom.settings.room import RoomSettings
from waitroom.settings.server import ServerSettings
from waitroom.store.url import masked

logger = logging.getLogger(__name__)


def run(settings: ServerSettings, *, room_to_try: bool = False) -> None:
    """Serve until told to stop. Raises SettingsError or another WaitroomError where it cannot start.

    With `room_to_try`, and without rooms in the settings, there is one, so that the first try shows something.
    """
    set_up_logging(settings)
    for line in sources.strangers():
        logger.warning("environment: %s", line)
    if room_to_try and not settings.rooms:
        settings = _with_a_room(settings)
    completed = generated_keys.completed(settings)
    _tell_generated(settings)
    with bound(completed) as listening:
        unwind_when_told()
        with _redis(completed) as url:
            workers.run(completed.model_copy(update={"redis_url": url}), listening)


def _with_a_room(settings: ServerSettings) -> ServerSettings:
    room = RoomSettings()
    logger.info(
        "no config file and no rooms set: a room 'default' is made if there is none (capacity %d, sessions of %g s)",
        room.capacity,
        room.session_seconds,
    )
    return settings.model_copy(update={"rooms": {"default": room}})


def _tell_generated(settings: ServerSettings) -> None:
    """Say where keys are kept that the settings do not hold."""
    if not settings.admin_key:
        logger.info("admin key: kept in %s", generated_keys.admin_key_file(settings))
    if not settings.signing_keys and settings.redis_url:
        logger.warning(
            "signing key: kept in %s. Give all instances on this Redis the same one (WAITROOM_SIGNING_KEYS), "
            "else each refuses the others' tickets",
            generated_keys.signing_key_file(settings),
        )


@contextmanager
def _redis(settings: ServerSettings) -> Iterator[str]:
    """The URL that is set, or an embedded server's."""
    if settings.redis_url:
        logger.info("redis: %s", masked(settings.redis_url))
        yield settings.redis_url
        return
    with kept_alive(Path(settings.data_dir)) as url:
        logger.info("embedded server: data in %s", settings.data_dir)
        yield url
