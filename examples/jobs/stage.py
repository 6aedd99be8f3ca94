"""All processes of the service: a Valkey or Redis, waitroom, the workers, the library's scheduler, the HTTP side."""

from __future__ import annotations

import json
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from examples.jobs.settings import rooms
from rig.instance import Instance, variables
from rig.origin import ask
from rig.process import Process, environment
from rig.served import Served
from waitroom.store.embedded.server import EmbeddedServer

#: Worker processes; their number has nothing to do with how many jobs run at once.
WORKERS: Final = 3

#: Jobs that one worker process may have in hand, nearly all of them waiting.
_IN_HAND: Final = 2000

#: Requests to end. Ctrl-C is one of them: what a shell starts in the background ignores it by inheritance.
END_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Service:
    """Where the running service is."""

    url: str
    waitroom_url: str
    redis_url: str
    processes: Sequence[Process]

    def check(self) -> None:
        """Raise Ended where a process has ended by itself."""
        for process in self.processes:
            process.check()


def end_by_signals() -> None:
    """Have requests to end do what Ctrl-C does, so that all that was started is ended first."""
    for number in END_SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def running(
    folder: Path, *, port: int = 0, workers: int = WORKERS, settings: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """The whole service on loopback, until the block ends; `settings` are variables that `Settings` knows.

    Raises Ended where a process does not start, EmbeddedError.
    """
    logs = folder / "logs"
    with EmbeddedServer(folder / "store") as store, ExitStack() as stack:
        waitroom = Instance(
            logs,
            name="waitroom",
            variables=variables(
                redis_url=store.url,
                signing_keys=f"jobs:{secrets.token_urlsafe(32)}",
                admin_key=secrets.token_urlsafe(32),
                tick_seconds=0.05,
                rooms=rooms(),
            ),
        )
        service_redis = f"{store.url}?db=1"
        # Without what is meant for another job service.
        own = {name: value for name, value in environment().items() if not name.startswith("JOBS_")}
        own |= {"JOBS_REDIS_URL": service_redis, "JOBS_WAITROOM_URL": waitroom.url, **(settings or {})}
        beside = [
            Process(name, [sys.executable, "-m", *command], folder=logs, variables=own)
            for name, command in _commands(workers).items()
        ]
        jobs = Served("jobs", [sys.executable, "-m", *_JOBS], folder=logs, port=port, path="/readyz", variables=own)
        processes = [waitroom, *beside, jobs]
        for process in processes:
            process.start()
            stack.callback(process.stop)
        for process in processes:
            process.await_ready()
        jobs.until(lambda: json.loads(ask(jobs.port, "/readyz").body).get("workers", 0) >= workers)
        yield Service(jobs.url, waitroom.url, service_redis, processes)


_JOBS: Final = ("uvicorn", "examples.jobs.app:app", "--port", "{port}", "--no-access-log", "--log-level", "warning")


def _commands(workers: int) -> dict[str, list[str]]:
    """The arguments of `python -m`, by the name of the process."""
    return {
        "workers": [
            *("taskiq", "worker", "examples.jobs.tasks:broker", "--workers", str(workers)),
            *("--max-async-tasks", str(_IN_HAND), "--wait-tasks-timeout", "1.5", "--shutdown-timeout", "2"),
            *("--log-level", "WARNING"),
        ],
        "scheduler": [
            *("taskiq", "scheduler", "examples.jobs.tasks:scheduler", "--update-interval", "1"),
            *("--log-level", "WARNING"),
        ],
    }
