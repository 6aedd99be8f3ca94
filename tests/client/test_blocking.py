"""The client for threads, against real instances."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from rig.waiting import until
from tests.client.scene import QUICK, SLIDING, count, sizes
from tests.web import sites
from tests.web.sites import PATIENCE_SECONDS, Site
from waitroom.client import (
    AdmissionLost,
    Admitted,
    BlockingClient,
    NotAdmitted,
    RoomUnknown,
    ServerUnavailable,
    Slot,
    TurnOver,
    Waiting,
    goodbyes,
)
from waitroom.client.thread import NAME

pytestmark = pytest.mark.long


@pytest.fixture
def blocking(site: Site) -> Iterator[BlockingClient]:
    """A client of the instance, whose thread is gone at the end."""
    with BlockingClient(site.url) as opened:
        yield opened
    assert not threads()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as opened:
        yield opened


def threads() -> list[threading.Thread]:
    """The clients' threads."""
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def hold(client: BlockingClient, room: str, work: Callable[[Slot], object]) -> None:
    """Hold a slot while that is done."""
    with client.admission(room) as slot:
        work(slot)


def test_single_calls(site: Site, blocking: BlockingClient) -> None:
    """Each gives and raises what the asyncio client's does."""
    room = site.make_room(**QUICK)
    inside = blocking.wait_until_admitted(room)
    assert isinstance(inside, Admitted)
    waits = blocking.enter(room)
    assert isinstance(waits, Waiting)
    assert (waits.rank, waits.room_waiting) == (1, 1)
    again = blocking.enter(room, proof=waits.proof)
    assert isinstance(again, Waiting)
    assert again.entered_at == waits.entered_at
    assert isinstance(blocking.status(again, paced=False), Waiting)
    blocking.leave(inside)
    admitted = blocking.wait_until_admitted(room, place=again)
    blocking.leave(admitted)
    blocking.leave(admitted)
    assert sizes(site, room) == (0, 0)
    with pytest.raises(TurnOver):
        blocking.status(admitted)
    with pytest.raises(RoomUnknown):
        blocking.enter("nowhere")
    with pytest.raises(ValueError, match="in room"):
        blocking.wait_until_admitted("nowhere", place=again)


def test_a_wrong_address_is_refused() -> None:
    """When the client is made, not at the first call; no thread has been started then."""
    with pytest.raises(ValueError, match="url"):
        BlockingClient("ftp://a")
    BlockingClient("http://127.0.0.1:1").close()
    assert not threads()


def test_a_server_that_is_not_there() -> None:
    """The error of the asyncio client, in the thread that called."""
    with BlockingClient("http://127.0.0.1:1") as client, pytest.raises(ServerUnavailable):
        client.enter("shop")


def test_never_more_than_capacity(site: Site, blocking: BlockingClient, pool: ThreadPoolExecutor) -> None:
    """Eight threads with one client in a room of two: all come in, by twos."""
    room = site.make_room(**SLIDING | {"capacity": 2, "session_seconds": 60})
    lock, inside, most = threading.Lock(), 0, 0

    def work(slot: Slot) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.2)
        with lock:
            inside -= 1

    for done in [pool.submit(hold, blocking, room, work) for _ in range(16)]:
        done.result(PATIENCE_SECONDS * 3)
    assert most == 2
    assert sizes(site, room) == (0, 0)
    assert count(site, room, "left") == 16
    assert len(threads()) == 1


def test_a_slot_lasts_as_long_as_its_block(site: Site, blocking: BlockingClient) -> None:
    """It is extended while the block keeps its own thread busy, and free at the block's end."""
    room = site.make_room(**SLIDING)
    with blocking.admission(room) as slot:
        first = slot.place
        time.sleep(first.session_seconds * 1.5)
        assert not slot.lost
        slot.raise_if_lost()
        assert 0 < slot.seconds_left < first.session_seconds
        assert slot.place.expires_at > first.expires_at
        assert sizes(site, room) == (0, 1)
        assert site.gate(room, slot.proof).status_code == 204
    assert sizes(site, room) == (0, 0)
    with pytest.raises(ZeroDivisionError), blocking.admission(room):
        raise ZeroDivisionError
    assert sizes(site, room) == (0, 0)


def test_a_slot_that_does_not_come_in_time(site: Site, blocking: BlockingClient) -> None:
    """NotAdmitted, without having run the block, and nothing is left behind; a given place stays the caller's."""
    room = site.make_room(**SLIDING)
    with blocking.admission(room):
        with pytest.raises(NotAdmitted), blocking.admission(room, timeout_seconds=0.2):
            pytest.fail("never more than one inside")
        assert sizes(site, room) == (0, 1)
        with pytest.raises(NotAdmitted) as late:
            blocking.wait_until_admitted(room, place=blocking.enter(room), timeout_seconds=0.2)
        assert isinstance(late.value.place, Waiting)
        assert sizes(site, room) == (1, 1)


