"""The work itself: a picture of a Julia set, drawn strip by strip, and what may be asked for.

A drawing takes 0.5 to 1.3 seconds. A part of that is computing; the rest is waiting between the strips, as work that
needs a disk or another service waits.
"""

from __future__ import annotations

import asyncio
import cmath
import hashlib
import json
import random
import struct
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

#: A drawing takes between so many seconds, at the pace of this machine or slower.
SHORTEST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 1.3

_STRIPS: Final = 8
_STEPS: Final = 40


class Fault(Exception):
    """The work failed in a way that another attempt may mend."""


class Order(BaseModel):
    """What a client asks for."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    seed: int = Field(ge=0, le=999_999_999, description="which picture")
    size: int = Field(default=192, ge=32, le=512, description="its width and height in pixels")
    failures: int = Field(default=0, ge=0, le=9, description="for trying things out: so many first attempts fail")
    express: bool = Field(default=False, description="wait in the room for those in a hurry")

    def key(self) -> str:
        """The same for every request for the same work, however it is written; hurry is not part of the work."""
        canonical = json.dumps(self.model_dump(exclude={"express"}), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]


async def draw(order: Order, *, attempt: int, fault_rate: float, progress: Callable[[int], Awaitable[None]]) -> bytes:
    """The picture as PNG; `progress` hears 0 to 100. Raises Fault, as told or by chance, once half is done."""
    fails = attempt <= order.failures or random.random() < fault_rate
    constant, seconds = _character(order.seed)
    began, rows = time.monotonic(), [b""] * _STRIPS
    for strip in range(_STRIPS):
        await progress(100 * strip // _STRIPS)
        if fails and strip == _STRIPS // 2:
            raise Fault(f"attempt {attempt} at picture {order.seed} failed half-way")
        rows[strip] = await asyncio.to_thread(_strip, constant, order.size, strip)
        await asyncio.sleep(began + seconds * (strip + 1) / _STRIPS - time.monotonic())
    return _png(order.size, b"".join(rows))


def _character(seed: int) -> tuple[complex, float]:
    """What makes a picture its own, and how long it takes."""
    drawn = random.Random(seed)
    constant = cmath.rect(0.7885, drawn.uniform(0.0, cmath.tau))
    return constant, drawn.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)


def _strip(constant: complex, size: int, strip: int) -> bytes:
    """Some rows of grey pixels, each row after the PNG filter byte 0."""
    rows = bytearray()
    for y in range(strip * size // _STRIPS, (strip + 1) * size // _STRIPS):
        rows.append(0)
        rows.extend(_escape(complex(3 * x / size - 1.5, 3 * y / size - 1.5), constant) for x in range(size))
    return bytes(rows)


def _escape(point: complex, constant: complex) -> int:
    for step in range(_STEPS):
        if abs(point) > 2:
            return 255 * step // _STEPS
        point = point * point + constant
    return 255


def _png(size: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
