"""The `waitroom` command as an operator meets it: processes, exit codes, words."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.web.sites import PATIENCE_SECONDS, address_in, until
from waitroom import __version__, cli
from waitroom.proofs import keyring
from waitroom.proofs.tokens import EnqueueOffice, Grant, TokenRefused, customer
from waitroom.settings.server import ServerSettings
from waitroom.store.embedded import server

COMMAND = (sys.executable, "-m", "waitroom")

KEYS = {
    "WAITROOM_ADMIN_KEY": "an-admin-key-made-up-for-the-tests-0123456789",
    "WAITROOM_SIGNING_KEYS": "k1:a-signing-key-made-up-for-the-tests-0123456789",
}


#: Wide enough for tables, and without colours.
PLAIN = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


def environment(**more: str) -> dict[str, str]:
    """This process's environment without our own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WAITROOM_", "PROMETHEUS_"))}
    return kept | PLAIN | more


@dataclass
class Done:
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


@contextmanager
def restored() -> Iterator[None]:
    """Put back what a command sets for its whole process."""
    root = logging.getLogger()
    level, handlers, hook = root.level, list(root.handlers), sys.excepthook
    variables, folder = dict(os.environ), Path.cwd()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        root.setLevel(level)
        root.handlers[:] = handlers
        sys.excepthook = hook


def run(*arguments: str, folder: Path, **more: str) -> Done:
    """A command that ends by itself, run in that folder; in this process, which is ten times as fast as another one.

    A failure that the command does not expect comes out as the exception that it is.
    """
    out, err = io.StringIO(), io.StringIO()
    with restored(), redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        variables = environment(**more)
        os.environ.clear()
        os.environ.update(variables)
        os.chdir(folder)
        patch.setattr(sys, "argv", ["waitroom", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    code = ended.value.code
    return Done(code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue())


@dataclass
class Served:
    """A `waitroom serve` with its embedded server."""

    process: subprocess.Popen[bytes]
    url: str
    data: Path
    log: Path

    def room(self, *arguments: str) -> Done:
        """A `waitroom room` command on its rooms."""
        return run("room", *arguments, "--data-dir", str(self.data), folder=self.data.parent)

    def get(self, path: str) -> httpx.Response:
        """An answer of the instance."""
        return httpx.get(self.url + path)


@contextmanager
def serving(folder: Path, *arguments: str, **more: str) -> Iterator[Served]:
    """Such a process, with nothing of it left at the end."""
    log, data = folder / "log", folder / "data"
    command = (*COMMAND, "serve", "--port", "0", "--data-dir", str(data), *arguments)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(**more), stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        served = Served(process, address_in(log, process), data, log)
        until(lambda: _is_ready(served), what="readiness")
        yield served
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)
        until(lambda: server.running_url(data) is None, seconds=20, what="the embedded server's end")


def _is_ready(served: Served) -> bool:
    assert served.process.poll() is None, served.log.read_text()
    try:
        return served.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running server with one room from its file."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "waitroom.toml").write_text('log_level = "info"\n[rooms.shop]\ncapacity = 3\nmessage = "Hello."\n')
    with serving(folder, "--config", str(folder / "waitroom.toml")) as running:
        yield running


def sentences(done: Done, *, code: int) -> list[str]:
    """What a failed command said on stderr: sentences of ours, no traceback, with that exit code."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("waitroom: ")]
    # Before it finds the fault, serve may have logged.
    assert all(line in said or re.match(r"\d{4}-\d\d-\d\d .* INFO ", line) for line in done.stderr.splitlines())
    return [line.removeprefix("waitroom: ") for line in said]


# What it is.


def test_version(tmp_path: Path) -> None:
    """--version prints name and version, and ends well, under both names of the program."""
    for command in (COMMAND, (str(Path(sys.executable).parent / "waitroom"),)):
        done = subprocess.run((*command, "--version"), capture_output=True, text=True, timeout=30, check=True)
        assert (done.stdout, done.stderr) == (f"waitroom {__version__}\n", "")


def test_an_expected_failure_is_no_traceback(tmp_path: Path) -> None:
    """As a process, too, a wrong setting is one line on stderr and exit code 2."""
    command = (*COMMAND, "serve", "--port", "70000")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"waitroom: port: .*70000\n", done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("serve", "--nothing"),
        ("serve", "--port", "many"),
        ("room", "set", "shop"),
        ("room", "show"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_understood_is_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Commands and options that do not exist end with exit code 2."""
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr


def test_help_names_every_command(tmp_path: Path) -> None:
    """--help ends well and lists what can be done."""
    done = run("--help", folder=tmp_path)
    assert done.returncode == 0
    assert {"serve", "demo", "check", "room"} <= set(done.stdout.split())


# What stops serve before it starts.


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
    assert server.running_url(tmp_path / "waitroom-data") is None


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


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("room", "list")], ids=" ".join)
@pytest.mark.parametrize("url", ["nonsense", "http://u:secret-word@127.0.0.1", "redis://127.0.0.1:port"])
def test_a_url_that_is_none(tmp_path: Path, command: tuple[str, ...], url: str) -> None:
    """A Redis URL that cannot be one is a fault of the settings, told without the password in it."""
    done = run(*command, "--redis-url", url, folder=tmp_path, **KEYS)
    said = sentences(done, code=2)
    assert any("redis_url" in line for line in said)
    assert "secret-word" not in done.stdout + done.stderr


