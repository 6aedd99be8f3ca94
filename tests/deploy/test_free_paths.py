"""Free paths of deploy/proxies on the real proxies: whatever is sent at one, the origin sees that path and no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from rig import servers
from rig.instance import Instance, serving
from rig.ports import free_port
from rig.proxies import PROXIES, with_free_path
from rig.raw import MARK, Origin
from tests.deploy import corpus, proxies
from tests.deploy.corpus import EXEMPT, one
from tests.deploy.free_paths import BROWSER, ORDINARY, hostile, is_bare, over_http2
from tests.deploy.proxies import Room

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One real instance."""
    with (
        servers.running() as url,
        serving(tmp_path_factory.mktemp("instance"), rooms={}, redis_url=url) as served,
    ):
        yield served


@pytest.fixture
def granted(instance: Instance) -> Iterator[str]:
    """The pass of the one visitor for whom the room "shop" has a place."""
    with Room(instance.port, "shop", capacity=1, session_seconds=3600.0) as room:
        yield room.pass_of_new()


@pytest.mark.parametrize("proxy", PROXIES)
async def test_nothing_but_the_free_path_reaches_the_origin(
    proxy: str, instance: Instance, granted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole corpus and all that is tried at the free path, without a pass: the count of what got past is zero."""
    async with Origin() as origin:
        ports = (instance.port, instance.port)
        with proxies.running(proxy, tmp_path, "shop", ports, origin=origin.port, edit=with_free_path) as world:
            requests = hostile()
            await corpus.send_all(world.port, requests)
            past = [request for request in origin.asked if not is_bare(request)]
            with capsys.disabled():
                print(f"\n{proxy}: {len(past)} of {len(requests)} got past, {len(origin.asked)} were bare", end=" ")
            assert past == []
            assert origin.ambiguous == []
            assert len(origin.asked) > 200, "headers are taken off: the request itself is good"


@pytest.mark.parametrize("proxy", PROXIES)
async def test_a_free_path_is_there_for_everybody(proxy: str, tmp_path: Path) -> None:
    """GET and HEAD of ordinary clients, also while no instance lives; nothing else is served then."""
    async with Origin() as origin:
        ports = (free_port(), free_port())
        with proxies.running(proxy, tmp_path, "shop", ports, origin=origin.port, edit=with_free_path) as world:
            for request in _spoken_by(proxy):
                before = len(origin.asked)
                said = await corpus.exchange(world.port, request)
                assert (len(origin.asked), MARK in said) == (before + 1, not request.startswith(b"HEAD")), request
            assert all(map(is_bare, origin.asked))
            told = dict(origin.asked[2].headers)
            assert {name: told.get(name) for name in BROWSER} == BROWSER
            assert all(request.all("host") == ["shop.example.com"] for request in origin.asked)
            gated = await corpus.send_all(world.port, [one(b"/"), one(EXEMPT, method=b"POST", body=b"a=1")])
            assert [answer[9:10] for answer in gated] == [b"5", b"5"]


def _spoken_by(proxy: str) -> list[bytes]:
    """The ordinary requests in the versions of HTTP that the shipped file speaks on its port."""
    spoken = [request for request in ORDINARY if proxy != "envoy" or b"HTTP/1.0" not in request]
    return spoken if proxy == "caddy" else [*spoken, over_http2(b"GET", EXEMPT)]


@pytest.mark.parametrize("proxy", PROXIES)
async def test_with_a_pass_a_free_path_is_like_any_other(
    proxy: str, instance: Instance, granted: str, tmp_path: Path
) -> None:
    """What the free path does not take is gated: with a pass a POST reaches the origin whole, without one it waits."""
    post = one(EXEMPT + b"?a=1", method=b"POST", body=b"b=2")
    brought = one(EXEMPT + b"?a=1", method=b"POST", headers=b"X-Waitroom-Pass: %s\r\n" % granted.encode(), body=b"b=2")
    async with Origin() as origin:
        ports = (instance.port, instance.port)
        with proxies.running(proxy, tmp_path, "shop", ports, origin=origin.port, edit=with_free_path) as world:
            assert (await corpus.exchange(world.port, post)).startswith(b"HTTP/1.1 401")
            assert MARK in await corpus.exchange(world.port, brought)
    (seen,) = origin.asked
    assert (seen.method, seen.target, seen.body) == (b"POST", EXEMPT + b"?a=1", b"b=2")


@pytest.mark.parametrize("proxy", PROXIES)
async def test_as_shipped_no_path_is_free(proxy: str, instance: Instance, granted: str, tmp_path: Path) -> None:
    """The operator frees a path, nobody else."""
    async with Origin() as origin:
        ports = (instance.port, instance.port)
        with proxies.running(proxy, tmp_path, "shop", ports, origin=origin.port) as world:
            said = await corpus.send_all(world.port, _spoken_by(proxy))
    assert origin.asked == []
    assert [answer for answer in said if MARK in answer or not re.match(rb"HTTP/1.[01] 401 |\x00", answer)] == []


UNFINISHED: Final = {
    "envoy": ("local others = {}", 'local others = {} error("x")'),
    "haproxy": ("req_set_uri(", "req_set_no_uri("),
    "traefik": ("moduleName: waitroom/free", "moduleName: waitroom/forgotten"),
}


@pytest.mark.parametrize("proxy", UNFINISHED)
async def test_where_nothing_is_taken_off_the_gate_is_asked(
    proxy: str, instance: Instance, granted: str, tmp_path: Path
) -> None:
    """A script that fails and a plugin that is not there free nothing."""
    async with Origin() as origin:

        def edit(text: str) -> str:
            return with_free_path(text).replace(*UNFINISHED[proxy])

        ports = (instance.port, instance.port)
        with proxies.running(proxy, tmp_path, "shop", ports, origin=origin.port, edit=edit) as world:
            said = await corpus.exchange(world.port, one(EXEMPT))
    assert (said[:12], origin.asked) == (b"HTTP/1.1 401", [])


def _without(*lines: str) -> Callable[[str], str]:
    """A shipped file with a path freed, and these lines forgotten where they are."""

    def edit(text: str) -> str:
        kept = (line for line in with_free_path(text).splitlines(keepends=True) if line.strip() not in lines)
        return "".join(kept)

    return edit


FORGOTTEN: Final = {
    "caddy": ("request_header -*",),
    "caddy, body": ("set {vars.waitroom_no_body}",),
    "haproxy": ("if not KEPT[name] then txn.http:req_del_header(name) end",),
    "envoy": ("for _, name in ipairs(others) do request:headers():remove(name) end",),
    "envoy, query": ('- { name: ":path", string_match: { exact: /robots.txt } }',),
    "traefik": ("middlewares: [shop-free]",),
}


@pytest.mark.parametrize("mistake", FORGOTTEN)
async def test_the_count_sees_what_gets_past(mistake: str, instance: Instance, granted: str, tmp_path: Path) -> None:
    """Each part of the recipe is needed: without it the same requests find a way."""
    proxy = mistake.partition(",")[0]
    async with Origin() as origin:
        ports = (instance.port, instance.port)
        edit = _without(*FORGOTTEN[mistake])
        with proxies.running(proxy, tmp_path, "shop", ports, origin=origin.port, edit=edit) as world:
            for requests in some_at_a_time(hostile()):
                await corpus.send_all(world.port, requests)
                if not all(map(is_bare, origin.asked)):
                    return
    pytest.fail("all that reached the origin was bare")


def some_at_a_time(requests: list[bytes], number: int = 300) -> Iterator[list[bytes]]:
    """The latest first: those are meant for free paths."""
    for end in range(len(requests), 0, -number):
        yield requests[max(end - number, 0) : end]
