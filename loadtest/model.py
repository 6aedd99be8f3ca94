"""From CPU time per request to what more machines would take: an extrapolation, and it says so."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.outcome import Outcome
from waitroom.rooms.batching import MOST_PER_CALL

#: How full a core may be for the latencies to stay as they were measured.
FULLNESS: Final = 0.7

#: Instances that the extrapolation goes to.
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Cost:
    """CPU µs that a request takes in all instances together, in nginx, and in Redis."""

    instances: float
    nginx: float
    redis: float


@dataclass(frozen=True)
class Step:
    """What so many instances with a core each would take, what holds it back, and what that needs.

    `nginx_cores`, and `batch` visitors per script call: batches grow by themselves as calls take longer.
    """

    instances: int
    per_second: float
    bottleneck: str
    nginx_cores: float
    batch: float


def cost(outcome: Outcome) -> Cost:
    """What a request took in one run."""

    def of(pattern: str) -> float:
        return sum(us for name, us in outcome.cpu_us.items() if re.fullmatch(pattern, name))

    return Cost(of(r"waitroom \d+"), of("nginx"), of("redis"))


def redis_cost(sizes: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """CPU µs of Redis for a script call, and for each visitor in it: the line through the cost by the call's size.

    At least two sizes. Where their costs do not fall as calls grow, all of it counts for the visitor.
    """
    shares, costs = [1 / size for size, _ in sizes], [each for _, each in sizes]
    call, visitor = statistics.linear_regression(shares, costs)
    if call <= 0:
        return 0.0, max(costs)
    return call, visitor if visitor > 0 else min(costs)


def extrapolated(outcomes: Sequence[Outcome]) -> list[Step]:
    """What more instances would take, each as busy as the busiest that was measured.

    A request costs an idle instance more, for it batches less: the cheapest figure is the one nearest to a full core,
    and still above it. Of nginx the dearest counts. Instances and nginx's workers have cores of their own; Redis has
    one, for scripts run one after another there.
    """
    costs = [cost(outcome) for outcome in outcomes]
    each, nginx = min(found.instances for found in costs), max(found.nginx for found in costs)
    sizes = [(int(size), float(us)) for outcome in outcomes for size, us in outcome.more.get("call_costs", ())]
    call, visitor = redis_cost(sizes) if sizes else (0.0, max(found.redis for found in costs))
    full = call / MOST_PER_CALL + visitor
    steps = []
    for number in _SIZES:
        by_instances = number * FULLNESS * 1_000_000 / each if each else float("inf")
        by_redis = FULLNESS * 1_000_000 / full if full else float("inf")
        least = min(by_instances, by_redis)
        name = "the instances" if by_instances <= by_redis else "Redis, which runs one script at a time"
        room = FULLNESS * 1_000_000 / least - visitor
        batch = min(max(call / room, 1.0), MOST_PER_CALL) if room > 0 else MOST_PER_CALL
        steps.append(Step(number, least, name, least * nginx / 1_000_000 / FULLNESS, batch))
    return steps
