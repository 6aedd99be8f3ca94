"""The embedded server: a real Valkey or Redis that waitroom starts for itself when it is given no URL.

It listens on a private unix socket only and keeps its data in a folder, so a restart finds the queue where it was. A
guard ends it with the process that started it, and a lock on the folder keeps a second one away from the data.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from waitroom.errors import EmbeddedError
from waitroom.store.embedded import log
from waitroom.store.embedded.folder import FolderLock
from waitroom.store.embedded.guard import Guarded
from waitroom.store.embedded.program import find_server

#: Seconds a server may take until it first answers.
START_SECONDS = 10.0
#: Seconds a server may take as long as it says that it is loading its data.
_LOADING_SECONDS: Final = 60.0
#: Seconds between two looks at whether it answers.
_POLL_SECONDS: Final = 0.02
#: Bytes from which a path is too long for a unix socket (the smallest limit known is 104).
_SOCKET_PATH_BYTES: Final = 100

_SOCKET_NAME: Final = "redis.sock"
_LOG_NAME: Final = "redis.log"

# Relative names are meant: the server's working folder is the data folder.
_SETTINGS: Final = (
    *("--port", "0"),
    *("--unixsocketperm", "700"),
    *("--protected-mode", "yes"),
    *("--enable-debug-command", "no"),
    *("--daemonize", "no"),
    *("--dir", "."),
    *("--appendonly", "yes"),
    *("--appendfsync", "everysec"),
    *("--aof-use-rdb-preamble", "yes"),
    *("--save", ""),
    *("--maxmemory-policy", "noeviction"),
)


class EmbeddedServer:
    """One embedded server on one data folder, as a context manager or by `start` and `stop`.

    `url` is where it listens, empty while it is not started. A folder that does not exist is made with mode 700. All
    its files are readable by this user alone.
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None) -> None:
        self.url = ""
        self._folder = data_dir.absolute()
        self._binary = binary
        self._guard: Guarded | None = None
        self._lock: FolderLock | None = None
        self._private: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return self._guard is not None and self._guard.alive

    def start(self) -> None:
        """Start the server and return once it answers.

        Raises EmbeddedError when the folder is unusable or in use, or the server cannot be found or started.
        """
        if self._guard is not None:
            raise EmbeddedError(f"the embedded server in {self._folder} was started already")
        binary = (self._binary or find_server()).absolute()
        try:
            self._open(binary)
        except OSError as error:
            self.stop()
            reason = error.strerror or error
            raise EmbeddedError(
                f"the embedded server cannot use the data folder {self._folder} ({reason}): give another --data-dir"
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, by force after ten seconds, and release the folder. Stopping again does nothing."""
        guard, self._guard = self._guard, None
        lock, self._lock = self._lock, None
        if guard is not None:
            guard.stop()
        if lock is not None:
            (self._folder / _SOCKET_NAME).unlink(missing_ok=True)
            lock.release()
        self.url = ""
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)
            self._private = None

    def _open(self, binary: Path) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = FolderLock(self._folder)
        path = self._socket_path()
        url = f"unix://{quote(str(path))}"
        self._lock.note(url)
        command = (str(binary), *_SETTINGS, "--unixsocket", str(path))
        with log.opened(self._folder / _LOG_NAME) as written:
            began = written.tell()
            self._guard = Guarded(
                "embedded",
                command,
                # The server has no business with waitroom's keys.
                environment={name: value for name, value in os.environ.items() if not name.startswith("WAITROOM_")},
                output=written.fileno(),
                folder=self._folder,
                lock=self._lock.file,
                umask=0o077,
            )
        self._await_answer(path, binary=binary, log_began=began)
        self.url = url

    def _socket_path(self) -> Path:
        path = self._folder / _SOCKET_NAME
        if len(os.fsencode(path)) < _SOCKET_PATH_BYTES:
            return path
        self._private = Path(tempfile.mkdtemp(prefix="waitroom-"))
        if len(os.fsencode(self._private / _SOCKET_NAME)) >= _SOCKET_PATH_BYTES:
            self._private.rmdir()
            self._private = Path(tempfile.mkdtemp(prefix="waitroom-", dir="/tmp"))  # a new folder of ours alone # nosec B108
        return self._private / _SOCKET_NAME

    def _await_answer(self, path: Path, *, binary: Path, log_began: int) -> None:
        file = self._folder / _LOG_NAME
        began = time.monotonic()
        patience = START_SECONDS
        while self.alive:
            answer = _ping(path)
            if answer.startswith(b"+PONG"):
                return
            if answer.startswith(b"-LOADING"):
                patience = _LOADING_SECONDS
            if time.monotonic() - began > patience:
                raise EmbeddedError(
                    f"the embedded server {binary} did not answer within {patience:.0f} seconds: see {file}"
                )
            time.sleep(_POLL_SECONDS)
        raise EmbeddedError(
            f"the embedded server {binary} stopped at its start: {log.reason(file, log_began)} (see {file})"
        )


def _ping(path: Path) -> bytes:
    """The first bytes of the answer to PING, none while nothing answers."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(1.0)
        try:
            link.connect(str(path))
            link.sendall(b"PING\r\n")
            return link.recv(64)
        except OSError:
            return b""
