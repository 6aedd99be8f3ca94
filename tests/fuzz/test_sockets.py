"""Raw junk at an instance, directly and through nginx: it serves on, and keeps nothing of what it was sent."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
import pytest
import uvicorn.protocols.http.httptools_impl as http_protocol

from rig import nginx
from rig.nginx import Nginx
from rig.origin import Stub, answering, shop
from rig.waiting import until
from tests.fuzz.junk import gathered, thrown
from tests.fuzz.mutations import FACTOR
from tests.web import sites
from tests.web.sites import Site
from waitroom.serve import http

pytestmark = pytest.mark.system

#: What chance begins with; another one is tried with WAITROOM_FUZZ_SEED.
SEED: Final = int(os.environ.get("WAITROOM_FUZZ_SEED", "1"))

#: Pieces of junk in a round, beside those that are known.
PIECES: Final = 300

#: Rounds after the first, which fills pools and caches.
ROUNDS: Final = 3 * FACTOR

#: Bytes by which the process may be larger after those rounds. It lets 50,000 objects of garbage lie (see
#: waitroom.serve.worker), so it grows at first: by 2 to 7 MB in three rounds, by 33 MB in sixty, and by none in ninety
#: more.
GROWTH: Final = 16_000_000 if FACTOR == 1 else 60_000_000

#: What there is for each connection.
_PER_CONNECTION: Final = (
    http.WholeAnswers,
    http._Joining,
    http_protocol.RequestResponseCycle,
    asyncio.Task,
)


def _port(site: Site) -> int:
    port = urlsplit(site.url).port
    assert port is not None
    return port


def _held() -> Counter[str]:
    """What this process holds for connections, by kind; tasks count while they run."""
    gc.collect()
    # Not isinstance: a lazy object of somebody else's would be asked for its class, and made.
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), _PER_CONNECTION)]
    return Counter(type(thing).__name__ for thing in found if not (isinstance(thing, asyncio.Task) and thing.done()))


@contextmanager
def _room(site: Site) -> Iterator[None]:
    """A room with one inside and one waiting; afterwards it takes newcomers as before."""
    site.make_room("shop", capacity=1, session_seconds=7200.0, abandon_seconds=3600.0)
    site.pass_of_new("shop")
    ticket = site.ticket_of_new("shop")
    yield
    assert site.status("shop", ticket).json()["rank"] == 1
    assert site.enter("shop").status_code == 202


async def test_nothing_is_kept_of_junk(caplog: pytest.LogCaptureFixture) -> None:
    """Afterwards there is no protocol, request or task that was not there before, and no fault was logged."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as site, _room(site):
        site.hang_up()
        before = _held()
        with caplog.at_level(logging.WARNING):
            await thrown(_port(site), gathered(SEED, PIECES))
        until(lambda: not _held() - before, what="an end of what was held for them")
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
        assert [record for record in caplog.records if record.exc_info] == []


async def test_what_is_kept_is_seen() -> None:
    """A client that is still there is found; so the test above could fail."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as site:
        before = _held()
        with site.connection() as link:
            link.sendall(b"POST /v1/rooms/shop/enter HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
            until(lambda: (_held() - before)["WholeAnswers"] == 1, what="a connection")
        until(lambda: not _held() - before, what="its end")


async def test_the_process_stays_as_it_is(tmp_path: Path) -> None:
    """The same process, as many open files, not much more memory, and no traceback in its log."""
    with (
        sites.own_redis() as (url, redis),
        sites.program(redis, url, folder=tmp_path) as site,
        _room(site),
    ):
        process = psutil.Process(site.pid)
        files, size = 0, 0
        for number in range(ROUNDS + 1):
            await thrown(_port(site), gathered(SEED + number, PIECES))
            _await_calm(site, process)
            if number == 0:
                files, size = _files(site, process), process.memory_info().rss
        until(lambda: _files(site, process) == files, what=f"{files} open files again")
        assert process.memory_info().rss - size < GROWTH
        assert _faults(tmp_path / "serve.log") == []


def _files(site: Site, process: psutil.Process) -> int:
    """Its open files, but for the connections to Redis, of which a crowd may have opened more."""
    return int(process.num_fds()) - len(site.redis.client_list())


def _await_calm(site: Site, process: psutil.Process) -> None:
    """Wait until nobody is connected."""
    site.hang_up()
    until(
        lambda: all(link.status == psutil.CONN_LISTEN for link in process.net_connections("tcp")),
        what="an end of the connections",
    )


def _faults(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if "Traceback" in line or " ERROR " in line]


@pytest.mark.parametrize("binary", nginx.BINARIES)
async def test_through_nginx(binary: str, tmp_path: Path) -> None:
    """nginx and the instance behind it serve on; what the one lets through costs the other nothing."""
    with (
        sites.own_redis() as (url, redis),
        sites.program(redis, url, folder=tmp_path) as site,
        _room(site),
        answering(shop) as origin,
    ):
        process = psutil.Process(site.pid)
        with _fronted(binary, tmp_path, site, origin) as port:
            await thrown(port, gathered(SEED, PIECES))
            assert (await asyncio.to_thread(site.status, "shop")).status_code == 401
        assert origin.seen == []
        _await_calm(site, process)
        assert _faults(tmp_path / "serve.log") == []


@contextmanager
def _fronted(binary: str, folder: Path, site: Site, origin: Stub) -> Iterator[int]:
    """nginx before the instance; its port. This machine's address is free of limits."""
    program = nginx.binary(binary)
    with Nginx(folder, instances=[_port(site)], origin=origin.port, files=nginx.TRUSTED, program=program) as made:
        yield made.port
