"""Load by wrk: what it sends, and how what it says is read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from benchmarks import wrk
from benchmarks.servers import BenchmarkError
from benchmarks.wrk import Ask
from rig import accounting, machine
from rig.ports import free_port

SAID = (
    "Running 3s test @ http://127.0.0.1:8000\n  1 threads and 64 connections\nRequests/sec: 99.9\n"
    '{"requests":3000,"duration_us":3000000,"p50_us":1500,"p99_us":20000,"longest_us":31000,'
    '"refused":2,"failed":3,"late":4}\n'
)


def test_what_wrk_said() -> None:
    load = wrk.parsed(SAID, bill={"waitroom": 0.3})
    assert (load.requests, load.per_second, load.p50_ms, load.p99_ms, load.longest_ms) == (3000, 1000, 1.5, 20, 31)
    assert load.cpu_us == {"waitroom": pytest.approx(100)}


def test_bad_answers_are_those_unlike_what_was_expected() -> None:
    assert wrk.parsed(SAID).bad == 2 + 3 + 4
    assert wrk.parsed(SAID, refused=True).bad == 2998 + 3 + 4


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


class _Noting(BaseHTTPRequestHandler):
    """Answers 204, or 401 to who brings no cookie; notes who asked what."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[set[tuple[str, str, str]]] = set()

    def do_POST(self) -> None:
        cookie = self.headers.get("Cookie", "")
        self.seen.add((self.command, self.path, cookie))
        self.send_response(204 if cookie else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Here:
    """A server of this process."""

    url: str
    name: str = "noting"

    def cpu_seconds(self) -> float:
        """What this process took."""
        return accounting.cpu_seconds(os.getpid())


@pytest.fixture
def noting() -> Iterator[Here]:
    """A server of this process that notes what it is asked."""
    machine.program("wrk")
    _Noting.seen = set()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Noting) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield Here(f"http://127.0.0.1:{web.server_port}")
        web.shutdown()
        thread.join()


def test_every_visitor_asks_in_turn_with_headers_of_their_own(noting: Here) -> None:
    visitors = [{"Cookie": f"ticket={number}", "X-Waitroom-Pass": "a.b.c"} for number in range(5)]
    load = wrk.run(noting, Ask("enter", "/v1/enter", "POST", visitors), connections=2, seconds=1)
    assert _Noting.seen == {("POST", "/v1/enter", f"ticket={number}") for number in range(5)}
    assert load.bad == 0


def test_refusals_are_counted(noting: Here) -> None:
    load = wrk.run(noting, Ask("enter", "/", "POST"), connections=2, seconds=1)
    assert load.bad == load.requests > 0
    assert wrk.run(noting, Ask("enter", "/", "POST", refused=True), connections=2, seconds=1).bad == 0


def test_an_account_is_taken_of_what_a_server_spends(noting: Here) -> None:
    load = wrk.run(noting, Ask("enter", "/", "POST"), connections=1, seconds=1, accounts=[noting])
    assert set(load.cpu_us) == {"noting"}
    assert load.cpu_us["noting"] > 0


def test_a_port_without_a_server_is_an_error() -> None:
    machine.program("wrk")
    with pytest.raises(BenchmarkError, match="noting"):
        wrk.run(Here(f"http://127.0.0.1:{free_port()}"), Ask("enter", "/"), connections=1, seconds=1)
