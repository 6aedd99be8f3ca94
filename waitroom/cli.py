"""The `waitroom` command.

Exit codes: 0 done, 1 something failed (one sentence on stderr), 2 the settings or arguments are wrong.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
import uvicorn
from rich.console import Console
from rich.table import Table
from rich.text import Text
from uvicorn.supervisors import Multiprocess

from waitroom import __version__
from waitroom.checks import gate
from waitroom.checks.finding import Finding, unfit
from waitroom.checks.redis import examine
from waitroom.errors import RoomBroken, RoomUnknown, SettingsError, WaitroomError
from waitroom.model import ROOM_NAME
from waitroom.proofs import keyring, tokens
from waitroom.rooms.registry import Rooms
from waitroom.rooms.room import READING_SECONDS, Room
from waitroom.serve import worker
from waitroom.serve.http import WholeAnswers
from waitroom.settings import generated_keys, sources
from waitroom.settings.room import RoomSettings, parse_room, room_value
from waitroom.settings.server import ServerSettings
from waitroom.store.clock import Clock
from waitroom.store.embedded.server import EmbeddedServer, running_url
from waitroom.store.servers import connect
from waitroom.store.store import Store
from waitroom.store.url import has_password, masked

logger = logging.getLogger("waitroom")

Result = TypeVar("Result")

app = typer.Typer(help="A self-hosted virtual waiting room.", no_args_is_help=True, add_completion=False)
room_app = typer.Typer(help="Show and change rooms, live.", no_args_is_help=True)
app.add_typer(room_app, name="room")

Config = Annotated[Path | None, typer.Option(help="TOML file with settings and rooms")]


def _without_password(url: str | None) -> str | None:
    """Every process of the machine can read a command line."""
    if url and has_password(url):
        raise SettingsError(
            "redis_url: a password on the command line would show in the process list; set WAITROOM_REDIS_URL, "
            "write the URL into the config file, or leave the password out and set redis_password_file"
        )
    return url


RedisUrl = Annotated[
    str | None,
    typer.Option(callback=_without_password, help="the Redis or Valkey to use; default: the embedded one"),
]
DataDir = Annotated[str | None, typer.Option(help="folder of the embedded server's data and of generated keys")]
Name = Annotated[str, typer.Argument(help="the room's name")]
Message = Annotated[str | None, typer.Option(help="what to tell those who wait")]

#: Settings that need to know where visitors come from.
_PER_SOURCE = ("places_per_address", "places_per_network")

#: Seconds that requests in flight get when a server stops.
_GRACE_SECONDS = 10

#: Seconds between two looks at whether the embedded server lives.
_LOOK_SECONDS = 0.5

#: Connections that may wait to be accepted.
_BACKLOG = 4096

#: Milliseconds after which the kernel ends a connection on which the other side takes nothing.
_UNREAD_MS = 30_000

#: Seconds that an idle connection is kept: longer than nginx keeps its own, so that nginx is who closes.
_KEEP_ALIVE_SECONDS = 75


def main() -> None:
    """Run the command line; expected failures are one sentence, not a traceback."""
    try:
        app()
    except SettingsError as error:
        _fail(str(error), code=2)
    except WaitroomError as error:
        _fail(str(error), code=1)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False) -> None:
    """A self-hosted virtual waiting room."""
    if show:
        typer.echo(f"waitroom {__version__}")
        raise typer.Exit


@app.command()
def serve(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on; 0 = any free one")] = None,
    workers: Annotated[int | None, typer.Option(help="server processes")] = None,
    redis_url: RedisUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Run an instance: HTTP, gate and scheduler."""
    settings = sources.load(config, host=host, port=port, workers=workers, redis_url=redis_url, data_dir=data_dir)
    worker.set_up_logging(settings)
    for line in sources.strangers():
        logger.warning("environment: %s", line)
    given, settings = settings, generated_keys.completed(_with_a_room(settings, config))
    if not given.admin_key:
        logger.info("admin key: kept in %s", generated_keys.admin_key_file(settings))
    if not given.signing_keys and settings.redis_url:
        logger.warning(
            "signing key: kept in %s; other instances on this Redis need the same one (WAITROOM_SIGNING_KEYS), "
            "else each takes the others' tickets for forged",
            generated_keys.signing_key_file(settings),
        )
    with ExitStack() as stack:
        listening = stack.enter_context(_listen(settings))
        _end_on_sigterm()
        if not settings.redis_url:
            embedded = stack.enter_context(EmbeddedServer(Path(settings.data_dir)))
            stack.enter_context(_kept_alive(embedded))
            settings = settings.model_copy(update={"redis_url": embedded.url})
            logger.info("embedded server: data in %s", settings.data_dir)
        else:
            logger.info("redis: %s", masked(settings.redis_url))
        _run_workers(settings, listening, stack)


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="port of the demo site")] = 8080,
    visitors: Annotated[int, typer.Option(min=0, help="size of the simulated crowd")] = 300,
    capacity: Annotated[int, typer.Option(min=1, help="visitors that the shop takes at once")] = 50,
    data_dir: Annotated[Path | None, typer.Option(help="folder for data and logs; default: a temporary one")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="stop after so long")] = None,
) -> None:
    """Run the whole thing: two instances, nginx, a shop, and a crowd before it."""
    # Imported here: the demo needs packages that a server does not.
    from waitroom.demo.run import run

    raise typer.Exit(run(port=port, visitors=visitors, capacity=capacity, data_dir=data_dir, seconds=seconds))


