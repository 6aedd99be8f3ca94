"""What one server is asked: `judgement` says what the answers mean."""

from __future__ import annotations

import asyncio
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from waitroom.checks.finding import Finding
from waitroom.checks.judgement import (
    judge_coverage,
    judge_eviction,
    judge_failure,
    judge_latency,
    judge_memory,
    judge_persistence,
    judge_role,
    judge_skew,
    judge_version,
)
from waitroom.store.clients import execute
from waitroom.store.url import RedisUrl

#: Round trips that the median is taken of.
LATENCY_ROUNDS: Final = 20

#: Sends one command within the time that it may take.
Ask = Callable[..., Awaitable[Any]]

_PROBE: Final = "#!lua flags=no-writes\nreturn 1"


async def examine_server(client: Redis, url: RedisUrl, answer_seconds: float, where: str = "") -> list[Finding]:
    """The connection and, as far as it lasts, everything beyond it. `where` is the server's address in a cluster."""
    ask = partial(_ask, client, answer_seconds)
    connection = Finding("connection", "ok", f"{where or url.masked()} answers")
    findings: list[Finding] = []
    try:
        await ask("PING")
        async for finding in _inspect(client, ask, url):
            findings.append(finding)  # noqa: PERF401 - those before a failure are kept
    except (RedisError, OSError) as error:
        connection = judge_failure(error, url, answer_seconds=answer_seconds)
    return [connection, *findings]


async def _ask(client: Redis, answer_seconds: float, *command: str | int) -> Any:
    """The answer to one command; the bound holds whatever timeouts the URL names."""
    async with asyncio.timeout(answer_seconds):
        return await execute(client, *command)


async def _inspect(client: Redis, ask: Ask, url: RedisUrl) -> AsyncIterator[Finding]:
    """Everything beyond the connection; stops at the first question that finds nobody there any more."""
    info = await _facts(ask)
    yield judge_version(info.get("valkey_version") or info.get("redis_version"))
    yield await _try_script(ask, url)
    if url.tls:
        yield await _look_at_tls(client.connection_pool)
    if info.get("cluster_enabled") and url.kind != "cluster":
        remedy = "Write redis+cluster:// instead, with several of the nodes."
        yield Finding("cluster", "fail", "this server is one of a cluster", remedy)
    if url.kind == "cluster":
        coverage = judge_coverage(await _setting(ask, "cluster-require-full-coverage"))
        if coverage is not None:
            yield coverage
    yield judge_role(info.get("role"))
    yield judge_eviction(info.get("maxmemory_policy") or await _setting(ask, "maxmemory-policy"))
    yield judge_persistence(info, await _setting(ask, "save"))
    yield judge_memory(info)
    yield judge_latency(await _median_ms(ask))
    yield await _compare_clocks(ask)


async def _facts(ask: Ask) -> dict[str, Any]:
    """INFO as one mapping; where it is forbidden, the little that HELLO tells."""
    info = await _permitted(ask("INFO"))
    if info is not None:
        return {name: str(value) if name.endswith("_version") else value for name, value in info.items()}
    hello = await _permitted(ask("HELLO"))
    if not isinstance(hello, list):
        return {}
    told = dict(zip(hello[::2], hello[1::2], strict=False))
    return {"redis_version": str(told.get("version")), "role": told.get("role")}


async def _setting(ask: Ask, name: str) -> str | None:
    """One setting by CONFIG GET; None where that is forbidden or unknown, as managed services have it."""
    answer = await _permitted(ask("CONFIG GET", name))
    return None if answer is None else answer.get(name)


async def _permitted(answer: Awaitable[Any]) -> Any:
    """The answer, None where the server refuses the command."""
    try:
        return await answer
    except ResponseError:
        return None


async def _try_script(ask: Ask, url: RedisUrl) -> Finding:
    try:
        answer = await ask("EVAL", _PROBE, 0)
    except ResponseError as error:
        remedy = "Allow the user scripts (+@scripting), and use a server that has them."
        return Finding("scripts", "fail", f"a script was refused: {url.scrubbed(str(error))}", remedy)
    if answer != 1:
        return Finding("scripts", "fail", "a script gave a wrong answer", "Connect without a proxy in between.")
    return Finding("scripts", "ok", "scripts with flags run")


async def _look_at_tls(pool: Any) -> Finding:
    connection = await pool.get_connection()
    try:
        # redis-py has no public way to what was agreed on.
        writer = getattr(connection, "_writer", None)
        agreed = writer.get_extra_info("ssl_object") if writer is not None else None
    finally:
        await pool.release(connection)
    if agreed is None:
        return Finding("tls", "warn", "encrypted, but what was agreed on cannot be seen", "Update waitroom.")
    detail = f"{agreed.version()}, {agreed.cipher()[0]}"
    if agreed.context.verify_mode != ssl.CERT_REQUIRED:
        remedy = "Leave ssl_cert_reqs out of the URL, and name the authority with ?ssl_ca_certs=/path/ca.pem."
        return Finding("tls", "warn", f"{detail}, but the certificate is not verified", remedy)
    return Finding("tls", "ok", detail)


async def _median_ms(ask: Ask) -> float:
    rounds = []
    for _ in range(LATENCY_ROUNDS):
        began = time.perf_counter()
        await ask("PING")
        rounds.append(1000.0 * (time.perf_counter() - began))
    return statistics.median(rounds)


async def _compare_clocks(ask: Ask) -> Finding:
    before = time.time()
    answer = await _permitted(ask("TIME"))
    after = time.time()
    if answer is None:
        return Finding("clock", "fail", "TIME was refused", "Allow the user TIME (+time): scripts need it.")
    seconds, microseconds = answer
    return judge_skew((before + after) / 2 - (int(seconds) + int(microseconds) / 1_000_000))
