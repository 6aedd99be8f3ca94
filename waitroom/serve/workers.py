"""The web server: in this process, or in several under a supervisor."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from typing import Final

import uvicorn

from waitroom.errors import WaitroomError
from waitroom.serve.http import WholeAnswers
from waitroom.serve.supervisor import Supervisor
from waitroom.serve.worker import PARENT_VARIABLE, SETTINGS_VARIABLE
from waitroom.settings.server import ServerSettings

logger = logging.getLogger(__name__)

#: Seconds that requests in flight get when a server stops.
GRACE_SECONDS: Final = 10

#: Connections that may wait to be accepted.
_BACKLOG: Final = 4096

#: Seconds that an idle connection is kept: longer than nginx keeps its own, so that nginx closes it.
KEEP_ALIVE_SECONDS: Final = 75


def run(settings: ServerSettings, listening: socket.socket) -> None:
    """Serve complete settings on that socket until told to stop. Raises WaitroomError where it cannot start."""
    os.environ[SETTINGS_VARIABLE] = settings.model_dump_json()
    config = _configured(settings.workers)
    host, port = listening.getsockname()[:2]
    logger.info("serving on http://%s:%d/ with %d worker(s)", host, port, settings.workers)
    if settings.workers == 1:
        _run_one(config, listening)
    else:
        _run_several(config, listening)


def _configured(workers: int) -> uvicorn.Config:
    return uvicorn.Config(
        "waitroom.serve.worker:create",
        factory=True,
        http=WholeAnswers,
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        # A client's word about itself is not believed. A proxy in front overwrites it anyway.
        proxy_headers=False,
        # A proxy may ask the gate with the headers of a WebSocket's first request: that is a question like any other.
        ws="none",
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _run_one(config: uvicorn.Config, listening: socket.socket) -> None:
    web = uvicorn.Server(config)
    web.run(sockets=[listening])
    if not web.started:
        raise WaitroomError("the server could not start: its log says why")


def _run_several(config: uvicorn.Config, listening: socket.socket) -> None:
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    with tempfile.TemporaryDirectory(prefix="waitroom-") as numbers:
        # Read by prometheus-client when a worker imports it: each writes its numbers there, /metrics adds them up.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = numbers
        Supervisor(config, sockets=[listening]).run()
