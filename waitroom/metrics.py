"""What an instance measures of itself. The figures of a room are read from Redis when Prometheus asks for them.

With more than one worker, prometheus-client's multiprocess mode adds the workers up. `serve` sets its folder.
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
    "waitroom_batch_size",
    "Visitors per script call, by script.",
    ["script"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
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
    "How much later (negative: earlier) a visitor was admitted than told at arrival.",
    ["room"],
    buckets=(-600, -300, -120, -60, -30, -10, -5, -2, 0, 2, 5, 10, 30, 60, 120, 300, 600),
)
ETA_WITHIN: Final = Counter(
    "waitroom_eta_within_total",
    "Estimates by whether the visitor was admitted between the low and the high bound (yes, no).",
    ["room", "within"],
)
LEADER: Final = Gauge(
    "waitroom_leader", "1 on the instance that leads: its scheduler acts.", multiprocess_mode="livesum"
)
TICK_SECONDS: Final = Histogram(
    "waitroom_tick_seconds", "Duration of one round of the leader's scheduler.", buckets=_CALL_SECONDS
)
TICK_FAILURES: Final = Counter(
    "waitroom_tick_failures_total", "Rooms that a round of the scheduler could not serve, by task.", ["task"]
)
DEMANDS: Final = Counter(
    "waitroom_demands_total",
    "New places refused because a token of the site or a challenge's solution was missing, by which of the two.",
    ["room", "missing"],
)
OVERLOADED: Final = Counter(
    "waitroom_overloaded_total", "Requests turned away because this instance's backlog was full."
)
RETURNS_REFUSED: Final = Counter(
    "waitroom_return_refused_total",
    "Return addresses that were refused, so that the visitor goes to the front page, by reason.",
    ["reason"],
)
STREAMS: Final = Gauge("waitroom_streams", "Event streams that are open.", multiprocess_mode="livesum")
STREAM_EVENTS: Final = Counter("waitroom_stream_events_total", "Events sent on event streams, by event.", ["event"])
STREAMS_REFUSED: Final = Counter(
    "waitroom_streams_refused_total", "Event streams refused, by the limit that was reached.", ["limit"]
)
STREAMS_DROPPED: Final = Counter(
    "waitroom_streams_dropped_total", "Event streams ended because their visitor did not read."
)
GATE: Final = Counter("waitroom_gate_total", "Answers of the gate by status code.", ["room", "status"])
GATE_FAULTS: Final = Counter(
    "waitroom_gate_faults_total",
    "Checks of the gate that failed by a fault of waitroom itself. No such request went on.",
)
OPEN_PASSES: Final = Counter(
    "waitroom_open_passes_total", "Passes given while Redis was down, because the room's when_down is open.", ["room"]
)
SKEW_SECONDS: Final = Gauge(
    "waitroom_clock_skew_seconds", "How far this machine's clock is ahead of Redis.", multiprocess_mode="livemax"
)
RECOVERED: Final = Counter(
    "waitroom_recovered_total", "Times that this instance found a room's data, or their last moments, lost.", ["room"]
)
REDIS_UNFIT: Final = Gauge(
    "waitroom_redis_unfit",
    "1 while Redis is not fit to hold the queue, by what is wrong with it.",
    ["fault"],
    multiprocess_mode="livemax",
)


@lru_cache(maxsize=1024)
def gate_answers(room: str, status: int) -> Counter:
    """The counter of one answer of the gate in one room: to find it takes four times as long as to count."""
    return GATE.labels(room, status)


def forget(room: str) -> None:
    """Drop the counts of a room that is gone. Several workers share files, and there the counts have to stay."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return
    for metric in (DEMANDS, WAIT_SECONDS, ETA_ERROR_SECONDS, ETA_WITHIN, GATE, OPEN_PASSES, RECOVERED):
        metric.remove_by_labels({"room": room})
    gate_answers.cache_clear()
