"""An operator who changes the room while faults go on, and tries again until an instance has done it."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from chaos.diary import Diary, Settings
from chaos.stage import ROOM, CampaignError, Ground
from rig.instance import ADMIN_KEY

#: Seconds for which an operator tries, and between two tries.
_PATIENCE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.3


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

    def _note(self, asked: float) -> None:
        known = self.settings
        self.diary.settings.append(
            Settings(asked, time.time(), known["capacity"], known["admit_per_second"], known["state"])
        )

    async def _command(self, method: str, path: str, document: Mapping[str, Any]) -> None:
        deadline, said = time.monotonic() + _PATIENCE_SECONDS, ""
        while time.monotonic() < deadline:
            for url in self.ground.admin_urls:
                said = await asyncio.to_thread(_ask, method, url + path, document)
                if not said:
                    return
            await asyncio.sleep(_PAUSE_SECONDS)
        raise CampaignError(f"{method} {path} was not to be done within {_PATIENCE_SECONDS:g} s: {said}")


def _ask(method: str, url: str, document: Mapping[str, Any]) -> str:
    """Nothing where it is done, else why not."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(  # noqa: S310 - an instance of ours
        url, method=method, data=json.dumps(document).encode(), headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=2):  # noqa: S310 - the same
            return ""
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read()[:200]!r}"
    except OSError as error:
        return str(error)
