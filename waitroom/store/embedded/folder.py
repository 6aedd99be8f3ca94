"""The lock on a data folder: one server at a time, and which process has it.

The server itself holds the lock too, so that a second one is kept away from the data until the last process of the
first is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from waitroom.errors import EmbeddedError
from waitroom.store.embedded.guard import longest_stop_seconds

LOCK_NAME: Final = "waitroom.lock"

#: Seconds between two tries to take the lock.
_POLL_SECONDS: Final = 0.02


class FolderLock:
    """The lock on a folder, taken: `file` is the open file that holds it, for the server to hold it as well."""

    def __init__(self, folder: Path) -> None:
        """Raises EmbeddedError while a living process holds it.

        The server of a process that was killed may take seconds to stop, so a server without its owner is waited for.
        """
        self._folder = folder
        self.file = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take()
        except BaseException:
            os.close(self.file)
            raise

    def note(self, url: str) -> None:
        """Write down which process holds it, and where the server listens."""
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, f"{os.getpid()}\n{url}\n".encode(), 0)

    def release(self) -> None:
        """Give it up. Returns when the server has given it up as well, or after the time that stopping takes."""
        with contextlib.suppress(OSError):  # a full disk must not keep the lock
            os.ftruncate(self.file, 0)
        os.close(self.file)
        _until(lambda: _is_free(self._folder))

    def _take(self) -> None:
        _until(lambda: _flock(self.file) or _is_alive(_holder(self.file)[0]))
        if _flock(self.file):
            return
        pid, url = _holder(self.file)
        raise EmbeddedError(
            f"the data folder {self._folder} is in use by {f'process {pid}' if pid else 'another process'}:"
            f" give another --data-dir, or share its queue with --redis-url {url or 'and its URL'}"
        )


def running_url(data_dir: Path) -> str | None:
    """The URL of the embedded server that runs on this data folder now, None where none does."""
    try:
        lock = os.open(data_dir.absolute() / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _flock(lock) else _holder(lock)[1] or None
    finally:
        os.close(lock)


def _flock(lock: int) -> bool:
    """Take the lock if no other process has it. Taking it again does no harm."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(folder: Path) -> bool:
    try:
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # the folder was removed while the server ran
        return True
    try:
        # A pid in it is that of a newcomer, which could only have got it from us.
        return _flock(lock) or _holder(lock)[0] != 0
    finally:
        os.close(lock)


def _holder(lock: int) -> tuple[int, str]:
    """Process id and URL of the holder, or 0 and "" where they are not noted (yet)."""
    lines = os.pread(lock, 4096, 0).decode(errors="replace").splitlines()
    if len(lines) != 2 or not lines[0].isdecimal():
        return 0, ""
    return int(lines[0]), lines[1]


def _is_alive(pid: int) -> bool:
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _until(condition: Callable[[], bool]) -> bool:
    """Wait until the condition holds. False when it did not within the time that stopping takes."""
    deadline = time.monotonic() + longest_stop_seconds()
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