@app.command()
def check(config: Config = None, redis_url: RedisUrl = None, data_dir: DataDir = None) -> None:
    """Is this Redis fit to hold a queue? Each finding with its remedy; exit code 1 if not."""
    findings = asyncio.run(examine(_redis_url(config, redis_url, data_dir)))
    console = Console()
    for finding in findings:
        _print_finding(console, finding)
    raise typer.Exit(1 if unfit(findings) else 0)


@app.command()
def invite(
    name: Name,
    customer: Annotated[str, typer.Argument(help="whoever the place is for; the same one has the same place")],
    seconds: Annotated[float, typer.Option(min=1, max=604_800, help="how long it is good for")] = 3600,
    priority: Annotated[bool, typer.Option("--priority", help="in front of all who have none")] = False,
    config: Config = None,
) -> None:
    """Make an enqueue token by hand, as the address of the waiting page."""
    settings = sources.load(config)
    for line in sources.strangers():
        _warn(line)
    if not settings.enqueue_keys:
        raise SettingsError("enqueue_keys: missing; a token is signed with the first of them")
    ring = keyring.parse(settings.enqueue_keys, name="enqueue_keys")
    token = tokens.issue(ring, _checked(name), customer, expires=time.time() + seconds, priority=priority)
    typer.echo(f"{settings.public_url}/wait/{name}?enqueue={token}")


@app.command("check-gate")
def check_gate(
    urls: Annotated[list[str], typer.Argument(help="addresses that must not be reached without a pass")],
    safe: Annotated[bool, typer.Option("--safe", help="do not send the empty POST to each")] = False,
) -> None:
    """Do these addresses need a pass? Asked for in many ways without one.

    Exit code 1 if any request got past the gate, 3 if none did and some were not answered at all.
    """
    findings = list(gate.examine(urls, safe=safe))
    console = Console()
    for finding in findings:
        colour = {"gated": "green", "open": "red", "silent": "yellow"}[finding.verdict]
        console.print(f"[{colour}]{finding.verdict:<6}[/] ", end="")
        line = f"{finding.way} {finding.target} at {finding.url}: {finding.detail}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    verdicts = [finding.verdict for finding in findings]
    gated = verdicts.count("gated")
    console.print(f"{gated} of {len(findings)} requests were answered by the gate", highlight=False)
    if any(finding.let_in for finding in findings):
        console.print("some were let in with a pass of their own, free again after claim_seconds; pause the room first")
    raise typer.Exit(1 if "open" in verdicts else 3 if "silent" in verdicts else 0)


