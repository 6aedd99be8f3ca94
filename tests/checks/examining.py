"""Examining a Redis in a test: the findings by name, and servers that say always the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rig.raw import accepting
from waitroom.checks.finding import Finding
from waitroom.checks.judgement import ANSWER_SECONDS
from waitroom.checks.redis import examine

#: What each examination of a reachable server reports, in this order; TLS comes in where the URL asks for it.
NAMES = ["connection", "version", "scripts", "role", "eviction", "persistence", "memory", "latency", "clock"]
SECRET = "geh/eim@9"
QUOTED_SECRET = "geh%2Feim%409"


async def found(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> dict[str, Finding]:
    findings = await examine(url, answer_seconds=answer_seconds)
    by_name = {finding.name: finding for finding in findings}
    assert len(by_name) == len(findings)
    for finding in findings:
        assert (finding.remedy == "") == (finding.verdict == "ok"), finding
    return by_name


def verdicts(findings: dict[str, Finding]) -> dict[str, str]:
    """What is not ok, by name; without the latency, which is this machine's as much as the server's."""
    judged = {name: finding.verdict for name, finding in findings.items() if not name.endswith("latency")}
    return {name: verdict for name, verdict in judged.items() if verdict != "ok"}


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """The port of something that gives everything the same answer; none at all if that is empty."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(answer)

    async with accepting(serve) as port:
        yield port
