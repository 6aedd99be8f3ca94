"""The demo's child processes: started under a guard, so that nothing outlives the demo, watched, and ended together."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from waitroom.errors import WaitroomError
from waitroom.store.embedded.guard import Guarded

#: Whole seconds that the children together may take to end before they are killed.
GRACE_SECONDS: Final = 6

#: Below those that systems hand out to outgoing connections: one of these may be taken before its server listens.
_PORTS: Final = range(15_000, 32_000)

#: Characters of a log line that a message repeats at most.
_LONGEST_LINE: Final = 300


class DemoError(WaitroomError):
    """The demo cannot start, or one of its processes stopped. The message says which, why and what to do."""


def free_port() -> int:
    """A loopback port on which no process listens right now, and that no outgoing connection gets meanwhile.

    No other process gets it as long as this one runs: between looking and listening there is time.
    """
    while True:
        port = secrets.choice(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _give_out(port)
            return port


def _give_out(port: int) -> None:
    """Raises OSError where it is taken already, also by another process that still runs.

    Names without a file exist on Linux only.
    """
    if not sys.platform.startswith("linux"):
        return
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0waitroom-port-{port}")
    except OSError:
        mark.close()
        raise
    # The mark is to stand for as long as this process, and needs no closing.
    mark.detach()


def require_port(port: int) -> None:
    """Raise DemoError unless the demo can listen on this loopback port."""
    if not 1 <= port <= 65_535:
        raise DemoError(f"port {port} does not exist: choose one from 1024 to 65535 with --port")
    try:
        with socket.create_server(("127.0.0.1", port)):
            return
    except PermissionError:
        raise DemoError(f"port {port} needs more rights than you have: choose one above 1023 with --port") from None
    except OSError as error:
        # create_server adds the address to the reason, in brackets
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DemoError(
            f"port {port} on 127.0.0.1 is not free ({reason}): "
            f"stop what listens there, or choose another port with --port"
        ) from None


@dataclass(frozen=True)
class Child:
    """One running program: its name in messages, and the file that holds what it says."""

    name: str
    program: Guarded
    log: Path

    def last_words(self) -> str:
        """The last line of the child's log that says anything, or "nothing"."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = (line.strip() for line in reversed(lines))
        return next((line for line in said if line), "nothing")[:_LONGEST_LINE]


class Children:
    """All child processes of one demo. As a context manager it ends them all on the way out."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        """Start a program in a process group of its own, so that Ctrl-C in a terminal reaches the demo alone."""
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            program = Guarded(
                name, command, environment=environment, output=output.fileno(), grace_seconds=GRACE_SECONDS
            )
        self._running.append(Child(name, program, log))

    def check(self) -> None:
        """Raise DemoError that names the first child found to have stopped, with its last words."""
        for child in self._running:
            code = child.program.poll()
            if code is not None:
                raise DemoError(
                    f"the demo's {child.name} stopped by itself ({_ending(code)}). Its last words: {child.last_words()}"
                )

    def stop(self) -> None:
        """End all children, the last started first. Kill what has not ended after GRACE_SECONDS."""
        deadline = time.monotonic() + GRACE_SECONDS
        for child in reversed(self._running):
            child.program.tell()
        while self._running:
            self._running.pop().program.wait(max(0.0, deadline - time.monotonic()))


def _ending(code: int) -> str:
    """An exit code in words."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
