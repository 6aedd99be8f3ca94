"""Every fault, by its number: what it is, and which tests hold what must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Fault:
    """A fault in a few words, the tests that bring it about, and why this suite has no run of it, if it has none."""

    words: str
    tests: tuple[str, ...]
    why: str = ""


def _here(words: str, test: str) -> Fault:
    return Fault(words, (f"tests/faults/{test}",))


FAULTS: Final[dict[str, Fault]] = {
    "F1": _here("a reply of Redis is lost", "test_line.py::test_a_lost_reply_has_one_effect"),
    "F2": _here("Redis freezes", "test_down.py::test_a_frozen_redis_thaws"),
    "F3": _here("Redis is killed and restarted", "test_down.py::test_a_killed_redis_comes_back"),
    "F4": _here("Redis comes back empty", "test_down.py::test_an_empty_redis_costs_nobody_the_place"),
    "F5": Fault(
        "a failover loses the last moments",
        (
            "tests/faults/test_down.py::test_a_failover_costs_nobody_the_place",
            "tests/system/test_sentinel.py::test_a_failover_costs_nobody_the_place",
        ),
    ),
    "F6": _here("Redis takes no writes", "test_refusing.py::test_a_redis_without_writes_is_waited_out"),
    "F7": _here("Redis forgets the scripts", "test_refusing.py::test_forgotten_scripts_are_noticed_by_nobody"),
    "F8": _here("Redis is busy with a script", "test_refusing.py::test_a_busy_redis_is_waited_out"),
    "F9": _here("Redis is out of memory", "test_refusing.py::test_without_memory_the_queue_drains"),
    "F10": _here("Redis evicts", "test_refusing.py::test_an_evicting_redis_is_said_to_be_unfit"),
    "F11": _here("the disk of Redis is full", "test_refusing.py::test_a_full_disk_is_waited_out"),
    "F12": _here("the append-only file is cut", "test_down.py::test_a_cut_file_costs_nobody_the_place"),
    "F13": _here("a room's keys are corrupt", "test_refusing.py::test_a_corrupt_room_is_left_alone"),
    "F14": _here("the leader is killed", "test_instances.py::test_a_killed_leader_is_succeeded"),
    "F15": _here("the leader stands still", "test_instances.py::test_a_leader_that_stood_still_has_no_effect"),
    "F16": _here("several lead at once", "test_instances.py::test_three_leaders_keep_every_limit"),
    "F17": _here("the clock of Redis jumps", "test_clocks.py::test_a_jumping_redis_clock_lets_nobody_in_too_early"),
    "F18": _here("an instance's clock is wrong", "test_clocks.py::test_instances_an_hour_off_go_by_redis_time"),
    "F19": _here("clients go away", "test_instances.py::test_clients_that_go_away_harm_nobody"),
    "F20": _here("too many ask at once", "test_line.py::test_too_many_at_once_are_told_so"),
    "F21": _here("replies of Redis are cut or reset", "test_line.py::test_a_broken_reply_reaches_nobody_else"),
    "F22": _here("Redis is slow", "test_line.py::test_slow_replies_slow_visitors_down_only"),
    "F23": Fault(
        "the news of event streams is cut off",
        ("tests/web/test_events.py::test_an_outage_ends_no_stream",),
        "there is no subscription to lose: streams are fed by one look a second",
    ),
    "F24": _here("no further connection", "test_refusing.py::test_without_connections_nothing_crashes"),
    "F25": Fault(
        "an instance with event streams is told to stop",
        ("tests/system/test_streams.py::test_streams_end_when_the_instance_stops",),
        "a crowd of its own: a thousand streams",
    ),
    "F26": Fault(
        "a rolling restart under load",
        ("tests/system/test_rolling.py::test_a_rolling_restart_costs_nobody_anything",),
        "a crowd of its own, behind nginx: 300 visitors, no error at all",
    ),
    "F27": Fault(
        "an instance hangs",
        ("tests/system/test_rolling.py::test_visitors_are_answered_while_an_instance_is_frozen",),
        "a crowd of its own, behind nginx: 200 visitors, no error at all",
    ),
    "F28": Fault(
        "all instances are dead",
        (
            "tests/faults/test_instances.py::test_without_instances_nobody_gets_past",
            "tests/deploy/test_nginx.py::test_without_any_instance_nobody_passes_and_calls_get_503",
        ),
    ),
    "F29": Fault(
        "nginx is reloaded",
        ("tests/deploy/test_nginx_streams.py::test_a_reload_ends_no_stream",),
        "nginx holds nothing of the queue",
    ),
    "F30": Fault(
        "a client does not read its stream",
        ("tests/web/test_events.py::test_who_does_not_read_is_dropped_and_holds_nobody_up",),
        "it concerns that client alone",
    ),
    "F31": Fault(
        "clients that never finish a request",
        (
            "tests/deploy/test_nginx.py::test_a_client_that_does_not_go_on_is_let_go_of",
            "tests/web/bad_inputs/test_http.py::test_a_body_that_never_comes_holds_nobody_else_up",
        ),
        "it concerns those clients alone",
    ),
    "F32": Fault(
        "all streams reconnect at once",
        ("tests/system/test_streams.py::test_streams_of_a_killed_instance_come_back_spread",),
        "a crowd of its own: a thousand streams",
    ),
    "F33": _here("signing keys are rotated", "test_instances.py::test_keys_rotate_under_visitors"),
    "F34": _here("operators change a live room", "test_instances.py::test_operators_in_a_hurry_break_no_limit"),
    "F35": _here("a partition", "test_line.py::test_a_partition_is_an_outage_and_no_more"),
    "F36": _here("an instance is out of memory", "test_instances.py::test_an_instance_out_of_memory_is_a_dead_one"),
}
