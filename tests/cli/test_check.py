"""`waitroom check`; `doctor` has its tests with real nginx, in tests/checks."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from rig.instance import Instance
from tests.cli.command import run
from waitroom.store.embedded.folder import running_url


def test_check_of_a_fit_server(served: Instance) -> None:
    """The embedded server is found by its folder and is fit: exit code 0."""
    done = run("check", "--data-dir", str(served.data), folder=served.data.parent)
    assert done.returncode == 0, done.stdout
    assert "fail" not in done.stdout


def test_check_of_an_unfit_server(served: Instance) -> None:
    """A server that evicts is not fit: exit code 1, with the remedy."""
    url = running_url(served.data) or ""
    with Redis.from_url(url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            done = run("check", "--redis-url", url, folder=served.data.parent)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert done.returncode == 1
    assert "noeviction" in done.stdout


def test_check_out_of_reach(tmp_path: Path) -> None:
    """Nobody there: exit code 1 and no traceback."""
    done = run("check", "--redis-url", "redis://127.0.0.1:1", folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
