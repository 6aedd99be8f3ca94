"""From an error to an answer: one table, without a gap, for the hot addresses as for all others."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import AsyncIterator
from typing import Final

import httpx
import pytest
from starlette.exceptions import HTTPException

from tests.web import sites
from waitroom import errors
from waitroom.errors import EmbeddedError, StreamsFull, TermStale, WaitroomError
from waitroom.serve.assemble import assemble
from waitroom.web.answers import ANSWERS, PROBLEM_JSON, Problem, problem_of
from waitroom.web.app import Application
from waitroom.web.instance import Instance

#: Errors that never get as far as the table, and where they end.
ELSEWHERE: Final[dict[type[Exception], str]] = {
    TermStale: "in the leader's round, which no request waits for",
    EmbeddedError: "in `serve`, before it serves or at its end",
    StreamsFull: "in `events`, which knows how often this room may be polled instead",
}

TREE: Final = {
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, WaitroomError) and error is not WaitroomError
}

#: One for each line of the table but the router's, a problem, and one that is not foreseen.
RAISED: Final[list[Exception]] = [
    errors.SettingsError("capacity: must be a whole number, got 'x'"),
    errors.RoomUnknown("no room 'shop'"),
    errors.RoomBroken("room shop: not a hash"),
    errors.VersionConflict("shop", 3),
    errors.Unavailable("no answer"),
    errors.Full("out of memory"),
    errors.Overloaded("backlog"),
    Problem(418, "teapot", "A teapot", "short and stout", headers=((b"x-spout", b"here"),), more={"lid": 1}),
    ValueError("unforeseen"),
]


def test_every_error_has_one_answer() -> None:
    """Each class of the tree has a line of its own, or ends elsewhere; no line is for a class that is not raised."""
    assert (ANSWERS.keys() | ELSEWHERE.keys()) - {HTTPException, Exception} == TREE
    assert not ANSWERS.keys() & ELSEWHERE.keys()


def test_the_table_is_tried_in_full() -> None:
    """Every line but the router's is raised below."""
    assert {type(error) for error in RAISED} - {Problem, ValueError} == ANSWERS.keys() - {HTTPException, Exception}


def test_the_nearest_class_answers() -> None:
    """An error below one of the table is answered as that; what is not foreseen is ours to mend, and tells nothing."""

    class Worse(errors.Full):
        pass

    assert problem_of(Worse("x")).slug == "full"
    assert (problem_of(KeyError("a-secret")).status, problem_of(KeyError("a-secret")).detail) == (500, "")


@pytest.fixture
async def instance() -> AsyncIterator[Instance]:
    """An instance that is connected to nothing."""
    made = assemble(sites.settings_for("unix:///nowhere"))
    yield made
    await made.store.close()


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
async def test_hot_addresses_answer_as_all_others(
    instance: Instance, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same status, headers and document, by one look at the path or through Starlette."""

    def fail(_name: str) -> None:
        raise error

    monkeypatch.setattr(instance.rooms, "get", fail)
    transport = httpx.ASGITransport(Application(instance), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        hot, other = await client.get("/v1/rooms/shop/status"), await client.get("/v1/rooms/shop")
    told = problem_of(error)
    assert hot.status_code == other.status_code == told.status
    assert sorted(hot.headers.raw) == sorted(other.headers.raw)
    assert hot.headers["content-type"].encode() == PROBLEM_JSON
    assert hot.headers["cache-control"] == "no-store"
    assert hot.content == other.content == told.body()


@pytest.mark.parametrize("path", ["/v1/rooms/shop/status", "/v1/rooms/shop"])
async def test_the_unforeseen_reaches_the_servers_log(
    instance: Instance, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised again after its answer, for the server to log."""
    monkeypatch.setattr(instance.rooms, "get", lambda _name: 1 / 0)
    transport = httpx.ASGITransport(Application(instance))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        with pytest.raises(ZeroDivisionError):
            await client.get(path)


async def test_a_refusal_is_gone_once_it_is_told(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of refusals leaves nothing for the garbage collector: that would cost more than to take the flood."""
    raised: list[weakref.ref[Problem]] = []

    class Noted(Problem):
        def __init__(self) -> None:
            super().__init__(503, "full", "Full")
            raised.append(weakref.ref(self))

    def fail(_name: str) -> None:
        raise Noted

    monkeypatch.setattr(instance.rooms, "get", fail)
    application = Application(instance)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as client:
        gc.disable()
        try:
            assert (await client.get("/v1/rooms/shop/status")).status_code == 503
            assert [problem() for problem in raised] == [None]
        finally:
            gc.enable()
