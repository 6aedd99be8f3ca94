"""Fixtures on real servers: an engine's URL, a raw client and a store on it, emptied for each test."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from rig import servers
from rig.machine import Missing
from tests.instances import LateStore
from waitroom.store import store as stores
from waitroom.store.clock import Clock
from waitroom.store.servers import connect

HERE: Final = Path(__file__).parent

# A shell starts in the background with SIGINT ignored, and children inherit that. Tests press Ctrl-C in theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Half of the time in which the tests are collected went into looking for garbage among them; there is none.
gc.disable()


@contextmanager
def _told() -> Iterator[None]:
    """What this machine lacks is the reason of a skip; where CI=true that is a failure."""
    try:
        yield
    except Missing as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


#: The files that take longest, as `make test ARGS=--durations=0` tells, those that wait among those that work: they
#: start first, and so no worker is left alone with one of them at the end.
LONGEST: Final = (
    "browser/test_live.py",
    "lua/test_machine.py",
    "docs/test_blocks.py",
    "checks/test_doctor_front.py",
    "checks/test_doctor.py",
    "faults/test_instances.py",
    "client/test_holding.py",
    "faults/test_refusing.py",
    "client/test_watching.py",
    "chaos/test_campaign.py",
    "browser/test_demo.py",
    "system/test_crowd.py",
    "client/test_blocking.py",
    "faults/test_down.py",
    "checks/test_doctor_sound.py",
    "checks/test_doctor_nginx.py",
    "demo/test_demo.py",
    "faults/test_line.py",
    "deploy/test_nginx.py",
    "system/test_rolling.py",
    "deploy/test_free_paths.py",
    "browser/test_late.py",
    "examples/test_jobs.py",
    "browser/test_hostile.py",
    "deploy/test_installer.py",
    "browser/test_guarded.py",
    "test_wheel.py",
    "benchmarks/test_runs.py",
    "serve/test_http.py",
    "asgi/test_remote.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    first = {HERE / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


def pytest_collection_finish() -> None:
    """From here on garbage is looked for, but not in what was collected: it stays to the end."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Iterator[Any]:
    """In fixtures."""
    with _told():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Iterator[Any]:
    """In tests."""
    with _told():
        return (yield)


@pytest.fixture(scope="session", params=servers.engines())
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a real server of each engine; one for the whole run."""
    name: str = request.param
    if name == "container":
        with servers.running_container() as url:
            yield url
        return
    with servers.running(binary=servers.program(name)) as url:
        yield url


@pytest.fixture
async def redis(engine: str) -> AsyncIterator[Redis]:
    """A raw client on the emptied server; replies are text."""
    client = Redis.from_url(engine, decode_responses=True, protocol=2)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def store(engine: str, redis: Redis) -> AsyncIterator[stores.Store]:
    """A store on the emptied server. Its time-out is long: a busy machine must not fail a test."""
    opened = stores.Store(connect(engine, timeout_seconds=10), Clock(), timeout_seconds=10)
    yield opened
    await opened.close()


@pytest.fixture
async def late(engine: str, redis: Redis) -> AsyncIterator[LateStore]:
    """A late store on the emptied server."""
    opened = LateStore(connect(engine, timeout_seconds=10), Clock(), timeout_seconds=10)
    yield opened
    await opened.close()
