"""Somebody whose phone goes to sleep: silent for longer than the room waits, then back with the ticket."""

from __future__ import annotations

from loadtest.visitors.visitor import Visitor


class Sleeper(Visitor):
    """Goes silent once, for up to twice `abandon_seconds`, and finds the old place again: the history shows it."""

    habit = "sleeper"

    def turn(self) -> None:
        """Look, sleep, come back, and go on like anybody."""
        answer = self.enter()
        if answer.state == "waiting" and self.idle(answer.poll_after):
            answer = self.status()
        if answer.state == "waiting":
            silence = self.run_of.plan.setting("abandon_seconds", 120) * self.dice.uniform(0.4, 2)
            self.hang_up()
            if self.idle(silence):
                answer = self.status()
        if self.queue(answer):
            self.look_round()
        if self.identity:
            self.leave()
