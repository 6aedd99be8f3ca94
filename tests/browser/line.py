"""The line between a browser and an instance, on which a test holds things back."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Final, Literal

from rig.origin import Server

#: What is held back: the request, before the instance has it; the whole answer; or the answer's body, whose headers the
#: browser has.
Part = Literal["request", "answer", "body"]

#: Seconds after which what is held goes on by itself: longer than any test waits.
PATIENCE_SECONDS: Final = 60.0

#: The header by which a test's tab is told from others.
TAB: Final = "x-tab"


@dataclass
class Held:
    """The next call of that kind: whether it `came`, is `free` to go on, and is `over`."""

    call: str
    part: Part
    tab: str
    came: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    lost: bool = False

    def go(self) -> None:
        """Let it go on."""
        self.free.set()

    def lose(self) -> None:
        """Cut the connection where it is held."""
        self.lost = True
        self.free.set()

    def at(self, part: Part) -> None:
        """Wait here, if it is held here; raises ConnectionError where it is cut."""
        if part == self.part:
            self.came.set()
            self.free.wait(PATIENCE_SECONDS)
            if self.lost:
                raise ConnectionError(f"{self.call} is cut")


@dataclass
class Line:
    """Hands each request on to the instance at `target`; `asked` are the calls by tab and verb, as they came."""

    target: int
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    holds: list[Held] = field(default_factory=list)

    def verbs(self, tab: str) -> list[str]:
        """The calls of one tab."""
        return [verb for by, verb in self.asked if by == tab]

    @contextmanager
    def holding(self, call: str, part: Part, tab: str = "") -> Iterator[Held]:
        """Hold the next such call of that tab."""
        held = Held(call, part, tab)
        self.holds.append(held)
        try:
            yield held
        finally:
            held.go()

    def fate(self, call: str, tab: str) -> Held:
        """What is held of this call, if anything."""
        for held in self.holds:
            if (held.call, held.tab) == (call, tab):
                self.holds.remove(held)
                return held
        return Held(call, "body", tab, free=_FREE)


_FREE: Final = threading.Event()
_FREE.set()


@contextmanager
def line_to(target: int) -> Iterator[Line]:
    """A line to the instance at that port."""
    line = Line(target)
    server = Server(("127.0.0.1", 0), _handler(line))
    server.daemon_threads = True
    line.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield line
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(line: Line) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            call, tab = self.path.partition("?")[0].rpartition("/")[2], self.headers.get(TAB, "")
            held = line.fate(call, tab)
            if self.path.startswith("/v1/"):
                line.asked.append((tab, call))
            with suppress(ConnectionError):  # cut here, or given up by the browser
                held.at("request")
                self._hand_on(body, held)
            held.over.set()

        do_GET = do_POST = handle_any  # noqa: N815 - the base class's names

        def _hand_on(self, body: bytes, held: Held) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", line.target, timeout=PATIENCE_SECONDS)
            connection.request(self.command, self.path, body or None, dict(self.headers))
            answer = connection.getresponse()
            whole = answer.read()
            connection.close()
            held.at("answer")
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.flush()
            held.at("body")
            self.wfile.write(whole)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
            return

    return Handler
