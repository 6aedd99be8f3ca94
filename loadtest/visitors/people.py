"""Visitors who keep to the rules, and those who leave, sleep, vanish, reload, hurry, forget, or do not queue."""

from __future__ import annotations

from typing import Final

import gevent

from crowd.answers import Answer
from loadtest.visitors.visitor import Visitor

#: Seconds between two looks of somebody in a hurry, whatever the room says.
_HURRY_SECONDS: Final = 0.2


class Patient(Visitor):
    """Somebody who waits as told, comes in, looks round and says goodbye. The visitor one would like to have."""

    habit = "patient"

    def turn(self) -> None:
        """Wait, look round, leave; whoever still waits when the run is over leaves too."""
        self.go_through(self.enter())


class Leaver(Visitor):
    """Somebody who loses patience and says goodbye in the queue, now and then twice.

    Gives up after a look or two; a second goodbye with the same ticket changes nothing.
    """

    habit = "leaver"

    def turn(self) -> None:
        """Look a few times, then leave."""
        self.glance(2)
        held = self.jar.header()
        self.leave()
        if self.dice.random() < 0.3:
            self.leave(headers=held)
        self.idle(self.dice.uniform(0, 1))


class Sleeper(Visitor):
    """Somebody whose phone goes to sleep: silent for longer than the room waits, then back with the ticket.

    Goes silent once, for up to twice `abandon_seconds`, and finds the old place again: the history shows it.
    """

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
        self.go_through(answer)


class Vanisher(Visitor):
    """Somebody who closes the tab without a word, waiting or inside.

    A ghost: abandoned, a no-show, or a session that runs out.
    """

    habit = "vanisher"

    def turn(self) -> None:
        """Look a few times, then never again; somebody else comes from here a little later."""
        self.glance(3)
        self.hang_up()
        self.idle(self.dice.uniform(1, 3))


class Reloader(Visitor):
    """Somebody who reloads the page, clicks twice, and has it open in two tabs.

    Enters again and again with the same cookies, now and then twice at the same time.
    """

    habit = "reloader"

    def turn(self) -> None:
        """Wait by entering anew, look round, leave."""
        self.go_through(self.enter(), self._look)

    def _look(self) -> Answer:
        if self.dice.random() < 0.5:
            return self.enter()
        both = [gevent.spawn(self.enter), gevent.spawn(self.status)]
        gevent.joinall(both)
        answers: list[Answer] = [each.get() for each in both]
        # A page that is told "admitted" goes on, whatever the other tab was told a moment before.
        return next((each for each in answers if each.state == "admitted"), answers[0])


class Impatient(Visitor):
    """A script that polls much harder than it was told to. Gains nothing by it; a proxy may turn it away with 429."""

    habit = "impatient"

    def turn(self) -> None:
        """Poll, come in, leave at once."""
        answer = self.enter()
        while answer.state == "waiting" or answer.status == 429:
            if not self.idle(_HURRY_SECONDS):
                break
            answer = self._look()
        if self.identity:
            self.leave()

    def _look(self) -> Answer:
        return self.until_served(lambda: self.ask("status", "GET", f"{self.room}/status", good=(200, 429)))


class Forgetful(Visitor):
    """A client that keeps no cookies: each time it comes it is somebody new, at the end of the queue.

    Leaves a ghost behind at each look.
    """

    habit = "forgetful"

    def turn(self) -> None:
        """Enter, forget, come again."""
        answer = self.enter()
        self.idle(max(answer.poll_after, 1.0))


class Stranger(Visitor):
    """Somebody who walks up to the gate without having queued.

    Turned away while anybody waits; else let in, and then a visitor like any other who leaves no word.
    """

    habit = "stranger"

    def turn(self) -> None:
        """Try the gate."""
        self.gate(good=(200, 204, 303, 401))
        self.idle(self.dice.uniform(0.5, 1.5))