def test_a_slot_that_is_taken_back(site: Site, blocking: BlockingClient) -> None:
    """The block hears of it at the next extension; leaving raises AdmissionLost, or the block's own error."""
    room = site.make_room(**SLIDING)

    def shrug(slot: Slot) -> None:
        site.leave(room, slot.proof)
        until(lambda: slot.lost, what="the loss")

    def complain(slot: Slot) -> None:
        shrug(slot)
        raise KeyError

    def look(slot: Slot) -> None:
        shrug(slot)
        slot.raise_if_lost()
        pytest.fail("it is lost")

    for work in (shrug, look):
        with pytest.raises(AdmissionLost, match="enter again") as lost:
            hold(blocking, room, work)
        assert lost.value.room == room
    with pytest.raises(KeyError):
        hold(blocking, room, complain)
    # The others go on.
    hold(blocking, room, lambda slot: None)
    assert sizes(site, room) == (0, 0)


@pytest.mark.usefixtures("cautious")
def test_a_room_that_is_not_sliding(site: Site, blocking: BlockingClient) -> None:
    """The slot is lost before the server lets the next one in, and stays lost."""
    room = site.make_room(**SLIDING | {"sliding": False, "session_seconds": 6})

    def see(slot: Slot) -> None:
        until(lambda: slot.lost, what="the loss")
        assert site.now_us() / 1e6 < slot.place.expires_at.timestamp()
        assert slot.seconds_left <= 0

    with pytest.raises(AdmissionLost, match="not sliding"):
        hold(blocking, room, see)


@pytest.mark.usefixtures("cautious")
def test_a_server_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed: the slot is lost by the clock, before its end, and the goodbye does not hold the caller up for long.

    It could wait for ten minutes here, as long as a place that still lasts.
    """
    monkeypatch.setattr(goodbyes, "GOODBYE_SECONDS", 600)
    with sites.own_redis() as (url, redis), sites.program(redis, url, folder=tmp_path) as site:
        site.make_room("shop", **SLIDING | {"session_seconds": 3})

        def run_on(slot: Slot) -> None:
            os.kill(site.pid, signal.SIGKILL)
            until(lambda: slot.lost, what="the loss")
            assert time.monotonic() < slot.place.lasts_until
            time.sleep(2)

        with (
            BlockingClient(site.url, timeout_seconds=1) as client,
            pytest.raises(AdmissionLost, match="no extension got through"),
        ):
            hold(client, "shop", run_on)


def test_progress_is_told_in_the_thread_that_waits(
    site: Site, blocking: BlockingClient, pool: ThreadPoolExecutor
) -> None:
    """Each answer while it is quick; where it takes its time, the newest, and a turn that has come is taken."""
    room = site.make_room(**QUICK)
    inside = blocking.wait_until_admitted(room)
    quick: list[tuple[int, int]] = []
    slow: list[int] = []
    gate = threading.Event()

    def show(place: Waiting) -> None:
        quick.append((threading.get_ident(), place.rank))

    def stall(place: Waiting) -> None:
        slow.append(place.rank)
        assert gate.wait(PATIENCE_SECONDS)

    def wait() -> tuple[int, Admitted]:
        return threading.get_ident(), blocking.wait_until_admitted(room, on_progress=show)

    first = pool.submit(wait)
    until(lambda: len(quick) > 2, what="answers")
    second = pool.submit(blocking.wait_until_admitted, room, on_progress=stall)
    until(lambda: slow, what="the first answer")
    blocking.leave(inside)
    thread, admitted = first.result(PATIENCE_SECONDS)
    assert set(quick) == {(thread, 1)}
    blocking.leave(admitted)
    until(lambda: sizes(site, room) == (0, 1), what="the second's turn")
    until(lambda: count(site, room, "claimed") == 3, what="its claim")
    gate.set()
    blocking.leave(second.result(PATIENCE_SECONDS))
    assert len(slow) <= 2
    assert slow[0] == 2


def test_what_the_callback_raises_ends_the_wait(site: Site, blocking: BlockingClient) -> None:
    """And the place is given back; one that would have to be awaited is refused before anything is asked."""
    room = site.make_room(**QUICK)

    def stop(place: Waiting) -> NoReturn:
        raise ZeroDivisionError

    async def later(place: Waiting) -> None:
        pytest.fail("nobody awaits it")

    with blocking.admission(room):
        with pytest.raises(ZeroDivisionError):
            blocking.wait_until_admitted(room, on_progress=stop)
        assert sizes(site, room) == (0, 1)
        with pytest.raises(ZeroDivisionError), blocking.admission(room, on_progress=stop):
            pytest.fail("never more than one inside")
        assert sizes(site, room) == (0, 1)
        with pytest.raises(TypeError, match="on_progress"):
            blocking.wait_until_admitted(room, on_progress=later)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="on_progress"), blocking.admission(room, on_progress=later):  # type: ignore[arg-type]
            pytest.fail("it is refused")
    assert count(site, room, "entered") == 3


def test_closing_ends_waits_and_waits_for_blocks(site: Site, pool: ThreadPoolExecutor) -> None:
    """Who waits in another thread gets an error, and the place is given back; who is inside ends in peace."""
    room = site.make_room(**SLIDING)
    client = BlockingClient(site.url)
    slots: list[Slot] = []
    gate = threading.Event()

    def work(slot: Slot) -> None:
        slots.append(slot)
        assert gate.wait(PATIENCE_SECONDS)

    inside = pool.submit(hold, client, room, work)
    until(lambda: slots, what="the slot")
    waits: list[Future[Any]] = [pool.submit(client.wait_until_admitted, room), pool.submit(hold, client, room, work)]
    until(lambda: sizes(site, room) == (2, 1), what="the others wait")
    closings = [pool.submit(client.close) for _ in range(2)]
    for wait in waits:
        with pytest.raises(RuntimeError, match="closed while"):
            wait.result(PATIENCE_SECONDS)
    assert sizes(site, room) == (0, 1)
    before = slots[0].place
    until(lambda: slots[0].place.expires_at > before.expires_at, what="an extension")
    assert not any(closing.done() for closing in closings)
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.enter(room)
    gate.set()
    inside.result(PATIENCE_SECONDS)
    for closing in closings:
        closing.result(PATIENCE_SECONDS)
    assert sizes(site, room) == (0, 0)
    assert not threads()


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), KeyboardInterrupt()])
@pytest.mark.parametrize("began", [False, True])
def test_a_thread_that_does_not_start_is_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: BaseException, began: bool
) -> None:
    """The machine is out of threads, or an interrupt comes as one starts: the next call does not wait for nothing.

    No loop is left open.
    """
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        monkeypatch.undo()
        if began:
            start(thread)
        raise error

    loops: list[asyncio.AbstractEventLoop] = []

    def make() -> asyncio.AbstractEventLoop:
        loops.append(asyncio.SelectorEventLoop())
        return loops[-1]

    room = site.make_room(**QUICK)
    with pytest.MonkeyPatch.context() as watched, BlockingClient(site.url) as client:
        watched.setattr(asyncio, "new_event_loop", make)
        monkeypatch.setattr(threading.Thread, "start", fail)
        with pytest.raises(type(error)):
            client.enter(room)
        until(lambda: not threads(), "the end of the threads")
        again = threading.Thread(target=lambda: client.leave(client.enter(room)), daemon=True)
        again.start()
        again.join(PATIENCE_SECONDS)
        assert not again.is_alive()
    assert not threads()
    assert [loop for loop in loops if not loop.is_closed()] == []


def test_a_loop_that_cannot_be_made(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may open no more files: the call says so, and the next one tries again."""

    def fail() -> NoReturn:
        monkeypatch.undo()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    room = site.make_room(**QUICK)
    with BlockingClient(site.url) as client:
        monkeypatch.setattr(asyncio, "new_event_loop", fail)
        with pytest.raises(OSError, match="Too many open files"):
            client.enter(room)
        client.leave(client.enter(room))
    assert not threads()


