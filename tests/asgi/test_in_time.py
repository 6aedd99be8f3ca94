"""A gate before an application answers in time when its server does not, in time that no busy machine stretches."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import pytest

from rig.raw import Take, accepting
from tests.asgi.apps import bare_origin
from tests.asgi.running import told
from tests.leaping import LeapingLoop, leaping
from waitroom.asgi import WaitroomGate

#: Seconds that the gate may take, and a visitor's call: half a second (I29), and what a server takes that is dying.
GATE_SECONDS: Final = 0.5
CALL_SECONDS: Final = 3.5


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Says nothing."""
    await reader.read()


async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begins to say yes, and never comes to an end: each byte in time, the whole never."""
    writer.write(b"HTTP/1.1 204 No Content\r\nX-More: ")
    with suppress(ConnectionError):
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)


async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hangs up."""
    writer.close()


@pytest.mark.parametrize("fault", [silent, endless, deaf])
@pytest.mark.parametrize(("path", "bound"), [("/x", GATE_SECONDS), ("/v1/rooms/shop", CALL_SECONDS)])
def test_a_server_that_gives_no_answer(fault: Take, path: str, bound: float) -> None:
    """Thirty at once, one of the gate's and of a visitor's calls: 503, and no request reaches the application."""
    origin = bare_origin()

    async def timed(gate: WaitroomGate) -> tuple[int, float]:
        began = asyncio.get_running_loop().time()
        first, *_ = await told(gate, path=path, raw_path=path.encode(), method="GET")
        return first["status"], asyncio.get_running_loop().time() - began

    async def run() -> list[tuple[int, float]]:
        async with accepting(fault) as port:
            gate = WaitroomGate(origin.app, room="shop", server=f"http://127.0.0.1:{port}")
            with leaping():
                return await asyncio.gather(*(timed(gate) for _ in range(30)))

    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        answers = runner.run(run())
    assert {status for status, _ in answers} == {503}
    assert max(took for _, took in answers) < bound
    assert origin.seen == []
