"""Request limits per address on real nginx: who asks for too much is told so, and an office is spared."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from rig.edits import replaced
from rig.machine import missing
from rig.nginx import Nginx
from rig.origin import ask
from rig.raw import Arrived, Origin
from tests.deploy.worlds import PAGE, Builder, World
from waitroom.demo.crowd import can_send_from
from waitroom.demo.nginx import configuration_folder

#: Visitors in the office, and how often each asks for the place while the test looks.
OFFICE: Final = 300
POLLS: Final = 3

#: What one visitor's browser asks for on arrival.
_ARRIVAL: Final = (
    ("GET", "/"),
    ("GET", "/wait/shop?return=/"),
    ("GET", "/wait/_assets/wait.css?v=1"),
    ("GET", "/wait/_assets/wait.js?v=1"),
    ("GET", "/wait/_assets/strings.js?v=1"),
    *((("GET", "/v1/rooms/shop/status"),) * POLLS),
)

#: limit_req zone=… burst=… in the shipped file, made small.
_SMALL: Final = re.compile(r"(zone=\w+) burst=\d+ nodelay")


def _small(burst: int) -> dict[str, str]:
    """The shipped limits with another burst and rates that do not refill it while a test runs."""
    folder = configuration_folder()
    locations, many = _SMALL.subn(rf"\1 burst={burst} nodelay", (folder / "waitroom-locations.conf").read_text())
    limits, rates = re.subn(r"rate=\d+r/s", "rate=1r/m", (folder / "waitroom-limits.conf").read_text())
    assert many >= 6
    assert rates == 3
    return {"waitroom-locations.conf": locations, "waitroom-limits.conf": limits}


def _instance(request: Arrived) -> bytes:
    if request.target.startswith(b"/gate/"):
        return b"HTTP/1.1 401 Unauthorized\r\nX-Waitroom-Form: redirect\r\nContent-Length: 0\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def _nginx(program: Path, folder: Path) -> AsyncIterator[tuple[int, Origin]]:
    """nginx as it stands, before an instance that answers quickly; it waits longer for clients on a busy machine."""
    patient = replaced("client_header_timeout 10s;", "client_header_timeout 60s;")
    async with Origin(_instance) as instance:
        with Nginx(folder, patient, instances=[instance.port], origin=instance.port, program=program) as nginx:
            yield nginx.port, instance


async def _browse(port: int, requests: Iterable[tuple[str, str]]) -> Counter[int]:
    """How often each status came, over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    statuses: Counter[int] = Counter()
    for method, path in requests:
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: shop\r\nAccept: text/html\r\nContent-Length: 0\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        statuses[int(head.split()[1])] += 1
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        assert length is not None
        await reader.readexactly(int(length[1]))
    writer.close()
    await writer.wait_closed()
    return statuses


async def test_an_office_that_arrives_at_once_is_spared(binary: Path, tmp_path: Path) -> None:
    """Hundreds behind one address come in the same moment and then ask as often as they are told: nobody is limited."""
    async with _nginx(binary, tmp_path) as (port, _):
        each = await asyncio.gather(*(_browse(port, _ARRIVAL) for _ in range(OFFICE)))
        assert sum(each, Counter()) == {303: OFFICE, 200: OFFICE * (len(_ARRIVAL) - 1)}


async def test_whoever_enters_again_and_again_is_told_to_slow_down(binary: Path, tmp_path: Path) -> None:
    """The shipped numbers: after the burst, places are drawn at the rate and no faster."""
    async with _nginx(binary, tmp_path) as (port, instance):
        began = asyncio.get_running_loop().time()
        each = await asyncio.gather(*(_browse(port, [("POST", "/v1/rooms/shop/enter")] * 150) for _ in range(10)))
        took = asyncio.get_running_loop().time() - began
        statuses = sum(each, Counter())
        assert statuses[200] + statuses[429] == 1500
        assert 1000 <= statuses[200] == len(instance.asked) <= 1001 + 40 * took + 1
        assert instance.connections < 100  # they are kept open


@pytest.fixture
def limited(build: Builder) -> World:
    """Small limits: three requests of a kind, and then no more."""
    return build(files=_small(2))


def test_too_many_requests_is_a_document_or_a_page_that_comes_back(limited: World) -> None:
    for path in ("/shop", "/v1/rooms/shop/enter", "/v1/rooms/shop/status", "/wait/shop", "/wait/_assets/wait.css"):
        answers = [ask(limited.port, path, accept=accept) for accept in ["*/*"] * 4 + [PAGE] for _ in range(2)]
        problem, page = answers[-3], answers[-1]
        assert problem.status == page.status == json.loads(problem.body)["status"] == 429
        assert problem.headers["content-type"] == "application/problem+json"
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert f'http-equiv="refresh" content="{page.headers["retry-after"]}"'.encode() in page.body
        for answer in (problem, page):
            assert answer.headers["retry-after"] in {"3", "5", "7", "9"}
            assert answer.headers["cache-control"] == "no-store"
    assert limited.origin.seen == []


def test_those_turned_away_are_told_to_come_back_at_different_times(limited: World) -> None:
    told = {ask(limited.port, "/").headers.get("retry-after") for _ in range(60)}
    assert {"3", "5", "7", "9"} <= told


@pytest.fixture
def _other_addresses() -> None:
    if not can_send_from("127.0.0.2"):
        missing("the loopback address 127.0.0.2")


@pytest.mark.usefixtures("_other_addresses")
def test_one_address_limits_no_other(limited: World) -> None:
    for _ in range(5):
        ask(limited.port, "/", source="127.0.0.1")
    assert ask(limited.port, "/", source="127.0.0.1").status == 429
    assert [ask(limited.port, "/", source=f"127.0.0.{n}").status for n in range(2, 6)] == [401] * 4


@pytest.mark.usefixtures("_other_addresses")
def test_a_trusted_address_is_not_limited_and_not_let_in(build: Builder) -> None:
    world = build(files=_small(2) | {"waitroom-trusted.conf": "127.0.0.7 trusted;\n127.0.1.0/24 trusted;\n"})
    for source in ("127.0.0.7", "127.0.1.9"):
        assert {ask(world.port, "/", source=source).status for _ in range(10)} == {401}
    assert {ask(world.port, "/", source="127.0.0.8").status for _ in range(10)} == {401, 429}


def test_ipv6_is_limited_by_its_64_and_ipv4_by_its_address(build: Builder) -> None:
    behind = replaced(
        "    set $waitroom_room shop;",
        "    set_real_ip_from 127.0.0.1;\n    real_ip_header X-Forwarded-For;\n    set $waitroom_room shop;",
    )
    world = build(behind, files=_small(2))

    def statuses(*addresses: str) -> list[int]:
        return [ask(world.port, "/", x_forwarded_for=address).status for address in addresses]

    assert statuses(*(f"2001:db8:0:1::{n:x}" for n in range(1, 6))) == [401, 401, 401, 429, 429]
    assert statuses("2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:2::1", "2001:db8:1:1::1") == [429, 401, 401]
    assert statuses(*["::ffff:192.0.2.1"] * 4, "192.0.2.1", "::ffff:192.0.2.2", "192.0.2.3")[2:] == [
        *(401, 429),
        *(429, 401, 401),
    ]
    assert statuses(*["198.51.100.10"] * 4, "198.51.100.13") == [401, 401, 401, 429, 401]
