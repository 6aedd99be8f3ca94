"""All processes of the service: a Valkey or Redis, waitroom, the workers, the library's scheduler, the HTTP side."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import httpx

from examples.jobs.settings import rooms
from waitroom.demo.processes import Children, DemoError, free_port
from waitroom.store.embedded.server import EmbeddedServer

#: Worker processes; their number has nothing to do with how many jobs run at once.
WORKERS: Final = 3

#: Jobs that one worker process may have in hand, nearly all of them waiting.
_IN_HAND: Final = 2000

#: Seconds until everything must answer.
_START_SECONDS: Final = 30.0


#: Requests to end. Ctrl-C is one of them: what a shell starts in the background ignores it by inheritance.
END_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Service:
    """Where the running service is."""

    url: str
    waitroom_url: str
    redis_url: str
    children: Children


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

    Raises DemoError if a process does not start, EmbeddedError.
    """
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with EmbeddedServer(folder / "store") as store, Children(logs) as children:
        port, waitroom = port or free_port(), free_port()
        service = Service(
            url=f"http://127.0.0.1:{port}",
            waitroom_url=f"http://127.0.0.1:{waitroom}",
            redis_url=f"{store.url}?db=1",
            children=children,
        )
        _start_waitroom(children, waitroom, store.url, folder)
        environment = _clean() | {
            "JOBS_REDIS_URL": service.redis_url,
            "JOBS_WAITROOM_URL": service.waitroom_url,
            **(settings or {}),
        }
        for name, command in _commands(port, workers).items():
            children.start(name, [sys.executable, "-m", *command], environment=environment)
        _await_ready(service, workers)
        yield service


def _start_waitroom(children: Children, port: int, redis_url: str, folder: Path) -> None:
    environment = _clean() | {
        "WAITROOM_REDIS_URL": redis_url,
        "WAITROOM_DATA_DIR": str(folder / "waitroom"),
        "WAITROOM_SIGNING_KEYS": f"jobs:{secrets.token_urlsafe(32)}",
        "WAITROOM_ADMIN_KEY": secrets.token_urlsafe(32),
        "WAITROOM_TICK_SECONDS": "0.05",
        "WAITROOM_ROOMS": json.dumps(rooms()),
    }
    command = [sys.executable, "-m", "waitroom", "serve", "--port", str(port)]
    children.start("waitroom", command, environment=environment)


def _clean() -> dict[str, str]:
    """The environment without what is meant for another waitroom or job service."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("WAITROOM_", "JOBS_"))}


def _commands(port: int, workers: int) -> dict[str, list[str]]:
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
        "jobs": ["uvicorn", "examples.jobs.app:app", "--port", str(port), "--no-access-log", "--log-level", "warning"],
    }


def _await_ready(service: Service, workers: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while _listening(service.url) < workers or not _is_ready(service.waitroom_url):
        service.children.check()
        if time.monotonic() > deadline:
            raise DemoError(f"the job service was not ready within {_START_SECONDS:.0f} seconds")
        time.sleep(0.1)


def _listening(url: str) -> int:
    answer = _get(f"{url}/readyz")
    return int(answer.json()["workers"]) if answer is not None and answer.is_success else 0


def _get(url: str) -> httpx.Response | None:
    try:
        return httpx.get(url, timeout=2, trust_env=False)
    except httpx.HTTPError:
        return None


def _is_ready(url: str) -> bool:
    answer = _get(f"{url}/readyz")
    return answer is not None and answer.is_success
