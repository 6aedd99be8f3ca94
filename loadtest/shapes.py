"""How a crowd comes: all at once, ever more, evenly, or evenly for long. Each ends when everybody has gone home."""

from __future__ import annotations

import time
from typing import ClassVar, Final

from locust import LoadTestShape

from loadtest.plan import Plan


class Shape(LoadTestShape):
    """A run of `plan.seconds` and a grace for the last visits. A kind says how many are there after so many seconds."""

    abstract = True
    plan: ClassVar[Plan]

    def tick(self) -> tuple[int, float] | None:
        """How many visitors there should be now, and how many may come per second; None ends the run."""
        seconds = time.perf_counter() - self.start_time
        if seconds >= self.plan.seconds + self.plan.grace_seconds:
            return None
        if seconds >= self.plan.seconds and self.runner is not None and self.runner.user_count == 0:
            return None
        return self.users(min(seconds, self.plan.seconds)), self.pace()

    def users(self, seconds: float) -> int:
        """How many visitors there should be after so many seconds."""
        raise NotImplementedError

    def pace(self) -> float:
        """How many may come per second."""
        return float(max(self.plan.users, 1))


class FlashCrowd(Shape):
    """Everybody at one second."""

    abstract = True

    def users(self, seconds: float) -> int:
        """All of them."""
        return self.plan.users


class Ramp(Shape):
    """Ever more, over three quarters of the time."""

    abstract = True

    def users(self, seconds: float) -> int:
        """So many as the time allows, at least one."""
        return max(1, round(self.plan.users * min(seconds / (0.75 * self.plan.seconds), 1)))


class Steady(Shape):
    """A crowd that is there within a few seconds and stays as large; who has gone comes back as somebody new."""

    abstract = True

    def users(self, seconds: float) -> int:
        """All of them."""
        return self.plan.users

    def pace(self) -> float:
        """Everybody within a tenth of the time, five seconds at most."""
        return max(self.plan.users / max(min(self.plan.seconds / 10, 5), 1), 1)


class Soak(Steady):
    """As steady as that, for as long as asked; it comes over a minute at most, so that the start shows as no growth."""

    abstract = True

    def pace(self) -> float:
        """Everybody within a tenth of the time, a minute at most."""
        return max(self.plan.users / max(min(self.plan.seconds / 10, 60), 1), 1)


SHAPES: Final[dict[str, type[Shape]]] = {"flash": FlashCrowd, "ramp": Ramp, "steady": Steady, "soak": Soak}
