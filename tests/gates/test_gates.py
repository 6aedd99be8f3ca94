"""Every gate gives the right answer to each request of the table, in every state of the room."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from rig import servers
from rig.instance import Instance, serving
from rig.nginx import BINARIES, TRUSTED, Nginx, binary
from rig.ports import free_port
from rig.raw import Arrived, Origin
from rig.waiting import eventually
from tests.asgi.conftest import unhurried
from tests.deploy.proxies import Room
from tests.gates.gates import GATES, PATH, SIGN, Gate, World, answers, as_sent, lines, opened
from tests.gates.table import ROWS, TAKE_A_PLACE, Row

__all__ = ["unhurried"]

pytestmark = pytest.mark.usefixtures("unhurried")

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Told:
    """An answer in parts."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, answer: bytes) -> Told:
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in rest)
        return cls(int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}, body)


def _says(_request: Arrived) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + SIGN + b"\r\n\r\n"


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis that the instance and the middleware share."""
    with servers.running() as url:
        yield url


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Instance]:
    """One real instance."""
    with serving(tmp_path_factory.mktemp("instance"), rooms={}, redis_url=redis_url) as served:
        yield served


@pytest.fixture
async def world(instance: Instance, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A room's name, and a real origin."""
    async with Origin(_says) as origin:
        yield World(tmp_path, f"room-{next(_numbers)}", instance.port, origin.port, redis_url)


def _refused(row: Row, told: Told, room: str, status: int) -> str:
    """What is wrong with a "no" in the row's form. Empty for nothing."""
    kind, location = told.headers.get("content-type", ""), told.headers.get("location")
    if row.form == "redirect":
        right = told.status == 303 and unquote(location or "") == f"/wait/{room}?return={PATH}"
    elif told.status != status or location is not None:
        right = False
    elif row.method == "HEAD":
        right = kind in ("", "application/problem+json")
    elif row.form == "page":
        right = kind.startswith("text/html") and f'href="/wait/{room}"'.encode() in told.body
    else:
        right = kind == "application/problem+json" and json.loads(told.body)["status"] == status
    right = right and told.headers.get("cache-control") == "no-store" and "set-cookie" not in told.headers
    return "" if right else f"{row.name}: not {row.form} for {status}, but {told.status} {kind} {location}"


Judge = Callable[[Row, bytes], str]


def _no(room: str, status: int) -> Judge:
    def judge(row: Row, answer: bytes) -> str:
        reached = f"{row.name}: let in" if SIGN in answer.lower() else ""
        return reached or _refused(row, Told.of(answer), room, status)

    return judge


def _yes(gate: Gate) -> Judge:
    return lambda row, answer: (
        "" if gate.yes in answer.lower() or gate.yes in answer else f"{row.name}: {answer[:200]!r}"
    )


async def _wrong(gate: Gate, room: str, judge: Judge, more: dict[str, str], rows: Sequence[Row]) -> list[str]:
    """The rows that are answered wrongly, each in a line."""
    said = await answers(gate, [gate.ask(row, room, more) for row in rows])
    return [wrong for row, answer in zip(rows, said, strict=True) if (wrong := judge(row, answer))]


async def _known(gate: Gate, room: str, state: str | int) -> None:
    """Waits until the instance behind the gate knows that state."""
    asked = lines("GET", f"/v1/rooms/{room}", "1.1", {})

    async def is_known() -> bool:
        told = Told.of((await answers(gate, [asked]))[0])
        return (json.loads(told.body)["state"] if told.status == 200 else told.status) == state

    await eventually(is_known, f"the room's state: {state}")


@pytest.mark.parametrize("name", GATES)
async def test_each_request_gets_the_right_answer(name: str, world: World, instance: Instance) -> None:
    """With space, with none, with a pass, closed, and where there is no such room."""
    room = world.room
    wrong: dict[str, list[str]] = {}
    with opened(name, world) as gate:

        async def judged(state: str, judge: Judge, rows: Sequence[Row] = ROWS, granted: str = "") -> None:
            more = {"X-Waitroom-Pass": granted} if granted else {}
            if found := await _wrong(gate, room, judge, more, rows):
                wrong[state] = found

        with Room(instance.port, room, capacity=10_000, claim_seconds=600.0) as seen:
            await _known(gate, room, "open")
            await judged("space", _yes(gate), [row for row in ROWS if row.kind in TAKE_A_PLACE])
            await judged("none taken", _no(room, 401), [row for row in ROWS if row.kind not in TAKE_A_PLACE])
            granted = seen.pass_of_new()
            seen.change(state="paused")
            await _known(gate, room, "paused")
            await judged("paused", _no(room, 401))
            await judged("with a pass", _yes(gate), granted=granted)
            seen.change(state="closed")
            await _known(gate, room, "closed")
            await judged("closed", _no(room, 403))
        await _known(gate, room, 404)
        await judged("unknown", _no(room, 403))
    assert wrong == {}


@pytest.mark.parametrize("name", BINARIES)
async def test_where_the_gate_does_not_answer_nginx_guesses_the_form(name: str, world: World) -> None:
    """Page or document as the gate would have it, but where the table says otherwise."""
    dead = [free_port(), free_port()]
    how: dict[str, Any] = {
        "instances": dead,
        "origin": world.origin,
        "room": world.room,
        "files": TRUSTED,
        "program": binary(name),
    }
    with Nginx(world.folder, **how) as nginx:
        said = await answers(Gate(nginx.port, as_sent), [as_sent(row, world.room, {}) for row in ROWS])
    wrong = []
    for row, told in zip(ROWS, map(Told.of, said), strict=True):
        form = row.guess or ("document" if row.form == "document" else "page")
        kind = "application/problem+json" if form == "document" else "text/html; charset=utf-8"
        if (told.status, told.headers["content-type"]) != (503, kind):
            wrong.append(f"{row.name}: not {form}, but {told.status} {told.headers['content-type']}")
    assert wrong == []


def test_the_table_is_long_and_its_names_are_unique() -> None:
    """A failed row is known by its name."""
    assert len(ROWS) >= 120
    assert len({row.name for row in ROWS}) == len(ROWS)
