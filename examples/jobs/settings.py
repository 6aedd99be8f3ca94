"""What the example's processes share: where things are, the rooms, and the times. From the environment, `JOBS_…`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

#: The room of each kind of job. Priority is a room with a place of its own: together five places.
ROOM: Final = "jobs"
EXPRESS_ROOM: Final = "jobs-express"
CAPACITY: Final = 4
EXPRESS_CAPACITY: Final = 1
CONCURRENCY: Final = CAPACITY + EXPRESS_CAPACITY

#: How often a job is begun at most, crashes of its worker included.
MAX_ATTEMPTS: Final = 4

#: Seconds that the work of one attempt may take, the waiting not included.
WORK_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One process's view; every process of the service gets the same."""

    redis_url: str = "redis://127.0.0.1:6379/1"
    waitroom_url: str = "http://127.0.0.1:8000"
    #: Seconds that a result or a failure is kept.
    keep_seconds: int = 600
    #: Seconds after which a silent worker's jobs go to another one.
    silent_seconds: float = 10.0
    #: Seconds of the first pause after a failure; the second is twice, the third three times as long. To each comes up
    #: to a second at random, and the library's scheduler looks once a second.
    pause_seconds: float = 1.0
    #: Share of attempts that fail at random, as real ones do.
    fault_rate: float = 0.03

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings in `JOBS_REDIS_URL` and so on; raises ValueError for what is not a number."""
        found = os.environ if environment is None else environment
        return cls(
            redis_url=found.get("JOBS_REDIS_URL", cls.redis_url),
            waitroom_url=found.get("JOBS_WAITROOM_URL", cls.waitroom_url),
            keep_seconds=int(found.get("JOBS_KEEP_SECONDS", cls.keep_seconds)),
            silent_seconds=float(found.get("JOBS_SILENT_SECONDS", cls.silent_seconds)),
            pause_seconds=float(found.get("JOBS_PAUSE_SECONDS", cls.pause_seconds)),
            fault_rate=float(found.get("JOBS_FAULT_RATE", cls.fault_rate)),
        )


def rooms() -> dict[str, dict[str, Any]]:
    """Both rooms for `waitroom serve`: a crashed holder's place comes back after `session_seconds`."""
    shared = {
        "session_seconds": 8.0,  # short, so that the next in line asks often (each 0.4 s) and no free place is idle
        "sliding": True,
        "claim_seconds": 5.0,
        "abandon_seconds": 10.0,
        "ticket_seconds": 600.0,
    }
    return {
        ROOM: {"capacity": CAPACITY, **shared},
        EXPRESS_ROOM: {"capacity": EXPRESS_CAPACITY, **shared},
    }
