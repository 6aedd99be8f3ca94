"""`waitroom serve` with its embedded server, as a process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.cli.command import COMMAND, IN_BACKGROUND, Done, environment, run
from tests.web.sites import PATIENCE_SECONDS, address_in, until
from waitroom.store.embedded.folder import running_url


@dataclass
class Served:
    """A `waitroom serve` with its embedded server."""

    process: subprocess.Popen[bytes]
    url: str
    data: Path
    log: Path

    def room(self, *arguments: str) -> Done:
        """A `waitroom room` command on its rooms."""
        return run("room", *arguments, "--data-dir", str(self.data), folder=self.data.parent)

    def get(self, path: str) -> httpx.Response:
        """An answer of the instance."""
        return httpx.get(self.url + path)


@contextmanager
def serving(folder: Path, *arguments: str, **more: str) -> Iterator[Served]:
    """Such a process, with nothing of it left at the end."""
    log, data = folder / "log", folder / "data"
    command = (*IN_BACKGROUND, *COMMAND, "serve", "--port", "0", "--data-dir", str(data), *arguments)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(**more), stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        served = Served(process, address_in(log, process), data, log)
        until(lambda: _is_ready(served), what="readiness")
        yield served
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)
        until(lambda: running_url(data) is None, seconds=20, what="the embedded server's end")


def _is_ready(served: Served) -> bool:
    assert served.process.poll() is None, served.log.read_text()
    try:
        return served.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
