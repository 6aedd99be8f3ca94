"""Servers in a loop leave nothing open, whatever a connection is just about."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import suppress

import pytest

from rig.raw import accepting


@pytest.mark.parametrize("rounds", range(6))
async def test_connections_that_were_just_accepted_are_closed(rounds: int) -> None:
    """Between accepting a connection and serving it the loop goes round several times: each is a moment to end in."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with accepting(take) as port:
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for _ in range(rounds):
            await asyncio.sleep(0)
    gc.collect()  # an open connection is a ResourceWarning, which fails the test
    for client in clients:
        with client, suppress(ConnectionResetError):
            client.settimeout(30)
            assert client.recv(1) == b""
