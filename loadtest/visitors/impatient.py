"""A script that polls much harder than it was told to."""

from __future__ import annotations

from typing import Final

from loadtest.visitors.visitor import Answer, Visitor

#: Seconds between two looks, whatever the room says.
_PAUSE_SECONDS: Final = 0.2


class Impatient(Visitor):
    """Gains nothing by it; a proxy may turn it away with 429."""

    habit = "impatient"

    def turn(self) -> None:
        """Poll, come in, leave at once."""
        answer = self.enter()
        while answer.state == "waiting" or answer.status == 429:
            if not self.idle(_PAUSE_SECONDS):
                break
            answer = self._look()
        if self.identity:
            self.leave()

    def _look(self) -> Answer:
        return self.until_served(lambda: self.ask("status", "GET", f"{self.room}/status", good=(200, 429)))
