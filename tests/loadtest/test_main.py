"""The command line: what it changes about a scenario, and where it refuses to send a crowd."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadtest import __main__ as command
from loadtest.scenarios import SCENARIOS


class NotThere(BaseHTTPRequestHandler):
    """A server that knows nothing of streams, nor of anything else."""

    def do_GET(self) -> None:
        """404."""
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of such a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), NotThere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_scenario_is_changed_by_what_is_given_only() -> None:
    """All else stays as it stands in the table."""
    given = ["capacity", "--rate", "2000", "--seconds", "5", "--instances", "1", "2", "--nginx"]
    changed = command.chosen(command._parser().parse_args(given))
    assert (changed.rate, changed.seconds, changed.instances, changed.through_nginx) == (2000, 5, (1, 2), True)
    assert (changed.prefilled, changed.users) == (300_000, 200)
    assert changed.changed == "rate 2000.0, seconds 5.0, instances (1, 2), through_nginx True"
    assert command.chosen(command._parser().parse_args(["capacity"])) == SCENARIOS["capacity"]


def test_a_host_must_be_ones_own(elsewhere: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is sent before somebody says so."""
    assert command.main(["crowd", "--host", elsewhere]) == 2
    assert "--i-own-this-host" in capsys.readouterr().err


def test_an_admin_address_needs_its_key(
    elsewhere: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a wrong one is said before the crowd comes."""
    monkeypatch.delenv("WAITROOM_ADMIN_KEY", raising=False)
    there = ["crowd", "--host", elsewhere, "--i-own-this-host", "--admin-url", elsewhere]
    assert command.main(there) == 2
    assert "WAITROOM_ADMIN_KEY" in capsys.readouterr().err
    monkeypatch.setenv("WAITROOM_ADMIN_KEY", "a-key")
    assert command.main(there) == 2
    assert "is the admin API reachable" in capsys.readouterr().err


def test_a_server_without_streams_is_said_to_have_none(
    elsewhere: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Instead of a verdict on streams that never were."""
    given = ["reconnect", "--host", elsewhere, "--i-own-this-host", "--out", str(tmp_path)]
    assert command.main(given) == 2
    assert "this server has no event streams" in capsys.readouterr().err