def test_a_data_folder_that_is_none(tmp_path: Path) -> None:
    """A file in the folder's place is one sentence."""
    (tmp_path / "file").write_text("")
    (said,) = sentences(run("serve", "--port", "0", "--data-dir", "file", folder=tmp_path), code=2)
    assert said.startswith("data_dir: ")


def test_a_data_folder_in_use(served: Served) -> None:
    """A second server on the same folder is told who has it, and the first runs on."""
    second = run("serve", "--port", "0", "--data-dir", str(served.data), folder=served.data.parent)
    (said,) = sentences(second, code=1)
    assert str(served.process.pid) in said
    assert served.get("/readyz").status_code == 200


def test_no_server_to_talk_to(tmp_path: Path) -> None:
    """room commands without a URL and without a running server say what to give; out of reach is exit code 1."""
    (said,) = sentences(run("room", "list", folder=tmp_path), code=2)
    assert "--redis-url" in said
    (said,) = sentences(run("room", "list", "--redis-url", "redis://127.0.0.1:1", folder=tmp_path), code=1)
    assert "Redis" in said


# Serving.


def test_the_file_seeds_the_rooms(served: Served) -> None:
    """The file's rooms are there, and no other."""
    assert served.get("/v1/rooms/shop").json()["capacity"] == 3
    assert served.get("/v1/rooms/shop").json()["message"] == "Hello."
    assert served.get("/v1/rooms/default").status_code == 404


def test_the_environment_seeds_rooms_and_a_restart_keeps_the_queue(tmp_path: Path) -> None:
    """Rooms come from WAITROOM_ROOMS; after SIGTERM and a new start each visitor has the old place."""
    rooms = json.dumps({"shop": {"capacity": 1, "session_seconds": 3600.0}})
    places = []
    for number in range(2):
        with serving(tmp_path, WAITROOM_ROOMS=rooms) as running:
            if number == 0:
                httpx.post(f"{running.url}/v1/rooms/shop/enter")
                ticket = httpx.post(f"{running.url}/v1/rooms/shop/enter").json()["ticket"]
            headers = {"Authorization": f"Bearer {ticket}"}
            places.append(httpx.get(f"{running.url}/v1/rooms/shop/status", headers=headers).json())
            running.process.terminate()
            assert running.process.wait(PATIENCE_SECONDS) == 0
    assert places[0]["rank"] == places[1]["rank"] == 1
    assert places[0]["entered_at"] == places[1]["entered_at"]


