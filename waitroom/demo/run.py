"""Start of the demo: what it needs is checked before anything runs, and what it started is gone when it returns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Coroutine, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from waitroom.demo.nginx import configuration_folder, nginx_binary
from waitroom.demo.processes import DemoError, require_port


def run(
    *,
    port: int = 8080,
    visitors: int = 300,
    capacity: int = 50,
    data_dir: Path | None = None,
    seconds: float | None = None,
) -> int:
    """Run the demo on a loopback port until Ctrl-C or SIGTERM, or for `seconds`. Returns the exit code, 0.

    The queue and the logs are kept in `data_dir`. Without one they go when the demo ends. Raises DemoError, or
    another WaitroomError, with one sentence to print, if it cannot start or if one of its processes stops.
    """
    _require_programs()
    require_port(port)
    from waitroom.demo.stage import Plan, play  # needs httpx

    with _folder(data_dir) as folder:
        plan = Plan(folder=folder, port=port, visitors=visitors, capacity=capacity)
        asyncio.run(_until_told(play(plan), seconds))
    return 0


def _require_programs() -> None:
    if os.name != "posix":
        raise DemoError("the demo runs on Linux and macOS only")
    if find_spec("httpx") is None:
        raise DemoError("the demo needs httpx: pip install 'waitroom[demo]'")
    nginx_binary()
    configuration_folder()


@contextlib.contextmanager
def _folder(data_dir: Path | None) -> Iterator[Path]:
    """The demo's folder: the given one, made if need be, or a temporary one that is removed afterwards."""
    try:
        if data_dir is None:
            temporary = tempfile.TemporaryDirectory(prefix="waitroom-demo-", ignore_cleanup_errors=True)
        else:
            _require_writable(data_dir)
    except OSError as error:
        place = data_dir or tempfile.gettempdir()
        raise DemoError(f"cannot write to {place} ({error.strerror}): choose a folder with --data-dir") from None
    if data_dir is not None:
        yield data_dir.resolve()
        return
    with temporary as name:
        yield Path(name)


def _require_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


async def _until_told(performance: Coroutine[Any, Any, None], seconds: float | None) -> None:
    """Await it until it raises, the time is up, or a signal asks to stop."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(performance)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    if seconds is not None:
        loop.call_later(seconds, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
