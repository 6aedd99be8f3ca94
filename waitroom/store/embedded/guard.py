"""The guard: a few lines of shell in a session of their own, which end the server when the pipe from its parent closes.

So the server lives exactly as long as the process that started it, however that one ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
from pathlib import Path
from typing import Final

#: Whole seconds between the polite request to stop and the forced one.
STOP_SECONDS = 10

#: Seconds beyond STOP_SECONDS for the guard to finish by itself.
_MARGIN_SECONDS: Final = 2.0

# Arguments: the grace in seconds, then the server's command line. Standard input is the pipe from the parent.
# Signals go to process group 0, the guard's own, so a number that now belongs to a stranger is never hit. The
# last line leaves nothing behind, neither the watcher nor a rewrite that a killed server had forked.
_GUARD = """\
grace=$1; shift
trap : TERM INT HUP
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(
  trap '' TERM INT HUP
  read -r closed <&3
  kill -TERM 0
  while [ "$grace" -gt 0 ] && kill -0 "$server" 2>/dev/null; do
    sleep 1
    grace=$((grace - 1))
  done
  kill -KILL 0
) &
exec 3<&-
while kill -0 "$server" 2>/dev/null; do
  wait "$server"
done
kill -KILL 0
"""


class Guard:
    """The guard of one server, started with the server under it, and the pipe's end that keeps both alive."""

    def __init__(self, command: tuple[str, ...], *, folder: Path, lock: int, log: int) -> None:
        # Neither end is inheritable, so no other child of ours can keep the server alive.
        read_end, self._tether = os.pipe()
        try:
            self._process = _spawn(command, stdin=read_end, folder=folder, lock=lock, log=log)
        except BaseException:
            os.close(self._tether)
            raise
        finally:
            os.close(read_end)

    @property
    def alive(self) -> bool:
        """Whether the server runs, for the guard ends with it."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the server and the guard, by force when they take too long."""
        os.close(self._tether)
        try:
            self._process.wait(longest_stop_seconds())
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End all that is left of the guard's group. Its number must still be its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def longest_stop_seconds() -> float:
    """Seconds after which a server that was told to stop, and its guard, are gone."""
    return STOP_SECONDS + _MARGIN_SECONDS


def _spawn(command: tuple[str, ...], *, stdin: int, folder: Path, lock: int, log: int) -> subprocess.Popen[bytes]:
    # The shell has uses of its own for the numbers below 10: a lock of such a number would be lost with the server.
    held = fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, 10)
    try:
        return _started(command, stdin=stdin, folder=folder, lock=held, log=log)
    finally:
        os.close(held)


def _started(command: tuple[str, ...], *, stdin: int, folder: Path, lock: int, log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - a constant script; the shell does not parse its arguments # nosec B603
        ("/bin/sh", "-c", _GUARD, "waitroom-guard", str(STOP_SECONDS), *command),
        stdin=stdin,
        stdout=log,
        stderr=log,
        cwd=folder,
        # The server has no business with waitroom's keys.
        env={name: value for name, value in os.environ.items() if not name.startswith("WAITROOM_")},
        pass_fds=(lock,),
        # A session of its own keeps the terminal's Ctrl-C away until waitroom has stopped.
        start_new_session=True,
        umask=0o077,
    )
