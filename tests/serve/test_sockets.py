"""The socket that visitors' connections come by."""

from __future__ import annotations

import socket
import sys

import pytest

from rig.waiting import until
from waitroom.serve import sockets
from waitroom.settings.server import ServerSettings


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own time-out")
def test_a_connection_that_nobody_reads_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes nothing of what was sent, but keeps the connection, is cut off by the kernel."""
    monkeypatch.setattr(sockets, "UNREAD_MS", 500)
    with (
        sockets.bound(ServerSettings(port=0)) as listening,
        socket.socket() as deaf,
    ):
        listening.listen()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(listening.getsockname())
        link, _ = listening.accept()
        link.setblocking(False)

        def cut_off() -> bool:
            try:
                link.send(b"x" * 4096)
            except BlockingIOError:
                return False
            except TimeoutError:
                return True
            return False

        with link:
            until(cut_off, what="the end of the connection")
