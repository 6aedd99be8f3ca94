"""Load by wrk: what it sends, and how what it says is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from benchmarks import wrk
from benchmarks.servers import BenchmarkError
from benchmarks.wrk import Ask
from rig import accounting, machine
from rig.origin import Answer, Stub, answering, shop
from rig.ports import free_port

SAID = (
    "Running 3s test @ http://127.0.0.1:8000\n  1 threads and 64 connections\nRequests/sec: 99.9\n"
    '{"requests":3000,"duration_us":3000000,"p50_us":1500,"p99_us":20000,"refused":2,"failed":7}\n'
)


def test_what_wrk_said() -> None:
    load = wrk.parsed(SAID, bill={"waitroom": 0.3})
    assert (load.requests, load.per_second, load.p50_ms, load.p99_ms) == (3000, 1000, 1.5, 20)
    assert load.cpu_us == {"waitroom": pytest.approx(100)}


def test_bad_answers_are_those_unlike_what_was_expected() -> None:
    assert wrk.parsed(SAID).bad == 2 + 7
    assert wrk.parsed(SAID, refused=True).bad == 2998 + 7


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("", "did not say"),
        ("unable to connect to 127.0.0.1:1 Connection refused", "Connection refused"),
        (SAID.replace('"requests":3000', '"requests":0'), "no answer at all"),
    ],
)
def test_anything_else_is_an_error(said: str, fault: str) -> None:
    with pytest.raises(BenchmarkError, match=fault):
        wrk.parsed(said)


@dataclass
class Here:
    """A server of this process: it answers 204, or 401 to who brings no cookie."""

    stub: Stub
    name: str = "noting"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.stub.port}"

    def cpu_seconds(self) -> float:
        """What this process took."""
        return accounting.cpu_seconds(os.getpid())


@pytest.fixture
def noting() -> Iterator[Here]:
    """A server of this process that notes what it is asked."""
    machine.program("wrk")
    with answering(lambda request: Answer(204 if "cookie" in request.headers else 401)) as stub:
        yield Here(stub)


def test_every_visitor_asks_in_turn_with_headers_of_their_own(noting: Here) -> None:
    visitors = [{"Cookie": f"ticket={number}", "X-Waitroom-Pass": "a.b.c"} for number in range(5)]
    load = wrk.run(noting, Ask("enter", "/v1/enter", "POST", visitors), connections=2, seconds=1)
    seen = {(asked.method, asked.path, asked.headers["cookie"]) for asked in noting.stub.seen}
    assert seen == {("POST", "/v1/enter", f"ticket={number}") for number in range(5)}
    assert load.bad == 0


def test_refusals_are_counted_and_an_account_is_taken_of_what_a_server_spends(noting: Here) -> None:
    load = wrk.run(noting, Ask("enter", "/", "POST"), connections=2, seconds=1, accounts=[noting])
    assert load.bad == load.requests > 0
    assert set(load.cpu_us) == {"noting"}
    assert load.cpu_us["noting"] > 0
    assert wrk.run(noting, Ask("enter", "/", "POST", refused=True), connections=2, seconds=1).bad == 0


def test_a_port_without_a_server_is_an_error() -> None:
    machine.program("wrk")
    with pytest.raises(BenchmarkError, match="noting"):
        wrk.run(Here(Stub(free_port(), shop)), Ask("enter", "/"), connections=1, seconds=1)
