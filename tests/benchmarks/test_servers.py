"""The servers that are measured."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from benchmarks import servers
from rig import cores, served
from rig.embedded import Embedded
from rig.nginx import crowded
from rig.origin import constant
from rig.process import Ended


def test_a_core_is_given_back() -> None:
    before = os.sched_getaffinity(0)
    with cores.on_core(cores.OTHER_CORE):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_a_program_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    with (
        pytest.raises(Ended, match="broken ended by itself"),
        served.Served("broken", ["false"], folder=tmp_path, at_core=cores.SERVER_CORE),
    ):
        pass


def test_the_whole_site_answers_on_its_cores(tmp_path: Path) -> None:
    """Redis, an instance, nginx before it, and an origin; a request without a pass is let through, as nobody waits."""
    with (
        Embedded(tmp_path) as redis,
        servers.instance(redis.url, tmp_path, rooms={"shop": {"capacity": 5}}) as instance,
        constant(tmp_path) as origin,
        crowded(tmp_path, instances=[instance.port], origin=origin.port, room="shop") as nginx,
        servers.bare(tmp_path) as bare,
    ):
        assert httpx.get(f"{nginx.url}/").json() == {"origin": True}
        assert httpx.get(f"{bare.url}/").json()["state"] == "waiting"
        assert os.sched_getaffinity(instance.pid) == {cores.core(cores.SERVER_CORE)}
        assert os.sched_getaffinity(nginx.pid) == {cores.core(cores.OTHER_CORE)}
        assert os.sched_getaffinity(redis.pid) == {cores.core(cores.OTHER_CORE)}
        redis.settle()
        assert redis.cpu_seconds() > 0
        assert instance.cpu_seconds() > 0
