"""The real servers that are measured, each pinned to a core: instances, and bare uvicorn beside them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rig.cores import SERVER_CORE, pinned
from rig.instance import ADMIN_KEY, KEYS, Instance, variables
from rig.served import Served

ROOT: Final = Path(__file__).parent.parent


class BenchmarkError(Exception):
    """A benchmark cannot run, or what came of it means nothing; the message says why."""


def instance(redis_url: str, folder: Path, *, name: str = "waitroom", **settings: object) -> Instance:
    """An instance with these server settings and our keys."""
    given: dict[str, object] = {"signing_keys": KEYS, "admin_key": ADMIN_KEY, "redis_timeout_seconds": 5}
    given |= {"redis_url": redis_url, "log_level": "warning", **settings}
    return Instance(folder / name, name=name, prefix=pinned(SERVER_CORE), variables=variables(**given))


def bare(folder: Path, *, name: str = "bare uvicorn", command: Sequence[str] = ()) -> Served:
    """The yardstick: uvicorn with a constant answer. `command` replaces it."""
    options = ("--port", "{port}", "--no-access-log", "--log-level", "warning", "--backlog", "4096")
    uvicorn = (sys.executable, "-m", "uvicorn", "benchmarks.bare:app", *options)
    return Served(name, command or uvicorn, folder=folder, at_core=SERVER_CORE)