def test_without_anything_there_is_a_room_to_try(tmp_path: Path) -> None:
    """No file, no rooms: `default` is open, keys are made and kept, and the log says where."""
    with serving(tmp_path) as running:
        assert running.get("/v1/rooms/default").json()["state"] == "open"
        key = (running.data / "admin-key").read_text().strip()
        log = running.log.read_text()
        assert str(running.data / "admin-key") in log
        assert key not in log
        assert (running.data / "signing-key").read_text().strip() not in log
        answer = httpx.get(f"{running.url}/admin/rooms", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200


def members(group: int) -> set[int]:
    """The living processes of a process group."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.add(int(entry.name))
    return found


def embedded_pid(served: Served) -> int:
    """The process of the embedded server, as the lock's socket says."""
    with Redis.from_url(server.running_url(served.data) or "") as client:
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
    with serving(tmp_path, "--workers", workers) as running:
        server = embedded_pid(running)
        running.process.send_signal(which)
        code = running.process.wait(PATIENCE_SECONDS)
        assert code == 0 or (which is signal.SIGINT and code in (130, -signal.SIGINT))
        until(lambda: is_gone(server), what="the embedded server's end")
        until(lambda: members(running.process.pid) == set(), seconds=5, what="the workers' end")
        assert "Traceback" not in running.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own time-out")
def test_a_connection_that_nobody_reads_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes nothing of what was sent, but keeps the connection, is cut off by the kernel."""
    monkeypatch.setattr(cli, "_UNREAD_MS", 500)
    with (
        cli._listen(ServerSettings(port=0)) as listening,
        socket.socket() as deaf,
    ):
        listening.listen()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(listening.getsockname())
        link, _ = listening.accept()
        link.setblocking(False)

        def cut_off() -> bool:
            try:
                link.send(b"x" * 4096)
            except BlockingIOError:
                return False
            except TimeoutError:
                return True
            return False

        with link:
            until(cut_off, what="the end of the connection")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_kill_leaves_nothing(tmp_path: Path, workers: str) -> None:
    """After SIGKILL of `serve` the embedded server stops by itself, and no worker serves on without it."""
    with serving(tmp_path, "--workers", workers) as running:
        server = embedded_pid(running)
        running.process.kill()
        running.process.wait(PATIENCE_SECONDS)
        until(lambda: is_gone(server), seconds=15, what="the embedded server's end")
        until(lambda: members(running.process.pid) == set(), seconds=15, what="the workers' end")


def test_settings_on_the_command_line_win(tmp_path: Path) -> None:
    """Command line over environment over file; a variable that is no setting is named in the log, not its value."""
    (tmp_path / "waitroom.toml").write_text("workers = 0\nport = 1\n")
    wrong = {"WAITROOM_ADMIN_KEYS": "misplaced-secret"}
    with serving(tmp_path, "--config", "waitroom.toml", "--workers", "1", WAITROOM_PORT="2", **wrong) as running:
        assert running.get("/livez").status_code == 200
        log = running.log.read_text()
    assert "environment: WAITROOM_ADMIN_KEYS: no such setting; WAITROOM_ADMIN_KEY may be meant" in log
    assert "misplaced-secret" not in log


# room.


def test_list_and_show(served: Served) -> None:
    """list has a line for each room, show the settings and counts of one."""
    listed = served.room("list")
    assert listed.returncode == 0
    assert re.search(r"shop\s.*open\s.*0\s.*0\s.*3\s.*unlimited\s.*Hello\.", listed.stdout)
    shown = served.room("show", "shop")
    assert shown.returncode == 0
    assert re.search(r"capacity\s.*3", shown.stdout)
    assert "entered 0" in shown.stdout


def test_set_changes_a_room_live(served: Served) -> None:
    """set changes what is given and keeps the rest; the running server follows."""
    made = served.room("set", "changing", "capacity=5", "message=Hi.")
    assert "enqueue_keys" not in made.stderr
    assert "sees no enqueue_keys" in served.room("set", "changing", "enqueue_tokens=accepted").stderr
    assert served.room("set", "changing", "enqueue_tokens=off").stderr == ""
    assert made.returncode == 0, made.stderr
    assert served.room("set", "changing", "admit_per_second=2.5", "sliding=true").returncode == 0

    def follows() -> bool:
        answer = served.get("/v1/rooms/changing")
        return answer.status_code == 200 and answer.json()["admit_per_second"] == 2.5

    until(follows, what="the change")
    document = served.get("/v1/rooms/changing").json()
    assert (document["capacity"], document["message"]) == (5, "Hi.")


def test_pause_resume_close(served: Served) -> None:
    """Each command brings the room into its state, with the message that goes with it; the server follows."""
    served.room("set", "states", "capacity=1")
    until(lambda: served.get("/v1/rooms/states").status_code == 200, what="the room")
    before = "open"
    for command, state in (("pause", "paused"), ("resume", "open"), ("close", "closed")):
        bring(served, command, before=before, state=state)
        before = state


def bring(served: Served, command: str, *, before: str, state: str) -> None:
    """Change the state of the room "states", and see it change, whoever looks."""
    done = served.room(command, "states", "--message", f"It is {state}.")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"state\s.*{state}", done.stdout)
    assert f"It is {state}." in done.stdout
    until(lambda: served.get("/v1/rooms/states").json().get("state") == state, what="the change")
    # Whoever changes a room, and by what way, the instance says so in a line of its log; texts by name only.
    said = f"room states was changed: state {before} to {state}, message\n"
    until(lambda: said in served.log.read_text(), what="the word of it")


def test_delete(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says who would lose a place, and asks: only a yes changes anything; then the server knows no such room."""
    served.room("set", "doomed", "capacity=1")
    until(lambda: served.get("/v1/rooms/doomed").status_code == 200, what="the room")
    for _ in range(3):
        httpx.post(f"{served.url}/v1/rooms/doomed/enter")
    for answer in ("n\n", "", "what\nno\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        done = served.room("delete", "doomed")
        assert done.returncode == 1
        assert "in room doomed 2 wait and 1 are inside. Delete it?" in done.stdout
        assert "nothing was deleted; --yes deletes without asking" in done.stderr
    assert served.room("show", "doomed").returncode == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert served.room("delete", "doomed").returncode == 0
    until(lambda: served.get("/v1/rooms/doomed").status_code == 404, what="its end")
    until(lambda: "room doomed was deleted" in served.log.read_text(), what="the word of it")


def test_a_misspelt_variable_is_named_before_another_server_is_asked(served: Served) -> None:
    """A command that would act on the embedded server says that something else may have been meant."""
    options = ("--data-dir", str(served.data))
    for command in (("room", "list"), ("check",)):
        done = run(*command, *options, folder=served.data.parent, WAITROOM_REDIS_URI="redis://elsewhere")
        assert done.stderr.startswith("waitroom: WAITROOM_REDIS_URI: no such setting; WAITROOM_REDIS_URL may be meant")
        assert "elsewhere" not in done.stderr


def test_a_list_by_comma_or_as_json(served: Served) -> None:
    """Both ways in which a list can be written give the same."""
    for text in ("https://a.example, https://b.example", '["https://a.example", "https://b.example"]'):
        assert served.room("set", "lists", f"return_origins={text}").returncode == 0
        shown = served.room("show", "lists").stdout
        assert re.search(r"return_origins\s.*https://a.example.*https://b.example", shown)
        assert served.room("set", "lists", "return_origins=").returncode == 0
        assert "example" not in served.room("show", "lists").stdout


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("places_per_address=5", "this command sees no trusted_proxies; servers without them limit nobody"),
        ("enqueue_tokens=accepted", "this command sees no enqueue_keys; servers without them will take no token"),
        ("places_per_network=0", ""),
        ("enqueue_tokens=off", ""),
    ],
)
def test_what_rests_for_want_of_another_setting_is_said(served: Served, change: str, word: str) -> None:
    """The change is made: the servers may have what this command does not see."""
    done = served.room("set", "resting", change)
    assert done.returncode == 0
    assert (word in done.stderr) if word else (done.stderr == "")


