"""The clock: Redis time between two replies, whatever the machine's own clock says."""

from __future__ import annotations

import pytest

from waitroom.store.clock import Clock


class Hands:
    """A monotonic and a wall clock that move when told to."""

    def __init__(self, *, monotonic: float, wall: float) -> None:
        self.monotonic = monotonic
        self.wall = wall

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.monotonic, wall=lambda: self.wall)


def test_before_the_first_reply_it_is_the_machines_time() -> None:
    """Without any reply the clock says what the wall clock said, and goes on from there."""
    hands = Hands(monotonic=50.0, wall=1_000_000.0)
    clock = hands.clock()
    hands.monotonic += 2.5
    assert clock.now() == pytest.approx(1_000_002.5)


def test_a_reply_sets_it_and_the_monotonic_clock_moves_it() -> None:
    """After a reply the clock is Redis time plus what has passed since."""
    hands = Hands(monotonic=50.0, wall=1_000_000.0)
    clock = hands.clock()
    clock.observe(2_000_000_000_000)
    hands.monotonic += 1.25
    assert clock.now() == pytest.approx(2_000_001.25)
    assert clock.now_us() == pytest.approx(2_000_001_250_000, abs=1)


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_the_wall_clock_does_not_matter(jump: float) -> None:
    """Setting the machine's clock changes the skew that is reported, not the time that is used."""
    hands = Hands(monotonic=50.0, wall=1_000_000.0)
    clock = hands.clock()
    clock.observe(1_000_000_000_000)
    hands.wall += jump
    assert clock.now() == pytest.approx(1_000_000.0)
    assert clock.skew_seconds() == pytest.approx(jump)
