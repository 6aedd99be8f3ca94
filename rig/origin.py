"""Stand-ins for an origin or an instance, one that costs next to nothing, and a client that sends paths as they are."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from rig.cores import OTHER_CORE
from rig.nginx import command
from rig.ports import free_port
from rig.served import Served
from waitroom.demo.nginx import user


@dataclass(frozen=True)
class Seen:
    """A request as it arrived at a stub; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What a stub or nginx answers. Status 0 tells a stub to hang up without a word."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Stub:
    """An HTTP server in this process that notes what it is asked and answers what `answer` says."""

    port: int
    answer: Callable[[Seen], Answer]
    seen: list[Seen] = field(default_factory=list)

    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [request.path for request in self.seen]


@contextmanager
def answering(answer: Callable[[Seen], Answer]) -> Iterator[Stub]:
    """Run a stub on a free loopback port."""
    stub = Stub(0, answer)
    server = _Server(("127.0.0.1", 0), _handler(stub))
    server.daemon_threads = True
    stub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up, and lets many come at once."""

    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Seen(self.command, self.path, headers, body)
            stub.seen.append(request)
            self._send(stub.answer(request))

        do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = handle_any  # noqa: N815 - the base class's names

        def _send(self, answer: Answer) -> None:
            self.close_connection = answer.status == 0
            if answer.status == 0:
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status not in (204, 304):
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                with suppress(ConnectionError):  # nginx hangs up on a gate that has more to say than a status
                    self.wfile.write(answer.body)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
            return

    return Handler


def shop(_request: object) -> Answer:
    """What an origin answers, for a stub."""
    return Answer(200, {"X-Origin": "stub", "Content-Type": "text/plain", "Cache-Control": "public"}, b"shop")


_CONSTANT: Final = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path client_body_temp;
    proxy_temp_path proxy_temp;
    fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp;
    scgi_temp_path scgi_temp;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type application/json; return 200 '{{"origin":true}}'; }}
    }}
}}
"""


def constant(folder: Path) -> Served:
    """An nginx with one answer to everything, so that what it takes to get there stands out."""
    port = free_port()
    main = folder.absolute() / f"origin-{port}" / "nginx.conf"
    main.parent.mkdir(parents=True)
    main.write_text(_CONSTANT.format(port=port, user=user()), encoding="ascii")
    return Served("origin", command(main), folder=main.parent, at_core=OTHER_CORE, port=port)


def ask(
    port: int, path: str, *, method: str = "GET", body: bytes = b"", source: str = "127.0.0.1", **headers: str
) -> Answer:
    """Send one request with the path as it is, from a loopback address; underscores in header names become dashes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    try:
        connection.request(method, path, body or None, {k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()