def test_a_broken_room_is_not_changed(served: Served) -> None:
    """The fault is named, and not taken for a room that is to be made."""
    served.room("set", "odd", "capacity=1")
    with Redis.from_url(str(server.running_url(served.data))) as client:
        client.hset("waitroom:{odd}:config", "capacity", "rubbish")
        for command in (("set", "odd", "capacity=7"), ("pause", "odd")):
            done = served.room(*command)
            assert (done.returncode, "rubbish" in done.stderr, "capacity" in done.stderr) == (1, True, True)
        client.hset("waitroom:{odd}:config", "capacity", "1")


@pytest.mark.parametrize(
    "options", [("--visitors", "-5"), ("--capacity", "0"), ("--seconds", "0"), ("--seconds", "-1")]
)
def test_a_demo_of_nothing_is_refused(options: tuple[str, str], tmp_path: Path) -> None:
    """The option is named."""
    done = run("demo", *options, folder=tmp_path)
    assert done.returncode == 2
    assert options[0] in done.stderr


def test_delete_what_cannot_be_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room whose keys are corrupt can be deleted and made anew, as docs/failures.md tells operators to."""
    served.room("set", "corrupt", "capacity=1")
    with Redis.from_url(str(server.running_url(served.data))) as client:
        client.delete("waitroom:{corrupt}:config")
        client.set("waitroom:{corrupt}:config", "x")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = served.room("delete", "corrupt")
    assert (done.returncode, "room corrupt cannot be read (" in done.stdout) == (0, True)
    until(lambda: served.get("/readyz").status_code == 200, what="the end of the fault")
    assert served.room("delete", "corrupt", "--yes").returncode == 1
    # Of another nothing is left but that it is listed.
    with Redis.from_url(str(server.running_url(served.data))) as client:
        client.hset("waitroom:rooms", "ghost", "live")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = served.room("delete", "ghost")
    assert (done.returncode, "room ghost cannot be read (it is listed, but" in done.stdout) == (0, True)
    assert served.room("set", "corrupt", "capacity=2").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("show", "nowhere"), 1, "nowhere"),
        (("pause", "nowhere"), 1, "nowhere"),
        (("close", "Nowhere!"), 2, "not a room name"),
        (("delete", "nowhere"), 1, "no room 'nowhere'"),
        (("delete", "nowhere", "--yes"), 1, "no room 'nowhere'"),
        (("delete", "Nowhere!", "--yes"), 2, "not a room name"),
        (("show", "Nowhere!"), 2, "not a room name"),
        (("set", "Nowhere!", "capacity=1"), 2, "not a room name"),
        (("set", "shop", "capacity=many"), 2, "capacity: "),
        (("set", "shop", "capacity=-1"), 2, "capacity: "),
        (("set", "shop", "bogus=1"), 2, "bogus: no such setting"),
        (("set", "shop", "capacity"), 2, "setting=value"),
        (("set", "shop", "return_origins=x"), 2, "return_origins"),
        (("set", "shop", "return_origins=[x"), 2, "return_origins"),
        (("set", "shop", "session_seconds=nan"), 2, "session_seconds: "),
        (("set", "shop", "state=ajar"), 2, "state: "),
        (("set", "new", "capacity=-1"), 2, "capacity: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_one_sentence(served: Served, arguments: tuple[str, ...], code: int, word: str) -> None:
    """Unknown rooms are exit code 1, wrong arguments 2; each is told in a sentence and changes nothing."""
    before = served.get("/v1/rooms/shop").json()["capacity"]
    (said,) = sentences(served.room(*arguments), code=code)
    assert word in said
    assert served.get("/v1/rooms/shop").json()["capacity"] == before


@pytest.mark.parametrize("message", ["[red]Sale[/red]", "[/] Sale", "a [link=x] b", "\\[x]"])
def test_a_message_is_shown_as_it_is(served: Served, message: str) -> None:
    """Whatever an operator has written is printed as that text, not taken for markup."""
    try:
        for arguments in (("set", "spoken", f"message={message}"), ("show", "spoken"), ("list",)):
            done = served.room(*arguments)
            assert done.returncode == 0, done.stderr[-300:]
            assert message in done.stdout
    finally:
        key = (served.data / "admin-key").read_text().strip()
        httpx.delete(f"{served.url}/admin/rooms/spoken", headers={"Authorization": f"Bearer {key}"})


def test_a_broken_room_is_not_passed_over(served: Served) -> None:
    """list says which rooms it cannot read, and why, beside those that it can."""
    served.room("set", "broken", "capacity=1")
    with Redis.from_url(server.running_url(served.data) or "") as client:
        client.hset("waitroom:{broken}:config", "capacity", "many")
        try:
            listed = served.room("list")
        finally:
            client.hset("waitroom:{broken}:config", "capacity", "1")
    assert "shop" in listed.stdout
    assert "broken" in listed.stdout + listed.stderr
    assert "capacity" in (listed.stdout + listed.stderr).partition("broken")[2]


def test_the_log_tells_no_secret(served: Served) -> None:
    """Whatever is sent and goes wrong, no proof and no key is in the log (I31)."""
    key = (served.data / "admin-key").read_text().strip()
    served.room("set", "secretive", "capacity=1")
    until(lambda: served.get("/v1/rooms/secretive").status_code == 200, what="the room")
    granted = httpx.post(f"{served.url}/v1/rooms/secretive/enter").json()["pass"]
    ticket = httpx.post(f"{served.url}/v1/rooms/secretive/enter").json()["ticket"]
    for secret in (key, granted, ticket):
        for path in ("/v1/rooms/secretive/status", "/gate/secretive", "/admin/rooms", "/wait/secretive", "/nowhere"):
            headers = {"Authorization": f"Bearer {secret}", "Cookie": f"waitroom_pass_secretive={secret}"}
            httpx.get(f"{served.url}{path}?proof={secret}", headers=headers)
    log = served.log.read_text()
    signing = (served.data / "signing-key").read_text().strip().partition(":")[2]
    assert [secret for secret in (key, granted, ticket, signing) if secret in log] == []


# check.


def test_check_of_a_fit_server(served: Served) -> None:
    """The embedded server is found by its folder and is fit: exit code 0."""
    done = run("check", "--data-dir", str(served.data), folder=served.data.parent)
    assert done.returncode == 0, done.stdout
    assert "fail" not in done.stdout


def test_check_of_an_unfit_server(served: Served) -> None:
    """A server that evicts is not fit: exit code 1, with the remedy."""
    url = server.running_url(served.data) or ""
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


# Invitations.


def test_an_invitation_is_a_good_token(tmp_path: Path) -> None:
    """The address that is printed has a token that the instances take, for that customer and so long."""
    entry = "shop:an-enqueue-key-made-up-for-the-tests-0123456789"
    variables = {"WAITROOM_ENQUEUE_KEYS": entry, "WAITROOM_PUBLIC_URL": "https://shop.example"}
    done = run("invite", "sale", "customer-17", "--seconds", "60", "--priority", folder=tmp_path, **variables)
    assert done.returncode == 0
    address, _, token = done.stdout.strip().partition("?enqueue=")
    assert address == "https://shop.example/wait/sale"
    office = EnqueueOffice(keyring.parse([entry]))
    assert office.verify("sale", token, now=time.time()) == Grant(customer("sale", "customer-17"), True)
    with pytest.raises(TokenRefused, match="over"):
        office.verify("sale", token, now=time.time() + 90)


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("sale", "17"), {}, "enqueue_keys: missing"),
        (("Sale", "17"), {"WAITROOM_ENQUEUE_KEYS": "s:an-enqueue-key-made-up-for-the-tests-0123456789"}, "room name"),
        (("sale", ""), {"WAITROOM_ENQUEUE_KEYS": "s:an-enqueue-key-made-up-for-the-tests-0123456789"}, "customer: "),
    ],
)
def test_an_invitation_that_cannot_be(
    tmp_path: Path, arguments: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    """One sentence, exit code 2."""
    done = run("invite", *arguments, folder=tmp_path, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
