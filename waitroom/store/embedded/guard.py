"""A program that ends with the process that started it, however that one ends, and takes its own children along.

A few lines of shell become the program, after they have left a watcher behind in the same session. The watcher holds
one end of a pipe, and only the process that started the program holds the other: when that one closes, even by SIGKILL,
the watcher ends the program and everything that it started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

#: Whole seconds between the polite request to stop and the forced one.
STOP_SECONDS = 10

#: Seconds beyond those within which everything is gone.
_MARGIN_SECONDS: Final = 2.0

# Arguments: the signal and the grace in seconds, then the program's command line. Standard input is the pipe.
# Signals go to process group 0, the watcher's own, so a number that now belongs to a stranger is never hit. $$ is the
# program's id. A watcher that was told by a word leaves the last line to the process that told it, and keeps the
# group's number in use until then. The last line leaves nothing behind, not even a child that the program left.
_GUARD: Final = """\
signal=$1 grace=$2
shift 2
exec 3<&0 </dev/null
(
  trap '' TERM INT HUP
  read -r word
  kill "-$signal" 0
  while [ "$grace" -gt 0 ] && kill -0 $$ 2>/dev/null; do
    sleep 1
    grace=$((grace - 1))
  done
  [ -z "$word" ] || read -r closed
  kill -KILL 0
) <&3 3<&- &
exec 3<&-
exec "$@"
"""


class Guarded:
    """A guarded program, started, in a session of its own, so that no terminal's Ctrl-C reaches it.

    `name` is what the watcher is called in a list of processes, `output` the open file that takes what is said, `lock`
    one that the program shall hold open. At the end the program gets `told_by`, and `grace_seconds` to obey.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        output: int,
        folder: Path | None = None,
        lock: int | None = None,
        told_by: signal.Signals = signal.SIGTERM,
        grace_seconds: int | None = None,
        umask: int = -1,
    ) -> None:
        self._told_by = told_by
        self._grace_seconds = STOP_SECONDS if grace_seconds is None else grace_seconds
        guard = ("/bin/sh", "-c", _GUARD, f"waitroom-guard:{name}", told_by.name[3:], str(self._grace_seconds))
        # Neither end is inheritable, so no other child of ours can keep the program alive.
        read_end, self._tether = os.pipe()
        try:
            with _held(lock) as numbers:
                self._process = subprocess.Popen(  # noqa: S603 - the shell does not parse its arguments # nosec B603
                    (*guard, *command),
                    stdin=read_end,
                    stdout=output,
                    stderr=output,
                    cwd=folder,
                    env=dict(environment),
                    pass_fds=numbers,
                    start_new_session=True,
                    umask=umask,
                )
        except BaseException:
            os.close(self._tether)
            raise
        finally:
            os.close(read_end)

    @property
    def pid(self) -> int:
        """The program's id, and that of its process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the program runs."""
        return self._process.poll() is None

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it). None while the program runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send the program a signal. Nothing happens where it has ended."""
        self._process.send_signal(number)

    def tell(self) -> None:
        """Ask the program and its children to end. `wait` follows. Nothing happens where they have ended."""
        if self._tether == -1:
            return
        try:
            os.write(self._tether, b"end\n")
        except BrokenPipeError:  # the watcher was killed
            self.signal(self._told_by)

    def wait(self, seconds: float | None = None) -> int:
        """The exit code once the program has ended. After so many seconds, by default the grace, it is killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._grace_seconds if seconds is None else seconds)
        return self.kill()

    def stop(self) -> int:
        """Ask it to end, and wait for that. Returns the exit code."""
        self.tell()
        return self.wait()

    def kill(self) -> int:
        """End it at once, and all that is left of its group. Returns the exit code. Killing it again does nothing."""
        tether, self._tether = self._tether, -1
        if tether != -1:
            # Until the pipe is closed the watcher is there, and the number is the group's own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            os.close(tether)
        return self._process.wait()


def longest_stop_seconds() -> float:
    """Seconds after which a program that was told to stop, and its watcher, are gone."""
    return STOP_SECONDS + _MARGIN_SECONDS


@contextlib.contextmanager
def _held(lock: int | None) -> Iterator[tuple[int, ...]]:
    """The number by which the program holds the lock. The shell has uses of its own for those below 10."""
    if lock is None:
        yield ()
        return
    number = fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, 10)
    try:
        yield (number,)
    finally:
        os.close(number)
