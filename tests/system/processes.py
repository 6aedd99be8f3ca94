"""Real `waitroom serve` processes for tests, each stopped by its id at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from waitroom.demo.processes import free_port

#: Seconds that a process may take to answer for the first time, or to end.
DEADLINE_SECONDS: Final = 60.0

KEYS: Final = "k1:0123456789abcdefghijklmnopqrstuvwxyzABCDEF"
ADMIN_KEY: Final = "an-admin-key-of-0123456789-ABCDEFGHIJ"


@dataclass
class Served:
    """A running `waitroom serve`."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait(DEADLINE_SECONDS)

    def stop(self) -> int:
        """End it by SIGTERM; its exit code."""
        self.process.terminate()
        return self.process.wait(DEADLINE_SECONDS)

    def get(self, path: str) -> str:
        """The body of a GET."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=DEADLINE_SECONDS) as answer:
            return str(answer.read().decode())

    def reasons(self) -> str:
        """Why it is not ready, as it says; empty where it is."""
        try:
            self.get("/readyz")
        except urllib.error.HTTPError as error:
            return str(json.load(error)["detail"])
        return ""

    def is_leader(self) -> bool:
        """Whether its scheduler acts."""
        return "\nwaitroom_leader 1.0" in self.get("/metrics")

    def command(self, method: str, path: str, document: dict[str, Any]) -> None:
        """An operator's call."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=json.dumps(document).encode(),
            headers={"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS):
            pass


@contextmanager
def serving(
    folder: Path, *, rooms: dict[str, Any], redis_url: str = "", command: str = "", **variables: str
) -> Iterator[Served]:
    """One `waitroom serve` with these rooms, on the embedded server in `folder` unless a URL is given.

    `variables` are more of its environment; it gets a free port unless WAITROOM_PORT is among them.
    """
    port = int(variables.get("WAITROOM_PORT", 0)) or free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WAITROOM_")},
        "WAITROOM_ROOMS": json.dumps(rooms),
        "WAITROOM_SIGNING_KEYS": KEYS,
        "WAITROOM_ADMIN_KEY": ADMIN_KEY,
        "WAITROOM_REDIS_URL": redis_url,
        "WAITROOM_REDIS_TIMEOUT_SECONDS": "5",
        **variables,
    }
    program = [command] if command else [sys.executable, "-m", "waitroom"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"serve-{port}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [*program, "serve", "--port", str(port), "--data-dir", str(folder / "data")],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    served = Served(port, process, path)
    try:
        _await_ready(served)
        yield served
    finally:
        if process.poll() is None:
            served.stop()


def _await_ready(served: Served) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            served.get("/readyz")
            return
        except OSError as error:
            if served.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"serve is not ready: {error}\n{served.log.read_text()}") from None
            time.sleep(0.05)
