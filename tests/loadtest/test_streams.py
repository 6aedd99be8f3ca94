"""Streams that break at once: who comes back, when, and how many together."""

from __future__ import annotations

from collections.abc import Callable

from crowd.history import History
from loadtest.streams import came_back, reconnection
from tests.crowd.made import START, asked, comes_in

NUMBER = 120


def broken(back_after: Callable[[int], float | None]) -> History:
    """All break at the start; visitor n's comes back after so many seconds, or never."""
    notes = [{"about": "drop", "visitor": f"v{n}", "at": START} for n in range(NUMBER)]
    after = {n: back_after(n) for n in range(NUMBER)}
    return History([asked(f"v{n}", "events", at) for n, at in after.items() if at is not None], notes)


def failing(history: History) -> list[str]:
    """The checks that fail."""
    found = reconnection(history)
    assert found is not None
    return [check.name for check in came_back(found) if not check.holds]


def test_spread_over_half_a_minute_is_good() -> None:
    """Everybody is back, four a second."""
    found = reconnection(broken(lambda n: 1 + n / 4))
    assert found is not None
    assert (found.broken, found.opened, found.most_in_a_second) == (NUMBER, NUMBER, 4)
    assert failing(broken(lambda n: 1 + n / 4)) == []


def test_what_is_not() -> None:
    """Somebody is missing; somebody is late; all come at once."""
    assert failing(broken(lambda n: 1 + n / 4 if n else None)) == ["broken streams come back"]
    assert failing(broken(lambda n: 1 + n / 4 if n else 40)) == ["broken streams come back"]
    assert failing(broken(lambda n: 3 + n / 1000)) == ["reconnections are spread"]


def test_whose_turn_has_come_needs_no_stream() -> None:
    """Who was admitted before the reconnection is not waited for."""
    history = broken(lambda n: 1 + n / 4 if n else None)
    history.operations.append(comes_in("v0", 2))
    assert failing(history) == []
    assert reconnection(History([])) is None
