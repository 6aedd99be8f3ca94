"""What an instance measures of itself. What is true of a room is read from Redis when it is asked for.

With more than one worker, prometheus-client's multiprocess mode adds the workers up; `serve` sets its folder.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

#: Bucket borders for script calls, in seconds.
_CALL_SECONDS: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

#: Bucket borders for waits, in seconds: from one second to six hours.
_WAIT_SECONDS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600)

BATCH_SIZE: Final = Histogram(
    "waitroom_batch_size", "Visitors per script call.", ["script"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
SCRIPT_SECONDS: Final = Histogram(
    "waitroom_script_seconds", "Time from sending a script call to its reply.", ["script"], buckets=_CALL_SECONDS
)
SCRIPT_FAILURES: Final = Counter(
    "waitroom_script_failures_total", "Script calls that failed, by kind of failure.", ["script", "failure"]
)
WAIT_SECONDS: Final = Histogram(
    "waitroom_wait_seconds", "Time from arrival to admission, taken at admission.", ["room"], buckets=_WAIT_SECONDS
)
ETA_ERROR_SECONDS: Final = Histogram(
    "waitroom_eta_error_seconds",
    "How much later (negative: earlier) than told at arrival a visitor was admitted.",
    ["room"],
    buckets=(-600, -300, -120, -60, -30, -10, -5, -2, 0, 2, 5, 10, 30, 60, 120, 300, 600),
)
ETA_WITHIN: Final = Counter(
    "waitroom_eta_within_total", "Estimates whose low and high bound held (yes) or did not (no).", ["room", "within"]
)
LEADER: Final = Gauge("waitroom_leader", "1 on the instance whose scheduler acts.", multiprocess_mode="livesum")
TICK_SECONDS: Final = Histogram(
    "waitroom_tick_seconds", "Duration of one round of the leader's scheduler.", buckets=_CALL_SECONDS
)
TICK_FAILURES: Final = Counter(
    "waitroom_tick_failures_total", "Rooms that a round of the scheduler could not serve.", ["task"]
)
DEMANDS: Final = Counter(
    "waitroom_demands_total",
    "New places not given for want of a token of the site or of a challenge's solution, by what was missing.",
    ["room", "missing"],
)
OVERLOADED: Final = Counter(
    "waitroom_overloaded_total", "Requests turned away because this instance's backlog was full."
)
STREAMS: Final = Gauge("waitroom_streams", "Event streams that are open.", multiprocess_mode="livesum")
STREAM_EVENTS: Final = Counter("waitroom_stream_events_total", "What event streams were told, by event.", ["event"])
STREAMS_REFUSED: Final = Counter(
    "waitroom_streams_refused_total", "Event streams not opened, by the limit that was reached.", ["limit"]
)
STREAMS_DROPPED: Final = Counter(
    "waitroom_streams_dropped_total", "Event streams ended because their visitor did not read."
)
GATE: Final = Counter("waitroom_gate_total", "Answers of the gate by status code.", ["room", "status"])
GATE_FAULTS: Final = Counter(
    "waitroom_gate_faults_total", "Checks that failed by a fault of waitroom itself; nobody got past by one."
)
OPEN_PASSES: Final = Counter(
    "waitroom_open_passes_total", "Passes given without Redis because the room's when_down is open.", ["room"]
)
SKEW_SECONDS: Final = Gauge(
    "waitroom_clock_skew_seconds", "How far this machine's clock is ahead of Redis.", multiprocess_mode="livemax"
)
RECOVERED: Final = Counter(
    "waitroom_recovered_total", "Times that a room's data, or the last moments of them, were found lost.", ["room"]
)
REDIS_UNFIT: Final = Gauge(
    "waitroom_redis_unfit",
    "1 while Redis is not fit to hold the queue, by fault.",
    ["fault"],
    multiprocess_mode="livemax",
)


@lru_cache(maxsize=1024)
def gate_answers(room: str, status: int) -> Counter:
    """The counter of one answer of the gate in one room: to find it takes four times as long as to count."""
    return GATE.labels(room, status)


def forget(room: str) -> None:
    """Let go of what was counted of a room that is gone. Several workers share files, in which it has to stay."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return
    for metric in (DEMANDS, WAIT_SECONDS, ETA_ERROR_SECONDS, ETA_WITHIN, GATE, OPEN_PASSES, RECOVERED):
        metric.remove_by_labels({"room": room})
    gate_answers.cache_clear()
