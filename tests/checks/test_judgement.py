"""What a Redis tells, judged at the borders of each rule, and without its secrets."""

from __future__ import annotations

import pytest
from redis.exceptions import AuthenticationError

from tests.checks.examining import QUOTED_SECRET, SECRET
from waitroom.checks.judgement import (
    judge_eviction,
    judge_failure,
    judge_latency,
    judge_memory,
    judge_persistence,
    judge_role,
    judge_skew,
    judge_version,
)
from waitroom.store.url import parse


@pytest.mark.parametrize(
    ("used", "limit", "verdict"),
    [
        (0, 1000, "ok"),
        (700, 1000, "ok"),
        (701, 1000, "warn"),
        (800, 1000, "warn"),
        (801, 1000, "fail"),
        (1200, 1000, "fail"),
        (700, 0, "warn"),
    ],
)
def test_memory_at_its_borders(used: int, limit: int, verdict: str) -> None:
    """More than 70 % warns, more than 80 % fails; an unknown limit warns."""
    assert judge_memory({"used_memory": used, "maxmemory": limit}).verdict == verdict


def test_without_maxmemory_the_machines_memory_counts() -> None:
    """The finding says of what."""
    finding = judge_memory({"used_memory": 850, "maxmemory": 0, "total_system_memory": 1000})
    assert (finding.verdict, "85.0 % of its machine's memory" in finding.detail) == ("fail", True)


def test_memory_untold() -> None:
    """Where INFO is refused, that is said, and what to allow."""
    assert judge_memory({}).verdict == "warn"


@pytest.mark.parametrize(
    ("median_ms", "verdict"), [(0.1, "ok"), (50.0, "ok"), (50.1, "warn"), (100.0, "warn"), (100.1, "fail")]
)
def test_latency_at_its_borders(median_ms: float, verdict: str) -> None:
    """More than 50 ms warns, more than 100 ms fails."""
    assert judge_latency(median_ms).verdict == verdict


@pytest.mark.parametrize(
    ("skew", "verdict", "where"),
    [
        (0.0, "ok", "ahead"),
        (2.0, "ok", "ahead"),
        (2.1, "warn", "ahead"),
        (-2.0, "ok", "behind"),
        (-2.1, "warn", "behind"),
    ],
)
def test_skew_at_its_borders(skew: float, verdict: str, where: str) -> None:
    """More than two seconds either way warns."""
    finding = judge_skew(skew)
    assert finding.verdict == verdict
    assert where in finding.detail


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("6.2.14", "fail"), ("7.0.0", "ok"), ("7.0", "ok"), ("10.1.2", "ok"), ("unstable", "fail"), (None, "warn")],
)
def test_version_at_its_border(version: str | None, verdict: str) -> None:
    assert judge_version(version).verdict == verdict


@pytest.mark.parametrize(
    ("role", "verdict"), [("master", "ok"), ("slave", "fail"), ("replica", "fail"), (None, "warn")]
)
def test_role(role: str | None, verdict: str) -> None:
    assert judge_role(role).verdict == verdict


@pytest.mark.parametrize(("policy", "verdict"), [("noeviction", "ok"), ("volatile-ttl", "fail"), (None, "warn")])
def test_eviction(policy: str | None, verdict: str) -> None:
    assert judge_eviction(policy).verdict == verdict


@pytest.mark.parametrize(
    ("aof", "aof_status", "rdb_status", "save", "verdict"),
    [
        (1, "ok", "ok", "", "ok"),
        (1, "ok", "ok", None, "ok"),
        (0, "ok", "ok", "3600 1", "warn"),
        (0, "ok", "ok", "", "warn"),
        (0, "ok", "ok", None, "warn"),
        (1, "err", "ok", "", "fail"),
        (1, "ok", "err", "3600 1", "fail"),
    ],
)
def test_persistence(aof: int, aof_status: str, rdb_status: str, save: str | None, verdict: str) -> None:
    info = {"aof_enabled": aof, "aof_last_write_status": aof_status, "rdb_last_bgsave_status": rdb_status}
    assert judge_persistence(info, save).verdict == verdict


def test_persistence_untold() -> None:
    assert judge_persistence({}, None).verdict == "warn"


def test_failure_names_no_secret() -> None:
    """Passwords are taken out of what a server says, in every form that the URL knows."""
    error = AuthenticationError(f"wrong: {SECRET} and {QUOTED_SECRET}")
    finding = judge_failure(error, parse(f"redis://user:{QUOTED_SECRET}@localhost"))
    assert finding.detail == "redis://***@localhost:6379/0 refuses this user: wrong: *** and ***"


def test_failure_is_one_line() -> None:
    assert "\n" not in judge_failure(AuthenticationError("one\r\ntwo"), parse("redis://localhost")).detail
