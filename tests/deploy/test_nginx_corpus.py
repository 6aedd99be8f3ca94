"""Nothing gets past the gate: the whole corpus against real nginx and a real instance, and the count of what did."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from rig.edits import Edit
from rig.instance import Instance, serving
from rig.nginx import TRUSTED, Nginx, added, binary, variant
from rig.raw import MARK, Arrived, Origin
from tests.deploy.corpus import (
    EXEMPT,
    EXEMPT_SPELLINGS,
    HARMLESS,
    everything,
    exchange,
    one,
    readings,
    send_all,
)

pytestmark = pytest.mark.system

ROOMS: Final = ("shop", "outlet")

_EXEMPTION: Final = f"""
    location = {EXEMPT.decode()} {{
        include waitroom-exempt.conf;
        proxy_pass http://shop_origin{EXEMPT.decode()};
    }}
"""


@dataclass(frozen=True)
class Gated:
    """A real instance whose rooms let nobody in any more, and a good pass of each."""

    instance: Instance
    passes: dict[str, str]

    def cookie(self, room: str) -> bytes:
        """The header that brings the pass of that room."""
        return f"Cookie: waitroom_pass_{room}={self.passes[room]}\r\n".encode()


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    """One visitor is inside each room; then the rooms are paused."""
    rooms = {room: {"capacity": 5, "session_seconds": 3600} for room in ROOMS}
    with serving(tmp_path_factory.mktemp("instance"), rooms=rooms) as instance:
        passes = {}
        for room in ROOMS:
            passes[room] = _pass_of(instance, room)
            instance.operate("POST", f"/admin/rooms/{room}/pause", {})
        yield Gated(instance, passes)


def _pass_of(instance: Instance, room: str) -> str:
    """A claimed pass."""
    with httpx.Client(base_url=f"http://127.0.0.1:{instance.port}", trust_env=False) as visitor:
        assert visitor.post(f"/v1/rooms/{room}/enter").status_code == 200
        assert visitor.get(f"/gate/{room}").status_code == 204
        return str(visitor.cookies[f"waitroom_pass_{room}"])


@asynccontextmanager
async def _site(program: Path, folder: Path, gated: Gated, *edits: Edit) -> AsyncIterator[tuple[int, Origin]]:
    """nginx in front of the instance and a counting origin; its port and the origin."""
    async with Origin() as origin:
        # Trusted, because the corpus comes from one address faster than visitors do.
        behind, at = [gated.instance.port], origin.port
        with Nginx(folder, *edits, instances=behind, origin=at, files=TRUSTED, program=program) as nginx:
            yield nginx.port, origin
        assert origin.ambiguous == []


Tell = Callable[[str, list[Arrived], list[bytes]], None]


@pytest.fixture
def tell(binary: Path, capsys: pytest.CaptureFixture[str]) -> Tell:
    """Prints how many of the requests sent reached the origin ungated, and fails unless none did."""
    done = subprocess.run([str(binary), "-v"], capture_output=True, text=True, timeout=20, check=True)
    version = done.stderr.partition("nginx/")[2].strip()

    def say(where: str, ungated: list[Arrived], sent: list[bytes]) -> None:
        with capsys.disabled():
            print(
                f"\nnginx {version}, {where}: {len(ungated)} of {len(sent)} requests reached the origin ungated",
                end=" ",
            )
        assert ungated == []

    return say


def _is_exempt(request: Arrived) -> bool:
    """Whether it is the exempt address itself, with nothing that could make it another to the origin."""
    bare = request.target == EXEMPT and request.method in (b"GET", b"HEAD") and not request.body
    return bare and not any(map(request.all, ("x-original-url", "x-rewrite-url", "x-http-method-override")))


async def test_the_gated_server(binary: Path, tmp_path: Path, gated: Gated, tell: Tell) -> None:
    """Every request needs a pass but the exempt one; with a pass all get through, as they were sent."""
    async with _site(binary, tmp_path, gated, added(_EXEMPTION)) as (port, origin):
        requests = [*everything(), *(one(address) for address in EXEMPT_SPELLINGS)]
        said = await send_all(port, requests)
        ungated = [request for request in origin.asked if not _is_exempt(request)]
        tell("gated server", ungated, requests)
        assert len(origin.asked) >= len(EXEMPT_SPELLINGS)
        assert [answer for answer in said if re.search(rb"\r\nX-Injected:", answer, re.IGNORECASE)] == []
        told_to_wait = [answer for answer in said if re.match(rb"HTTP/1.1 (401|303)", answer)]
        assert len(told_to_wait) > len(requests) / 2  # the gate was asked; the rest nginx refuses by itself
        await _assert_harmless_get_through(port, origin, gated.cookie("shop"))
        await _assert_a_pass_is_for_its_own_request(port, origin, gated.cookie("shop"))


async def test_one_path_gated(binary: Path, tmp_path: Path, gated: Gated, tell: Tell) -> None:
    """What any origin could take for the gated part needs a pass; what is plainly written elsewhere does not."""
    async with _site(binary, tmp_path, gated, variant("one-path")) as (port, origin):
        requests = everything()
        await send_all(port, requests)
        tell("one path gated", _addressing(origin.asked, "/shop"), requests)
        open_addresses = [b"/", b"/about", b"/a/b.html", b"/a-b_c/", b"/x?y=%2F..%2Fz", b"/favicon.ico"]
        origin.asked.clear()
        await send_all(port, [one(address, method=b"POST", body=b"a=1") for address in open_addresses])
        assert sorted(origin.targets) == sorted(open_addresses)
        await _assert_harmless_get_through(port, origin, gated.cookie("shop"))


async def test_several_rooms(binary: Path, tmp_path: Path, gated: Gated, tell: Tell) -> None:
    """Nothing is open; and the pass of one room opens nothing that any origin could take for the other's."""
    async with _site(binary, tmp_path, gated, variant("several-rooms")) as (port, origin):
        requests = everything()
        await send_all(port, requests)
        tell("several rooms", origin.asked, requests)
        cookie = gated.cookie("outlet")
        brought = [_with(request, cookie) for request in requests]
        await send_all(port, brought)
        strayed = [request for request in origin.asked if not _is_outlet(request)]
        tell("several rooms, with the other room's pass", strayed, brought)
        origin.asked.clear()
        await send_all(port, [one(address, headers=cookie) for address in (b"/outlet", b"/outlet/x?y=1")])
        assert sorted(origin.targets) == [b"/outlet", b"/outlet/x?y=1"]
        await _assert_harmless_get_through(port, origin, gated.cookie("shop"))