def test_after_closing(site: Site) -> None:
    """Every call says so; closing again does nothing; a block is not to close the client that it waits for."""
    room = site.make_room(**SLIDING)
    with BlockingClient(site.url) as client:
        with client.admission(room) as slot, pytest.raises(RuntimeError, match="leave its block"):
            client.close()
        assert sizes(site, room) == (0, 0)
        client.close()
        client.close()
        for call in (
            lambda: client.enter(room),
            lambda: client.status(slot.place),
            lambda: client.leave(slot.place),
            lambda: client.wait_until_admitted(room),
            lambda: hold(client, room, lambda slot: pytest.fail(repr(slot))),
        ):
            with pytest.raises(RuntimeError, match="the client is closed"):
                call()


def test_a_forgotten_client_takes_its_thread_along(site: Site) -> None:
    """It was not closed: its thread ends once nothing refers to it any more."""
    client = BlockingClient(site.url)
    client.leave(client.enter(site.make_room(**QUICK)))
    assert threads()
    del client
    gc.collect()
    until(lambda: not threads(), what="the thread's end")


def test_an_httpx_client_of_the_callers(site: Site) -> None:
    """It is used, and closed with the client."""
    sent: list[str] = []

    async def note(request: httpx.Request) -> None:
        sent.append(threading.current_thread().name)
        with pytest.raises(RuntimeError, match="own thread"):
            client.enter("shop")

    http = httpx.AsyncClient(event_hooks={"request": [note]})
    with BlockingClient(site.url, http=http) as client:
        client.leave(client.enter(site.make_room(**QUICK)))
    assert sent == [NAME, NAME]
    assert http.is_closed
