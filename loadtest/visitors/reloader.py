"""Somebody who reloads the page, clicks twice, and has it open in two tabs."""

from __future__ import annotations

import gevent

from loadtest.visitors.visitor import Answer, Visitor


class Reloader(Visitor):
    """Enters again and again with the same cookies, now and then twice at the same time."""

    habit = "reloader"

    def turn(self) -> None:
        """Wait by entering anew, look round, leave."""
        if self.queue(self.enter(), self._look):
            self.look_round()
        if self.identity:
            self.leave()

    def _look(self) -> Answer:
        if self.dice.random() < 0.5:
            return self.enter()
        both = [gevent.spawn(self.enter), gevent.spawn(self.status)]
        gevent.joinall(both)
        answers: list[Answer] = [each.get() for each in both]
        # A page that is told "admitted" goes on, whatever the other tab was told a moment before.
        return next((each for each in answers if each.state == "admitted"), answers[0])
