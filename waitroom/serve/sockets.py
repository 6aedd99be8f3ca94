"""The socket that visitors' connections come by."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from waitroom.errors import SettingsError
from waitroom.settings.server import ServerSettings
from waitroom.store import url

#: Milliseconds after which the kernel ends a connection on which the other side takes nothing.
UNREAD_MS: Final = 30_000


@contextmanager
def bound(settings: ServerSettings) -> Iterator[socket.socket]:
    """A socket on `host` and `port`, for this process and its workers. Raises SettingsError where that cannot be."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            # Connections inherit it. Without it what was closed unread, a stream above all, would be held for ever.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
        try:
            listening.bind((settings.host, settings.port))
        except OSError as error:
            where = url.shown((settings.host, settings.port))
            raise SettingsError(f"host, port: cannot listen on {where}: {error.strerror}") from None
        listening.set_inheritable(True)
        yield listening
