"""The embedded server of a `serve` without a URL: started, and started again when it dies."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from waitroom.errors import WaitroomError
from waitroom.store.embedded.server import EmbeddedServer

logger = logging.getLogger(__name__)

#: Seconds between two looks at whether the embedded server lives.
_LOOK_SECONDS: Final = 0.5


@contextmanager
def kept_alive(folder: Path) -> Iterator[str]:
    """The URL of an embedded server on that folder. The process ends when the server cannot be started again."""
    with EmbeddedServer(folder) as embedded:
        over = threading.Event()
        watcher = threading.Thread(target=_watch, args=(embedded, over), name="embedded-watch", daemon=True)
        watcher.start()
        try:
            yield embedded.url
        finally:
            over.set()
            watcher.join()


def _watch(embedded: EmbeddedServer, over: threading.Event) -> None:
    while not over.wait(_LOOK_SECONDS):
        if embedded.alive:
            continue
        logger.error("the embedded server died, starting it again")
        try:
            _start_again(embedded)
        except WaitroomError as error:
            logger.error("the embedded server cannot be started again: %s", error)
            # What supervises this process sees its end.
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _start_again(embedded: EmbeddedServer) -> None:
    url = embedded.url
    embedded.stop()
    embedded.start()
    if embedded.url != url:
        raise WaitroomError("it listens at another address now")
