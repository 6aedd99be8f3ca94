"""The follower of the fault tests sees what it is there to see."""

from __future__ import annotations

import pytest

from tests.system.outage import Follower


@pytest.mark.parametrize(
    ("passed", "returned", "spent", "faults"),
    [(0, 0, 0, 0), (1, 0, 0, 1), (1, 1, 0, 0), (2, 1, 0, 1), (2, 2, 0, 0), (3, 0, 13, 0)],
)
def test_who_is_passed_is_seen(passed: int, returned: int, spent: int, faults: int) -> None:
    """As many may be passed as came back between two looks, or as a failover forgot; one more is a fault."""
    follower = Follower("shop", [1])
    head = {f"v{serial}": serial for serial in range(11, 16)}
    follower._hold_order(head, {"turn_serial": "10", "restored": "4"})
    later = {"turn_serial": str(10 + passed), "restored": str(4 + returned), "spent_serial": str(spent)}
    follower._hold_order(head, later)
    assert len(follower.faults) == faults
    # Those who had been passed before, and wait, are no new fault.
    follower._hold_order(head, later)
    assert len(follower.faults) == faults
