"""What is set once for a whole server process: its log, its garbage, its files, its numbers."""

from __future__ import annotations

import gc
import logging
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import multiprocess

from waitroom.settings.server import ServerSettings

#: New objects after which the garbage collector looks at them: about 20 MB.
_YOUNG_OBJECTS: Final = 50_000


def set_up_logging(settings: ServerSettings) -> None:
    """One line per event on stderr."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )


def collect_rarely() -> None:
    """Let garbage that refers to itself lie for a while.

    The collector would look at all that a few hundred requests in flight hold after every few of them, and find
    nothing: a tenth of an enter. What is there from the start is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


def allow_many_files() -> None:
    """Take as many open files as the machine lets this process have: a stream is one, and 1,024 are the custom."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS does not give all that it promises
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def forget_dead_workers() -> None:
    """Take the gauges of workers that are gone out of the sum."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