@room_app.command("list")
def list_rooms(config: Config = None, redis_url: RedisUrl = None, data_dir: DataDir = None) -> None:
    """Every room with its state and numbers; exit code 1 if one cannot be read."""

    async def listed(rooms: Rooms) -> tuple[list[Room], dict[str, str]]:
        await rooms.refresh()
        return list(rooms), rooms.faults

    found, faults = _with_rooms(listed, config, redis_url, data_dir)
    table = Table("room", "state", "waiting", "inside", "capacity", "per second", "message")
    for room in found:
        table.add_row(*map(Text, _row(room)))
    Console().print(table)
    for name, fault in faults.items():
        _warn(f"room {name} cannot be served: {fault}")
    raise typer.Exit(1 if faults else 0)


@room_app.command("show")
def show_room(name: Name, config: Config = None, redis_url: RedisUrl = None, data_dir: DataDir = None) -> None:
    """One room with its settings and counts."""
    _print_room(_with_rooms(lambda rooms: rooms.adopt(_checked(name)), config, redis_url, data_dir))


@room_app.command("set")
def set_room(
    name: Name,
    changes: Annotated[list[str], typer.Argument(help="setting=value …, for instance capacity=50")],
    config: Config = None,
    redis_url: RedisUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Change settings of a room, or create it with them."""
    parsed, settings = _parsed(changes), sources.load(config)
    if parsed.get("enqueue_tokens", "off") != "off" and not settings.enqueue_keys:
        _warn("enqueue_tokens: this command sees no enqueue_keys; servers without them will take no token")
    if any(parsed.get(name) for name in _PER_SOURCE) and not settings.trusted_proxies:
        _warn(f"{', '.join(_PER_SOURCE)}: this command sees no trusted_proxies; servers without them limit nobody")
    _change(name, parsed, config, redis_url, data_dir, create=True)


@room_app.command("pause")
def pause_room(
    name: Name, message: Message = None, config: Config = None, redis_url: RedisUrl = None, data_dir: DataDir = None
) -> None:
    """Admit nobody for now; places are kept."""
    _change(name, _state("paused", message), config, redis_url, data_dir)


@room_app.command("resume")
def resume_room(
    name: Name, message: Message = None, config: Config = None, redis_url: RedisUrl = None, data_dir: DataDir = None
) -> None:
    """Open the room again."""
    _change(name, _state("open", message), config, redis_url, data_dir)


@room_app.command("close")
def close_room(
    name: Name, message: Message = None, config: Config = None, redis_url: RedisUrl = None, data_dir: DataDir = None
) -> None:
    """Let nobody enter any more."""
    _change(name, _state("closed", message), config, redis_url, data_dir)


@room_app.command("delete")
def delete_room(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    config: Config = None,
    redis_url: RedisUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Remove a room with everybody in it; also one that cannot be read."""
    if not yes:
        lost = _with_rooms(lambda rooms: _peopled(rooms, _checked(name)), config, redis_url, data_dir)
        try:
            typer.confirm(f"{lost}. Delete it?", abort=True)
        except typer.Abort:
            raise WaitroomError("nothing was deleted; --yes deletes without asking") from None
    if not _with_rooms(lambda rooms: rooms.delete(_checked(name)), config, redis_url, data_dir):
        raise RoomUnknown(f"no room {name!r}")


async def _peopled(rooms: Rooms, name: str) -> str:
    """What would be lost with a room; raises RoomUnknown."""
    try:
        reading = (await rooms.adopt(name)).reading
    except (RoomBroken, RoomUnknown):
        # It may be listed and its data be gone.
        await rooms.refresh()
        if name not in rooms.faults:
            raise
        return f"room {name} cannot be read ({rooms.faults[name]})"
    return f"in room {name} {reading.waiting:,} wait and {reading.occupancy:,} are inside"


# serve


def _with_a_room(settings: ServerSettings, config: Path | None) -> ServerSettings:
    """Without a config file and without rooms there is one, so that the first try shows something."""
    if settings.rooms or config is not None:
        return settings
    room = RoomSettings()
    logger.info(
        "no config file and no rooms set: a room 'default' is made, if it is not there (capacity %d, sessions of %g s)",
        room.capacity,
        room.session_seconds,
    )
    return settings.model_copy(update={"rooms": {"default": room}})


@contextmanager
def _listen(settings: ServerSettings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            # Connections inherit it. Without it what was closed unread, a stream above all, would be held for ever.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        try:
            listening.bind((settings.host, settings.port))
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise SettingsError(f"host, port: cannot listen on {where}: {error.strerror}") from None
        listening.set_inheritable(True)
        yield listening


def _end_on_sigterm() -> None:
    """SIGTERM unwinds the stack, so that the embedded server is stopped in order."""

    def end(_signal: int, _frame: object) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)


@contextmanager
def _kept_alive(embedded: EmbeddedServer) -> Iterator[None]:
    """Start the embedded server again when it dies; if it cannot be, end the process, so that a supervisor sees it."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            if embedded.alive:
                continue
            logger.error("the embedded server died; starting it again")
            try:
                url = embedded.url
                embedded.stop()
                embedded.start()
                if embedded.url != url:
                    raise WaitroomError("it listens at another address now")
            except WaitroomError as error:
                logger.error("the embedded server cannot be started again: %s", error)
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=watch, name="embedded-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _run_workers(settings: ServerSettings, listening: socket.socket, stack: ExitStack) -> None:
    os.environ[worker.SETTINGS_VARIABLE] = settings.model_dump_json()
    config = uvicorn.Config(
        "waitroom.serve.worker:create",
        factory=True,
        http=WholeAnswers,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        # What a client says about itself is not believed; a proxy in front overwrites it anyway.
        proxy_headers=False,
        # A proxy may ask the gate with the headers of a WebSocket's first request: that is a question like any other.
        ws="none",
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    host, port = listening.getsockname()[:2]
    logger.info("serving on http://%s:%d/ with %d worker(s)", host, port, settings.workers)
    if settings.workers == 1:
        web = uvicorn.Server(config)
        web.run(sockets=[listening])
        if not web.started:
            raise WaitroomError("the server could not start; its log says why")
        return
    os.environ[worker.PARENT_VARIABLE] = str(os.getpid())
    # Read by prometheus-client when a worker imports it: each writes its numbers there, /metrics adds them up.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="waitroom-"))
    _Supervisor(config, sockets=[listening]).run()


class _Supervisor(Multiprocess):
    """uvicorn's, but at the end it stands in nobody's way."""

    def join_all(self) -> None:
        """Wait for the workers, which were told to stop; tell them again when somebody tells this process again."""
        # Else connections would still be taken, and never answered, once the workers do not listen any more.
        for listening in self.sockets:
            listening.close()
        self.signal_queue.clear()
        while any(worker.process.is_alive() for worker in self.processes):
            if self.signal_queue:
                self.signal_queue.clear()
                self.terminate_all()
            time.sleep(_LOOK_SECONDS)
        super().join_all()


# room and check


def _redis_url(config: Path | None, redis_url: str | None, data_dir: str | None) -> str:
    settings = sources.load(config, redis_url=redis_url, data_dir=data_dir)
    # Else a command would act on the embedded server where another one is meant.
    for line in sources.strangers():
        _warn(line)
    url = settings.redis_url or running_url(Path(settings.data_dir))
    if url is None:
        raise SettingsError(
            f"redis_url: none given, and no embedded server runs on {str(Path(settings.data_dir).absolute())!r}; "
            "name one with --redis-url, or the server's folder with --data-dir"
        )
    return url


def _with_rooms(
    work: Callable[[Rooms], Awaitable[Result]], config: Path | None, redis_url: str | None, data_dir: str | None
) -> Result:
    """Do something with the rooms that Redis holds, without being an instance."""
    url = _redis_url(config, redis_url, data_dir)

    async def connected() -> Result:
        store = Store(connect(url, timeout_seconds=2), Clock(), timeout_seconds=2)
        try:
            return await work(Rooms(store, {}))
        finally:
            await store.close()

    return asyncio.run(connected())


def _change(
    name: str,
    changes: dict[str, Any],
    config: Path | None,
    redis_url: str | None,
    data_dir: str | None,
    *,
    create: bool = False,
) -> None:
    async def changed(rooms: Rooms) -> Room:
        await rooms.refresh()
        if name in rooms.faults:
            raise RoomBroken(rooms.faults[name])
        if create and name not in {room.name for room in rooms}:
            await rooms.create(_checked(name), parse_room(changes), expected=0)
            # What comes next in a script may be a visitor: by then every instance knows the room.
            await asyncio.sleep(READING_SECONDS)
            return rooms.get(name)
        return await rooms.change(_checked(name), changes)

    _print_room(_with_rooms(changed, config, redis_url, data_dir))


def _warn(line: str) -> None:
    """Say something beside what the command was asked for."""
    sys.stderr.write(f"waitroom: {line}\n")


def _checked(name: str) -> str:
    if not ROOM_NAME.match(name):
        raise SettingsError(f"{name!r} is not a room name: 1-64 of a-z, 0-9, _ and -, a letter or digit first")
    return name


def _parsed(changes: list[str]) -> dict[str, Any]:
    faults = [f"{change!r} is not setting=value" for change in changes if "=" not in change]
    if faults:
        raise SettingsError("\n".join(faults))
    pairs = (change.partition("=") for change in changes)
    return {name: _list_or_value(name, text) for name, _, text in pairs}


def _list_or_value(name: str, text: str) -> object:
    """A setting's value; a list by comma, as in the environment, or as JSON."""
    if name == "return_origins" and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    return room_value(name, text)


def _state(state: str, message: str | None) -> dict[str, Any]:
    return {"state": state} if message is None else {"state": state, "message": message}


def _row(room: Room) -> tuple[str, ...]:
    settings, reading = room.settings, room.reading
    capacity = str(settings.capacity) if settings.capacity else "unlimited"
    rate = f"{settings.admit_per_second:g}" if settings.admit_per_second else "unlimited"
    numbers = (f"{reading.waiting:,}", f"{reading.occupancy:,}")
    return (room.name, settings.state, *numbers, capacity, rate, settings.message)


def _print_room(room: Room) -> None:
    table = Table("setting", "value", title=f"{room.name}, version {room.reading.version}")
    for name, value in room.settings.model_dump().items():
        table.add_row(name, Text(str(value)))
    console = Console()
    console.print(table)
    counts = room.reading.counts
    console.print(
        f"waiting {room.reading.waiting:,}, inside {room.reading.occupancy:,}; entered {counts.entered:,}, "
        f"admitted {counts.admitted:,}, left {counts.left:,}, finished {counts.finished:,}, "
        f"no-show {counts.no_show:,}, abandoned {counts.abandoned:,}, restored {counts.restored:,}"
    )


def _print_finding(console: Console, finding: Finding) -> None:
    colour = {"ok": "green", "warn": "yellow", "fail": "red"}[finding.verdict]
    console.print(f"[{colour}]{finding.verdict:<4}[/] {finding.name}: ", end="")
    console.print(finding.detail, markup=False, highlight=False)
    if finding.remedy:
        console.print(f"     → {finding.remedy}", markup=False, highlight=False)


def _fail(message: str, *, code: int) -> NoReturn:
    for line in message.splitlines():
        sys.stderr.write(f"waitroom: {line}\n")
    raise SystemExit(code)
