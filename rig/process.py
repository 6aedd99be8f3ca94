"""A program of this machine: started with its log, struck, stopped, and started again where it was."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from rig import accounting
from rig.waiting import PATIENCE_SECONDS, until
from waitroom.store.embedded.guard import Guarded

#: Whole seconds that a program may take to end before it is killed.
GRACE_SECONDS: Final = 20

#: Characters of a log's last line that a message repeats at most.
_LONGEST_LINE: Final = 300


class Ended(Exception):
    """A program ended by itself, or never got ready; the message names it and repeats its last words."""


def environment(**more: str) -> dict[str, str]:
    """This process's environment without waitroom's own settings, and these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WAITROOM_", "PROMETHEUS_"))}
    return kept | more


class Process:
    """A program and its process, which ends with this one and takes its own children along.

    `name` is what messages call it, `log` the file that takes what it says. As a context manager it starts the program,
    waits until that is ready, and stops it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        folder: Path,
        variables: Mapping[str, str] | None = None,
        told_by: signal.Signals = signal.SIGTERM,
        grace_seconds: int = GRACE_SECONDS,
    ) -> None:
        """`folder`: where it runs, and where its log is. `variables`: its environment; by default `environment()`."""
        self.name = name
        self.command = [str(word) for word in command]
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.variables = dict(environment() if variables is None else variables)
        self._told_by = told_by
        self._grace_seconds = grace_seconds
        self._program: Guarded | None = None

    def __str__(self) -> str:
        return self.name

    def __enter__(self) -> Self:
        try:
            self.start()
            self.await_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it. Raises Ended where it had to be killed."""
        ran = self.running
        if self.stop() == -signal.SIGKILL != -self._told_by and ran:
            raise Ended(f"{self} did not end when it was told to; its last words: {self.last_words()}")

    @property
    def pid(self) -> int:
        """Its id, and that of its process group. Raises Ended where it was never started."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._program is not None and self._program.alive

    def cpu_seconds(self) -> float:
        """CPU time taken so far, children included."""
        return accounting.cpu_seconds(self.pid)

    def start(self) -> None:
        """Start it, again where it has ended; it may be ready later."""
        if self._program is not None:
            self._program.kill()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._program = Guarded(
                self.name,
                self.command,
                environment=self.variables,
                output=output.fileno(),
                folder=self.folder,
                told_by=self._told_by,
                grace_seconds=self._grace_seconds,
            )

    def ready(self) -> bool:
        """Whether it can be used: one of which nothing else is known can, as soon as it runs."""
        return self.running

    def await_ready(self) -> None:
        """Wait until it can be used. Raises Ended where it ends instead, or takes longer."""
        self.until(self.ready)

    def until(self, ready: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until it is ready. Raises Ended where it ends instead, or takes longer."""

        def look() -> object:
            self.check()
            return ready()

        try:
            until(look, f"the start of {self}", seconds=seconds, despite=OSError)
        except TimeoutError as error:
            raise Ended(f"{error}; its last words: {self.last_words()}") from None

    def check(self) -> None:
        """Raise Ended where it does not run."""
        if not self.running:
            raise Ended(f"{self} ended by itself; its last words: {self.last_words()}")

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        self._started().signal(number)

    def freeze(self) -> None:
        """Let it neither read nor answer, with its connections open."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it for the length of the block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def kill(self) -> None:
        """End it and its children by SIGKILL."""
        if self._program is not None:
            self._program.kill()

    def interrupt(self) -> None:
        """Press Ctrl-C: SIGINT for it and its children."""
        if self.running:
            os.killpg(self.pid, signal.SIGINT)

    def wait(self, seconds: float | None = None) -> int:
        """The exit code (negative: the signal that ended it) once it has ended; it is killed where it takes longer."""
        return self._started().wait(seconds)

    def stop(self) -> int:
        """Ask it to end, frozen or not, and wait for that; the exit code, 0 where it was never started."""
        if self._program is None:
            return 0
        self._program.signal(signal.SIGCONT)
        return self._program.stop()

    def said(self) -> str:
        """Everything that it said."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def last_words(self) -> str:
        """The last line of its log that says anything, or "nothing"."""
        lines = (line.strip() for line in reversed(self.said().splitlines()))
        return next((line for line in lines if line), "nothing")[:_LONGEST_LINE]

    def _started(self) -> Guarded:
        if self._program is None:
            raise Ended(f"{self.name} was not started")
        return self._program
