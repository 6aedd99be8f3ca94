"""A client that keeps no cookies: each time it comes it is somebody new, at the end of the queue."""

from __future__ import annotations

from loadtest.visitors.visitor import Visitor


class Forgetful(Visitor):
    """Leaves a ghost behind at each look."""

    habit = "forgetful"

    def turn(self) -> None:
        """Enter, forget, come again."""
        answer = self.enter()
        self.idle(max(answer.poll_after, 1.0))
