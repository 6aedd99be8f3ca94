"""An operator who changes the room while faults go on, and tries again until an instance has done it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from itertools import cycle
from typing import Any, Final

from chaos.diary import Diary, Settings
from chaos.stage import ROOM
from rig.faults import Ground
from rig.waiting import eventually

#: Seconds that an instance may take to answer an operator.
_ANSWER_SECONDS: Final = 2.0


class Operator:
    """Changes settings, by the admin API, at whichever instance answers."""

    def __init__(self, ground: Ground, diary: Diary, settings: Mapping[str, Any]) -> None:
        self.ground = ground
        self.diary = diary
        self.room = ROOM
        self.settings: Mapping[str, Any] = {"state": "open", **settings}
        self._first = self.settings
        self._note(time.time())

    async def change(self, **settings: Any) -> None:
        """Give the room these settings."""
        asked = time.time()
        await self._command("PATCH", f"/admin/rooms/{ROOM}", settings)
        self.settings = {**self.settings, **settings}
        self._note(asked)

    async def command(self, name: str, state: str) -> None:
        """`pause`, `resume` or `close` the room, which gives it that state."""
        asked = time.time()
        await self._command("POST", f"/admin/rooms/{ROOM}/{name}", {})
        self.settings = {**self.settings, "state": state}
        self._note(asked)

    async def restore(self) -> None:
        """Give the room its first settings again, where it has others."""
        if self.settings != self._first:
            await self.change(**self._first)

    async def revoke(self, visitor: str) -> None:
        """Send that visitor away."""
        asked = time.time()
        await self._command("POST", f"/admin/rooms/{ROOM}/revoke", {"visitor": visitor})
        self.diary.revoked[visitor] = (asked, time.time())

    async def _command(self, method: str, path: str, document: Mapping[str, Any]) -> None:
        instances = cycle(self.ground.instances)

        async def done() -> bool:
            await asyncio.to_thread(next(instances).operate, method, path, document, seconds=_ANSWER_SECONDS)
            return True

        await eventually(done, f"{method} {path}", despite=OSError)

    def _note(self, asked: float) -> None:
        known = self.settings
        self.diary.settings.append(
            Settings(asked, time.time(), known["capacity"], known["admit_per_second"], known["state"])
        )
