"""`waitroom serve`: what stops it before it starts, what it serves, how it ends."""

from __future__ import annotations

import json
import re
import signal
import socket
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from redis import Redis

from rig.instance import COMMAND, IN_BACKGROUND, Instance
from rig.process import Process
from rig.waiting import until
from tests.cli.command import KEYS, room, run, sentences
from waitroom.store.embedded.folder import running_url


def test_all_faults_of_a_file_are_reported_together(tmp_path: Path) -> None:
    """Each by name and value, secrets without their value, in one go; nothing is started or written."""
    (tmp_path / "bad.toml").write_text(
        'bogus = 1\nport = "x"\nworkers = 0\nadmin_key = 5\nsigning_keys = ["k1:short-secret"]\n'
        '[rooms.shop]\ncapacity = -1\nstate = "x"\n[rooms.Bad]\n'
    )
    said = sentences(run("serve", "--config", "bad.toml", folder=tmp_path), code=2)
    for name, value in (
        ("bogus", "no such setting"),
        ("port", "'x'"),
        ("workers", "0"),
        ("admin_key", ""),
        ("rooms.shop.capacity", "-1"),
        ("rooms.shop.state", "'x'"),
        ("rooms.Bad", "not a room name"),
    ):
        assert [line for line in said if line.startswith(f"{name}: ") and value in line], name
    assert "short-secret" not in "".join(said)
    assert {path.name for path in tmp_path.iterdir()} == {"bad.toml"}


@pytest.mark.parametrize(
    ("content", "word"), [("port = ", "not TOML"), ("\xff\xfe", "not TOML"), (None, "cannot read")], ids=str
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: str | None, word: str) -> None:
    """A missing or malformed file is one sentence that names it."""
    if content is not None:
        (tmp_path / "waitroom.toml").write_bytes(content.encode("latin-1"))
    (said,) = sentences(run("serve", "--config", "waitroom.toml", folder=tmp_path), code=2)
    assert said.startswith("config: ")
    assert word in said
    assert "waitroom.toml" in said


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """One sentence that names the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (said,) = sentences(run("serve", "--port", str(port), folder=tmp_path), code=2)
    assert f"127.0.0.1:{port}" in said
    assert running_url(tmp_path / "waitroom-data") is None


def test_production_without_keys(tmp_path: Path) -> None:
    """In production missing keys are named, both, and none is made up."""
    said = sentences(run("serve", "--port", "0", folder=tmp_path, WAITROOM_PRODUCTION="true"), code=2)
    assert {line.partition(":")[0] for line in said} == {"signing_keys", "admin_key"}
    assert not (tmp_path / "waitroom-data").exists()


def test_production_with_a_weak_key(tmp_path: Path) -> None:
    """A short admin key is refused without being shown."""
    weak = KEYS | {"WAITROOM_ADMIN_KEY": "hunter2", "WAITROOM_PRODUCTION": "1"}
    (said,) = sentences(run("serve", "--port", "0", folder=tmp_path, **weak), code=2)
    assert said.startswith("admin_key: weak")
    assert "hunter2" not in said


def test_a_data_folder_that_is_none(tmp_path: Path) -> None:
    """A file in the folder's place is one sentence."""
    (tmp_path / "file").write_text("")
    (said,) = sentences(run("serve", "--port", "0", "--data-dir", "file", folder=tmp_path), code=2)
    assert said.startswith("data_dir: ")


def test_a_data_folder_in_use(served: Instance) -> None:
    """A second server on the same folder is told who has it, and the first runs on."""
    second = run("serve", "--port", "0", "--data-dir", str(served.data), folder=served.data.parent)
    (said,) = sentences(second, code=1)
    assert str(served.pid) in said
    assert served.get("/readyz")[0] == 200


def test_the_file_seeds_the_rooms(served: Instance) -> None:
    """The file's rooms are there, and no other."""
    assert served.shown("/v1/rooms/shop")["capacity"] == 3
    assert served.shown("/v1/rooms/shop")["message"] == "Hello."
    assert served.get("/v1/rooms/default")[0] == 404


def test_the_environment_seeds_rooms_and_a_restart_keeps_the_queue(tmp_path: Path) -> None:
    """Rooms come from WAITROOM_ROOMS; after SIGTERM and a new start each visitor has the old place."""
    rooms = json.dumps({"shop": {"capacity": 1, "session_seconds": 3600.0}})
    places = []
    for number in range(2):
        with Instance(tmp_path, prefix=IN_BACKGROUND, variables={"WAITROOM_ROOMS": rooms}) as running:
            if number == 0:
                httpx.post(f"{running.url}/v1/rooms/shop/enter")
                ticket = httpx.post(f"{running.url}/v1/rooms/shop/enter").json()["ticket"]
            headers = {"Authorization": f"Bearer {ticket}"}
            places.append(httpx.get(f"{running.url}/v1/rooms/shop/status", headers=headers).json())
            assert running.stop() == 0
    assert places[0]["rank"] == places[1]["rank"] == 1
    assert places[0]["entered_at"] == places[1]["entered_at"]


