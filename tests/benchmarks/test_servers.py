"""The servers that are measured."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from benchmarks import servers
from benchmarks.servers import BenchmarkError


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchmarkError, match=r"needs wrk, which is not on PATH .*apt-get install wrk"):
        servers.require("wrk")


def test_a_core_is_given_back() -> None:
    before = os.sched_getaffinity(0)
    with servers.on_core(servers.OTHER_CORE):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_settings_as_the_environment_has_them() -> None:
    assert servers.environment({"signing_keys": ["a:1", "b:2"], "drain_seconds": 2, "redis_url": "unix:///s"}) == {
        "WAITROOM_SIGNING_KEYS": "a:1,b:2",
        "WAITROOM_DRAIN_SECONDS": "2",
        "WAITROOM_REDIS_URL": "unix:///s",
    }


def test_a_program_that_ends_is_not_waited_for() -> None:
    with (
        pytest.raises(BenchmarkError, match="broken stopped at its start"),
        servers.started("broken", ["false"], port=1, at_core=servers.SERVER_CORE),
    ):
        pass


def test_the_whole_site_answers_on_its_cores(tmp_path: Path) -> None:
    """Redis, an instance, nginx before it, and an origin; a request without a pass is let through, as nobody waits."""
    with (
        servers.redis(tmp_path) as redis,
        servers.instance(redis.url, tmp_path, rooms='{"shop": {"capacity": 5}}') as instance,
        servers.origin(tmp_path) as origin,
        servers.nginx(tmp_path, instances=[instance], origin=origin, room="shop") as nginx,
        servers.bare() as bare,
    ):
        assert httpx.get(f"{nginx.url}/").json() == {"origin": True}
        assert httpx.get(f"{bare.url}/").json()["state"] == "waiting"
        assert os.sched_getaffinity(instance.pid) == {servers.core(servers.SERVER_CORE)}
        assert os.sched_getaffinity(nginx.pid) == {servers.core(servers.OTHER_CORE)}
        assert os.sched_getaffinity(redis.pid) == {servers.core(servers.OTHER_CORE)}
        assert redis.version.startswith(("Valkey", "Redis"))
        redis.settle()
        assert redis.cpu_seconds() > 0
        assert instance.cpu_seconds() > 0
