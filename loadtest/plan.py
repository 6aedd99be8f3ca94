"""What the processes of Locust are told: who comes, in which shape, for how long. Passed on as a JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

#: The environment variable that names the plan's file.
PLAN_VARIABLE: Final = "WAITROOM_LOADTEST_PLAN"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run of Locust.

    `habits` are kinds of visitors with their weights; `users` how many come at most at a time, in the given `shape`,
    for `seconds`. With a `rate` arrivals follow a schedule, whatever the answers take. `gate`: the path of the gate or
    of a page behind it. `settings`: those of the room that visitors know of. `drop_after_seconds`: when everybody's
    event stream breaks; 0 = never. `patience_seconds`: for how long those who wait when the run is over go on; with it
    visitors bear outages, and ask again when told to. With a `seed` the crowd is the same each time.
    """

    folder: str
    room: str = "shop"
    habits: Mapping[str, float] = field(default_factory=lambda: {"patient": 1.0})
    shape: str = "steady"
    users: int = 50
    seconds: float = 20.0
    grace_seconds: float = 15.0
    processes: int = 1
    rate: float = 0.0
    gate: str = "/gate/shop"
    stay_seconds: float = 1.0
    drop_after_seconds: float = 0.0
    patience_seconds: float = 0.0
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def write(self) -> Path:
        """Put it into its folder; returns the file."""
        path = Path(self.folder) / "plan.json"
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        return path

    @classmethod
    def read(cls) -> Self:
        """The plan that the environment names; a small one without."""
        path = os.environ.get(PLAN_VARIABLE)
        if path is None:
            return cls(folder=".")
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))

    @property
    def offered(self) -> int:
        """How many arrivals the schedule has."""
        return round(self.rate * self.seconds)
