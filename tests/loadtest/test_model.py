"""The extrapolation follows from the CPU time per request, and names what holds the next step back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.model import FULLNESS, Cost, cost, extrapolated, redis_cost
from tests.loadtest.outcomes import outcome
from waitroom.rooms.batching import MOST_PER_CALL

COSTS = {"waitroom 1": 60.0, "waitroom 2": 40.0, "nginx": 25.0, "redis": 20.0, "origin": 3.0}


def test_all_instances_together_bear_a_request() -> None:
    """Each request is in one of them; the account is divided by all."""
    assert cost(outcome("scale", instances=2, cpu_us=COSTS)) == Cost(instances=100.0, nginx=25.0, redis=20.0)


def test_a_script_call_costs_something_by_itself() -> None:
    """40 µs for a call and 5 for each visitor, as runs with different batches show; else all for the visitor."""
    assert redis_cost([(size, 40 / size + 5) for size in (1, 4, 64)]) == pytest.approx((40, 5))
    assert redis_cost([(1, 20.0), (4, 30.0)]) == (0.0, 30.0)


def test_batches_grow_until_redis_is_full() -> None:
    """With 40 µs for a call and 5 for a visitor in it, Redis takes 0.7 core / 5.08 µs a second, in full batches."""
    one = outcome("scale", cpu_us={"waitroom 1": 100.0, "redis": 45.0})
    sized = replace(one, more={"call_costs": [(size, 40 / size + 5) for size in (1, 4, 64)]})
    steps = extrapolated([sized])
    assert steps[-1].bottleneck.startswith("Redis")
    assert steps[-1].per_second == pytest.approx(FULLNESS * 1_000_000 / (5 + 40 / MOST_PER_CALL))
    assert steps[-1].batch == pytest.approx(MOST_PER_CALL)
    assert [step.batch for step in steps] == sorted(step.batch for step in steps)


def test_instances_add_up_until_redis_is_full() -> None:
    """One instance, as busy as the busiest measured, takes what fits its core; five fill Redis; nginx grows along."""
    idle = {f"waitroom {number}": 50.0 for number in range(1, 5)}
    steps = extrapolated([outcome("scale", cpu_us=COSTS), outcome("scale", instances=4, cpu_us=idle)])
    first, last = steps[0], steps[-1]
    assert first.per_second == pytest.approx(FULLNESS * 10_000)
    assert first.bottleneck == "the instances"
    assert first.nginx_cores == pytest.approx(0.25)
    assert last.per_second == pytest.approx(FULLNESS * 50_000)
    assert last.bottleneck.startswith("Redis")
    assert [step.bottleneck == "the instances" for step in steps] == [True] * 3 + [False] * 4
