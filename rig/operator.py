"""An operator who changes the room while faults go on, and tries again until an instance has done it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

from rig.instance import Instance
from rig.waiting import eventually

#: Seconds that an instance may take to answer an operator.
_ANSWER_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Settings:
    """Settings that an operator gave the room: in force at some time between `asked` and `done`."""

    asked: float
    done: float
    capacity: int
    admit_per_second: float
    state: str


class Operator:
    """Changes a room, by the admin API, at whichever instance answers. `settings` are those of now.

    `given`: all that the room ever had; `revoked`: for each revoked visitor from when they may have been, and from
    when they surely were.
    """

    def __init__(self, instances: Sequence[Instance], room: str, settings: Mapping[str, Any]) -> None:
        self.room = room
        self.settings: Mapping[str, Any] = {"state": "open", **settings}
        self.given: list[Settings] = []
        self.revoked: dict[str, tuple[float, float]] = {}
        self._instances = instances
        self._first = self.settings
        self._note(time.time())

    async def change(self, **settings: Any) -> None:
        """Give the room these settings."""
        await self._command("PATCH", "", settings, settings)

    async def command(self, name: str, state: str) -> None:
        """`pause`, `resume` or `close` the room, which gives it that state."""
        await self._command("POST", f"/{name}", {}, {"state": state})

    async def restore(self) -> None:
        """Give the room its first settings again, where it has others."""
        if self.settings != self._first:
            await self.change(**self._first)

    async def revoke(self, visitor: str) -> None:
        """Send that visitor away."""
        asked = time.time()
        await self._command("POST", "/revoke", {"visitor": visitor})
        self.revoked[visitor] = (asked, time.time())

    async def _command(
        self, method: str, path: str, document: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> None:
        """Have it done; the room has these settings from then on."""
        asked, instances, path = time.time(), cycle(self._instances), f"/admin/rooms/{self.room}{path}"

        async def done() -> bool:
            await asyncio.to_thread(next(instances).operate, method, path, document, seconds=_ANSWER_SECONDS)
            return True

        await eventually(done, f"{method} {path}", despite=OSError)
        if settings:
            self.settings = {**self.settings, **settings}
            self._note(asked)

    def _note(self, asked: float) -> None:
        known = self.settings
        self.given.append(Settings(asked, time.time(), known["capacity"], known["admit_per_second"], known["state"]))