_MISTAKES: Final = {
    "an exemption that passes the address as it was sent": added(
        f"location = {EXEMPT.decode()} {{ auth_request off; proxy_pass http://shop_origin; }}"
    ),
    "an exemption by suffix": added("location ~ \\.css$ { auth_request off; proxy_pass http://shop_origin; }"),
    "an exemption by folder": added("location /a/ { auth_request off; proxy_pass http://shop_origin; }"),
}


@pytest.mark.parametrize("mistake", _MISTAKES)
async def test_the_count_sees_what_gets_past(tmp_path: Path, gated: Gated, mistake: str) -> None:
    """The same corpus finds a way through common mistakes."""
    async with _site(binary("wheel"), tmp_path, gated, _MISTAKES[mistake]) as (port, origin):
        await send_all(port, [*everything(), *(one(address) for address in EXEMPT_SPELLINGS)])
        assert [request for request in origin.asked if not _is_exempt(request)] != []


async def test_the_second_lock_holds_where_an_exemption_is_wrong(binary: Path, tmp_path: Path, gated: Gated) -> None:
    """ "auth_request off" opens nothing where the upstream's name carries the lock."""
    wrong = added("location ~ \\.css$ { auth_request off; proxy_pass http://shop_origin$waitroom_lock; }")
    async with _site(binary, tmp_path, gated, wrong) as (port, origin):
        said = await send_all(port, everything())
        assert origin.asked == []
        assert any(answer.startswith(b"HTTP/1.1 503") for answer in said)


def _addressing(requests: list[Arrived], part: str) -> list[Arrived]:
    """Those that some origin could take for that part of the site."""
    return [request for request in requests if any(part in read for read in readings(request.target))]


def _is_outlet(request: Arrived) -> bool:
    return all(re.match(r"/outlet(/|\?|$)", read) for read in readings(request.target))


def _with(request: bytes, header: bytes) -> bytes:
    """The request with a header more, after its request line."""
    line, ending, rest = request.partition(b"\r\n")
    return line + ending + (header + rest if rest else rest)


async def _assert_harmless_get_through(port: int, origin: Origin, cookie: bytes) -> None:
    origin.asked.clear()
    said = await send_all(port, [one(address, headers=cookie) for address in HARMLESS])
    assert [answer.partition(b"\r\n")[0] for answer in said if MARK not in answer] == []
    assert sorted(origin.targets) == sorted(HARMLESS)


async def _assert_a_pass_is_for_its_own_request(port: int, origin: Origin, cookie: bytes) -> None:
    """On one connection, before and after requests without a pass."""
    origin.asked.clear()
    bare, brought = (
        one(b"/shop/x", headers=headers).replace(b"Connection: close\r\n", b"") for headers in (b"", cookie)
    )
    said = await exchange(port, bare + brought + bare + brought + one(b"/shop/y"))
    assert said.count(MARK) == len(origin.asked) == 2
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"401", b"200", b"401", b"200", b"401"]


def test_the_readings_see_through_disguises() -> None:
    """The readings find the protected part behind every disguise that some origin looks through."""
    disguised = (
        *(b"/shop", b"/SHOP/x", b"//shop", b"/a/../shop", b"/a/%2e%2e/shop", b"/a/%252e%252e/shop", b"/a/..;/shop"),
        *(b"/%73hop", b"/a/..%5cshop", b"/%EF%BC%8Fshop", b"http://a/shop", b"/;/shop", b"/index.php/shop"),
    )
    assert [target for target in disguised if not any("/shop" in read for read in readings(target))] == []
    assert not any("/shop" in read for read in readings(b"/about/x"))