def test_port_0_is_whichever_is_free(tmp_path: Path) -> None:
    """The log says where it serves."""
    command = [*COMMAND, "serve", "--port", "0"]
    with Process("serve", command, folder=tmp_path) as process:
        process.until(lambda: "serving on " in process.said())
        found = re.search(r"serving on (http://127\.0\.0\.1:(\d+))/ ", process.said())
        assert found is not None
        assert int(found[2]) > 0
        until(lambda: answers(found[1]), what="an answer")


def answers(url: str) -> bool:
    """Whether an instance is ready there."""
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_without_anything_there_is_a_room_to_try(tmp_path: Path) -> None:
    """No file, no rooms: `default` is open, keys are made and kept, and the log says where."""
    with Instance(tmp_path, prefix=IN_BACKGROUND) as running:
        assert running.shown("/v1/rooms/default")["state"] == "open"
        key = (running.data / "admin-key").read_text().strip()
        log = running.said()
        assert str(running.data / "admin-key") in log
        assert key not in log
        assert (running.data / "signing-key").read_text().strip() not in log
        answer = httpx.get(f"{running.url}/admin/rooms", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200


def members(group: int) -> set[int]:
    """The living processes of a process group, but for the guard under which the instance was started."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            guard = b"\0waitroom-guard:" in (entry / "cmdline").read_bytes()
            if int(fields[2]) == group and fields[0] != "Z" and not guard:
                found.add(int(entry.name))
    return found


def embedded_pid(served: Instance) -> int:
    """The process of the embedded server, as the lock's socket says."""
    with Redis.from_url(running_url(served.data) or "") as client:
        return int(client.info("server")["process_id"])


def is_gone(pid: int) -> bool:
    """Whether the process has ended."""
    try:
        return (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split())[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT], ids=lambda which: which.name)
def test_a_polite_stop_leaves_nothing(tmp_path: Path, which: signal.Signals, workers: str) -> None:
    """After SIGTERM or Ctrl-C neither a worker nor the embedded server runs on, and exit is quick."""
    with Instance(tmp_path, "--workers", workers, prefix=IN_BACKGROUND) as running:
        server = embedded_pid(running)
        running.signal(which)
        until(lambda: not running.running, what="its end")
        until(lambda: is_gone(server), what="the embedded server's end")
        until(lambda: members(running.pid) == set(), seconds=5, what="the workers' end")
        code = running.wait()
        assert code == 0 or (which is signal.SIGINT and code in (130, -signal.SIGINT))
        assert "Traceback" not in running.said()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_kill_leaves_nothing(tmp_path: Path, workers: str) -> None:
    """After SIGKILL of `serve` the embedded server stops by itself, and no worker serves on without it."""
    with Instance(tmp_path, "--workers", workers, prefix=IN_BACKGROUND) as running:
        server = embedded_pid(running)
        running.signal(signal.SIGKILL)
        until(lambda: not running.running, what="its end")
        until(lambda: is_gone(server), seconds=15, what="the embedded server's end")
        until(lambda: members(running.pid) == set(), seconds=15, what="the workers' end")


def test_settings_on_the_command_line_win(tmp_path: Path) -> None:
    """Command line over environment over file; a variable that is no setting is named in the log, not its value."""
    (tmp_path / "waitroom.toml").write_text("workers = 0\nport = 1\n")
    told = {"WAITROOM_PORT": "2", "WAITROOM_ADMIN_KEYS": "misplaced-secret"}
    arguments = ("--config", "waitroom.toml", "--workers", "1")
    with Instance(tmp_path, *arguments, prefix=IN_BACKGROUND, variables=told) as running:
        assert running.get("/livez")[0] == 200
        log = running.said()
    assert "environment: WAITROOM_ADMIN_KEYS: no such setting (did you mean WAITROOM_ADMIN_KEY?)" in log
    assert "misplaced-secret" not in log


def test_the_log_tells_no_secret(served: Instance) -> None:
    """Whatever is sent and goes wrong, no proof and no key is in the log (I31)."""
    key = (served.data / "admin-key").read_text().strip()
    room(served, "set", "secretive", "capacity=1")
    until(lambda: served.get("/v1/rooms/secretive")[0] == 200, what="the room")
    granted = httpx.post(f"{served.url}/v1/rooms/secretive/enter").json()["pass"]
    ticket = httpx.post(f"{served.url}/v1/rooms/secretive/enter").json()["ticket"]
    for secret in (key, granted, ticket):
        for path in ("/v1/rooms/secretive/status", "/gate/secretive", "/admin/rooms", "/wait/secretive", "/nowhere"):
            headers = {"Authorization": f"Bearer {secret}", "Cookie": f"waitroom_pass_secretive={secret}"}
            httpx.get(f"{served.url}{path}?proof={secret}", headers=headers)
    log = served.said()
    signing = (served.data / "signing-key").read_text().strip().partition(":")[2]
    assert [secret for secret in (key, granted, ticket, signing) if secret in log] == []
