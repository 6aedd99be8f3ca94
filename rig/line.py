"""A line between waitroom and its Redis that is made worse while visitors use it.

async with Line(server.url) as line:
    ...                           # instances use line.url
    line.mode = "refuse"          # from now on
    line.once("drop", of="lease") # the next reply to a request with that text in it, then the line is open

with in_thread(url) as line:      # where instances run in this process, in threads of their own
    with line.cut("refuse"):
        ...
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from anyio.from_thread import start_blocking_portal

#: What the line does.
#:
#: `refuse`: nobody listens, and the connections that were open are reset. `blackhole`: nothing gets through, `deaf`: no
#: reply gets through; what was held arrives late, when the mode changes, as after a partition. The others are done to
#: replies: `drop`: it is lost, and so is all that its connection might have said later; `reset`: the connection is
#: reset instead; `truncate`: a part of it arrives, then the end; `trickle`: byte for byte; `slow`: it is delayed.
Mode = Literal["open", "refuse", "blackhole", "deaf", "drop", "reset", "truncate", "trickle", "slow"]

_OF_REPLIES: Final = frozenset({"drop", "reset", "truncate", "trickle", "slow"})

#: Bytes that are carried at once.
_CHUNK: Final = 65_536

#: Seconds that a change of the mode may take on a busy machine.
_CHANGE_SECONDS: Final = 30


class Line:
    """The line to a server, whose Redis URL is its `target`: new connections lead there.

    `did` counts: `connections`, `requests` and `replies` that got through or were about to, and what was done to them,
    by mode. `delay_seconds` are the least and the most that `slow` waits.
    """

    def __init__(self, target: str, *, seed: int = 1) -> None:
        self.did: Counter[str] = Counter()
        self.delay_seconds = (0.05, 0.5)
        self.target = target
        self._chance = random.Random(seed)
        self._mode: Mode = "open"
        self._once: tuple[Mode, bytes] | None = None
        self._changed = asyncio.Event()
        self._open: dict[asyncio.Task[None], tuple[Coroutine[Any, Any, None], socket.socket]] = {}
        self._listener: socket.socket | None = None
        # Bound but not listening: the port stays ours while it refuses.
        self._claim = _bound(0)
        #: Where the line begins.
        self.port: Final[int] = self._claim.getsockname()[1]

    async def __aenter__(self) -> Self:
        #: Where the line is served.
        self.loop = asyncio.get_running_loop()
        self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._hang_up()
        self._claim.close()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.sleep(0)  # what was cut is closed a round later

    @property
    def url(self) -> str:
        """The Redis URL at this end of the line."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def mode(self) -> Mode:
        """What the line does now, also to the connections that are open. It is set in the line's event loop."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        was, self._mode, self._once = self._mode, mode, None
        if mode == "refuse":
            self._hang_up()
        elif was == "refuse":
            self._listen()
        # Whoever waits for a change of the mode looks again.
        self._changed.set()
        self._changed = asyncio.Event()

    def once(self, mode: Mode, *, of: str = "") -> None:
        """Do that to the next reply to a request with that text in it (a command, a script's digest); then no more."""
        if mode not in _OF_REPLIES:
            raise ValueError(f"{mode} is nothing that is done to one reply")
        self._once = (mode, of.encode())

    @property
    def pending(self) -> bool:
        """Whether what was to be done once is still to be done."""
        return self._once is not None

    def set_mode(self, mode: Mode) -> None:
        """Set the mode from another thread; returns when it is done."""

        async def change() -> None:
            self.mode = mode

        asyncio.run_coroutine_threadsafe(change(), self.loop).result(_CHANGE_SECONDS)

    @contextmanager
    def cut(self, mode: Mode) -> Iterator[None]:
        """Have that mode for the length of the block, from another thread; then the line is open.

        Connections that were held end then, as those of a dead peer: what they carried never arrives.
        """
        self.set_mode(mode)
        try:
            yield
        finally:
            self.set_mode("refuse")
            self.set_mode("open")

    def _listen(self) -> None:
        self._listener = _bound(self.port)
        self._listener.listen(1024)
        self.loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            connection, _ = listener.accept()
            connection.setblocking(False)
            serving = self._serve(connection)
            task = asyncio.create_task(serving)
            self._open[task] = serving, connection
            task.add_done_callback(self._open.pop)

    def _hang_up(self) -> None:
        if self._listener is not None:
            self.loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for task, (serving, connection) in self._open.items():
            task.cancel()
            if getcoroutinestate(serving) == CORO_CREATED:
                connection.close()  # its task never begins

    async def _serve(self, connection: socket.socket) -> None:
        self.did["connections"] += 1
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            target = urlsplit(self.target)
            if target.scheme == "unix":
                there_reader, there = await asyncio.open_unix_connection(target.path)
            else:
                there_reader, there = await asyncio.open_connection(target.hostname, target.port)
            try:
                await self._carry(reader, writer, there_reader, there)
            finally:
                there.close()
        except OSError:
            _reset(writer)
        except asyncio.CancelledError:
            _reset(writer)
            raise
        finally:
            writer.close()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there_reader: asyncio.StreamReader,
        there: asyncio.StreamWriter,
    ) -> None:
        """Carry both ways until one end is closed and all that it said has arrived."""
        asked = b""

        async def requests() -> None:
            nonlocal asked
            with suppress(OSError):
                while chunk := await reader.read(_CHUNK):
                    await self._passable("blackhole")
                    self.did["requests"] += 1
                    if chunk.startswith(b"*"):  # the beginning of a request, which names its command and script
                        asked = chunk
                    there.write(chunk)
                    await there.drain()
                await self._passable("blackhole")

        async def replies() -> None:
            with suppress(OSError):
                while chunk := await there_reader.read(_CHUNK):
                    await self._passable("blackhole", "deaf")
                    self.did["replies"] += 1
                    mode = self._fate(asked)
                    if mode == "drop":
                        # Nothing more is said here, until the other side gives up.
                        while await there_reader.read(_CHUNK):
                            pass
                        return
                    if not await self._hand_on(writer, chunk, mode):
                        return

        both = asyncio.create_task(requests()), asyncio.create_task(replies())
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _passable(self, *closed: Mode) -> None:
        """Wait while the mode is one of those."""
        if self._mode in closed:
            self.did[self._mode] += 1
        while self._mode in closed:
            await self._changed.wait()

    def _fate(self, request: bytes) -> Mode:
        """What is done to the reply to that request."""
        if self._once is not None and self._once[1] in request:
            mode, self._once = self._once[0], None
        else:
            mode = self._mode if self._mode in _OF_REPLIES else "open"
        if mode != "open":
            self.did[mode] += 1
        return mode

    async def _hand_on(self, writer: asyncio.StreamWriter, reply: bytes, mode: Mode) -> bool:
        """Hand a reply on as the mode has it; False where the connection is over."""
        if mode == "reset":
            _reset(writer)
            return False
        if mode == "slow":
            await asyncio.sleep(self._chance.uniform(*self.delay_seconds))
        if mode == "truncate":  # never the whole
            reply = reply[: self._chance.randrange(len(reply))]
        size = 1 if mode == "trickle" else max(len(reply), 1)
        for at in range(0, len(reply), size):
            writer.write(reply[at : at + size])
            await writer.drain()
            if mode == "trickle":
                await asyncio.sleep(0)  # a packet of its own
        return mode != "truncate"


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    # Two sockets of ours share the port: the one that keeps it and the one that listens.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() != -1:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def in_thread(target: str) -> Iterator[Line]:
    """A line to that server, in a thread of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Line(target)) as line:
        yield line
